// Follows the log and prints what it is given, until it has seen COUNT events: CLIENT URL COUNT
const [path, url, count] = process.argv.slice(2);
const { Refold } = await import(path);
const refold = new Refold(url, { silenceMs: 5_000 });
let seen = 0;
for await (const event of refold.subscribe({ categories: ["call"] })) {
  console.log(JSON.stringify([event.position, event.data.number]));
  if (++seen === Number(count)) break;
}

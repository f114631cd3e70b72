// Appends one after the other, whatever happens to the requests: CLIENT URL COUNT TIMEOUT_MS
const [path, url, count, timeoutMs] = process.argv.slice(2);
const { Refold } = await import(path);
const refold = new Refold(url, { timeoutMs: Number(timeoutMs) });
const stored = [];
for (let number = 0; number < Number(count); number++) {
  const { firstVersion, duplicate } = await refold.append("call-1", [{ type: "note.taken", data: { number } }]);
  stored.push([firstVersion, duplicate]);
}
console.log(JSON.stringify(stored));

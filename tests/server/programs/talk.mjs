// A talk, recorded and read by the TypeScript client: CLIENT URL [TOKEN]
const [path, url, token] = process.argv.slice(2);
const { Exact, Refold, RefoldError } = await import(path);
const refold = new Refold(url, { token });

const stream = "call-42 ü/1";
const first = await refold.append(stream, [
  { type: "user.utterance", data: { text: "How much?" }, occurredAt: new Date("2026-03-02T10:00:00Z") },
  { type: "agent.utterance", data: { text: "17." }, metadata: { source: "node" } },
  { type: "till.counted", data: { cents: 9007199254740993n, rate: new Exact("0.10000000000000000000001") } },
], { expected: "no_stream", key: "k1", metadata: { shift: 2n ** 60n } });
const again = await refold.append(stream, [
  { type: "user.utterance", data: { text: "How much?" }, occurredAt: new Date("2026-03-02T10:00:00Z") },
  { type: "agent.utterance", data: { text: "17." }, metadata: { source: "node" } },
  { type: "till.counted", data: { cents: 9007199254740993n, rate: new Exact("0.10000000000000000000001") } },
], { expected: "no_stream", key: "k1", metadata: { shift: 2n ** 60n } });
const refusals = [];
for (const [events, options] of [
  [[{ type: "x.y" }], { expected: 7 }],
  [[{ type: "x.y" }], { key: "k1" }],
  [[{ type: "No Type" }], {}],
]) {
  const error = await refold.append(stream, events, options).catch((caught) => caught);
  if (!(error instanceof RefoldError)) throw error;
  refusals.push([error.status, error.code, error.retry]);
}
const missing = await refold.read("gone-1").next().catch((caught) => caught);
refusals.push([missing.status, missing.code, missing.retry]);

const pages = [];
for await (const event of refold.read(stream, { pageSize: 2 })) pages.push([event.version, event.type]);
const all = [];
for await (const event of refold.readAll({ pageSize: 1, categories: ["call"] })) all.push(event.position);
const [counted] = await refold.read(stream, { from: 2 }).next().then(({ value }) => [value]);
const exact = [counted.data.cents === 9007199254740993n, counted.data.rate.text, String(counted.metadata.shift)];
const folded = await refold.state(stream);
const before = await refold.state(stream, { version: 0 });
const heard = [folded, before].map(({ version, state }) => [version, state.transcript.map(({ text }) => text)]);
console.log(JSON.stringify({ heard, first, again, refusals, pages, all, exact, occurred: counted.occurredAt }));

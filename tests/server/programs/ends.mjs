// How calls end that get no answer: CLIENT URL
const [path, url] = process.argv.slice(2);
const { Refold } = await import(path);
const told = async (call) => {
  const error = await call.then(() => "nothing", (caught) => caught);
  return [error.name, error.code, error.retry, typeof error.facts?.key];
};
const note = [{ type: "note.taken" }];
const once = new Refold(url, { timeoutMs: 200, retryMs: 0 });
const patient = new Refold(url, { timeoutMs: 60_000 });
const away = new Refold("http://127.0.0.1:9", { retryMs: 0 });
const signal = AbortSignal.timeout(200);
const stopped = new AbortController();
stopped.abort();
const results = [
  await told(once.append("call-1", note)),
  await told(patient.append("call-1", note, { signal })),
  await told(patient.append("call-1", note, { signal: stopped.signal })),
  await told(patient.subscribe({ signal: stopped.signal }).next()),
  await told(patient.read("call-1", { signal: AbortSignal.timeout(100) }).next()),
  await told(away.append("call-1", note)),
  await told(new Refold("no address").append("call-1", note)),
];
console.log(JSON.stringify(results));

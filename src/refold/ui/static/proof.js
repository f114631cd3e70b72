// Checks the proof of an event (docs/reference/audit-format.md) with what it holds and a key, and
// asks nobody. Each step says what it found; the first that does not hold refuses the whole.
(() => {
  "use strict";
  const utf8 = (text) => new TextEncoder().encode(text);
  const hex = (bytes) => [...bytes].map((one) => one.toString(16).padStart(2, "0")).join("");
  const same = (a, b) => hex(a) === hex(b);
  const refuse = (why) => { throw new Error(why); };
  const uint = (bytes) => bytes.reduce((sum, one) => sum * 256n + BigInt(one), 0n);

  function bytesOf(text) {
    const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
    return btoa(String.fromCharCode(...bytes)) === text ? bytes : refuse(`${text} is not base64`);
  }
  function joined(...parts) {
    return Uint8Array.from(parts.flatMap((one) => [...one]));
  }
  async function sha256(...parts) {
    return new Uint8Array(await crypto.subtle.digest("SHA-256", joined(...parts)));
  }
  function number8(value) {
    return Uint8Array.from({ length: 8 }, (_, at) => Number((BigInt(value) >> BigInt(56 - 8 * at)) & 255n));
  }

  // RFC 9162, section 2.1.3.2: the hashes beside the way up, from the leaf of an entry to the root.
  async function rootOf({ index, entry, path }, size) {
    if (!Number.isSafeInteger(index) || index < 0 || index >= size) refuse(`there is no event ${index} among ${size}`);
    let hash = await sha256([0], bytesOf(entry)), at = index, last = size - 1;
    const beside = path.map(bytesOf);
    for (; last > 0; at = Math.floor(at / 2), last = Math.floor(last / 2)) {
      if (at % 2) hash = await sha256([1], beside.shift() ?? refuse("the path is too short"), hash);
      else if (at < last) hash = await sha256([1], hash, beside.shift() ?? refuse("the path is too short"));
    }
    return beside.length ? refuse("the path is too long") : hash;
  }

  // What an entry says: of which stream (a pseudonym), which version, when, of what kind, and the
  // commitments to what is disclosed beside it.
  function entryOf(text) {
    const bytes = bytesOf(text), length = Number(uint(bytes.slice(73, 75))), end = 75 + length;
    const commitments = {};
    for (let at = end + 1; at < bytes.length; at += 33) commitments[bytes[at]] = bytes.slice(at + 1, at + 33);
    if (bytes[0] !== 1 || bytes.length !== end + 1 + 33 * bytes[end]) refuse("the entry is not of format 1");
    const [recorded, occurred] = [57, 65].map((at) => BigInt.asIntN(64, uint(bytes.slice(at, at + 8))));
    const kind = new TextDecoder().decode(bytes.slice(75, end));
    return { pseudonym: bytes.slice(1, 17), version: uint(bytes.slice(17, 25)), recorded, occurred, kind, commitments };
  }
  function time(us) {
    const ms = us >= 0n ? us / 1000n : (us - 999n) / 1000n, micro = String(((us % 1000000n) + 1000000n) % 1000000n);
    return new Date(Number(ms)).toISOString().slice(0, 19) + (micro === "0" ? "" : `.${micro.padStart(6, "0")}`) + "+00:00";
  }

  async function disclosed(ordinal, commitment, { salt, bytes }) {
    const value = bytesOf(bytes);
    const made = await sha256(utf8("refold/commitment/1"), [ordinal], bytesOf(salt), number8(value.length), value);
    return commitment && same(made, commitment) ? value : refuse(`what is disclosed as ${NAMES[ordinal]} is not what was committed to`);
  }
  const NAMES = { 0: "payload", 1: "metadata", 3: "the name of its stream", 16: "a personal value" };
  const HOLE = /{"refold:personal":\["[0-9a-f]*","([A-Za-z0-9_-]{43})",""\]}/g;

  async function nameOf(told, entry, size, root) {
    if (!told || entry.commitments[3]) return told && disclosed(3, entry.commitments[3], told);
    const first = entryOf(told.entry);
    if (!same(await rootOf(told, size), root) || !same(first.pseudonym, entry.pseudonym)) refuse("what names the stream is not its first event");
    return disclosed(3, first.commitments[3], told);
  }

  // What stands in a redacted event: the redaction, which is sealed too, has the commitment to it.
  async function standing(told, id, size, root) {
    if (Object.keys(told).sort().join() !== "metadata,payload,redaction,salt") refuse("what remains has other members");
    const payload = bytesOf(told.payload), value = joined(number8(payload.length), payload, bytesOf(told.metadata));
    const made = await sha256(utf8("refold/commitment/1"), [16], bytesOf(told.salt), number8(value.length), value);
    const by = entryOf(told.redaction.entry);
    if (!same(await rootOf(told.redaction, size), root)) refuse("the redaction of what remains is not in the log");
    const said = JSON.parse(new TextDecoder().decode(await disclosed(0, by.commitments[0], told.redaction)));
    const text = btoa(String.fromCharCode(...made)).replaceAll("+", "-").replaceAll("/", "_").replace("=", "");
    if (!/^redaction\.applied(\.v[0-9]+)?$/.test(by.kind) || id === null || said.event !== id || said.remains !== text)
      refuse(`it is not what the redaction in the log says remains of ${id}`);
    return new TextDecoder().decode(payload);
  }

  const UNSIGNED = "this browser knows no Ed25519, so who signed it was not checked: refold verify --key does";

  async function signature(note, key) {
    const [name, id, encoded] = key.trim().split(/\+(.{8})\+/), own = bytesOf(encoded ?? refuse("the key is name+id+base64"));
    if (own[0] !== 1 || hex((await sha256(utf8(`${name}\n`), own)).slice(0, 4)) !== id) refuse("the key is damaged, or of another kind");
    const lines = note.slice(note.indexOf("\n\n") + 2).split("\n").filter((one) => one);
    const signed = lines.map((one) => one.split(" ")).filter((one) => one[0] === "—" && one[1] === name)
      .map((one) => bytesOf(one[2])).find((one) => hex(one.slice(0, 4)) === id) ?? refuse(`the head is not signed by ${name} (${id})`);
    let imported;
    try { imported = await crypto.subtle.importKey("raw", own.slice(1), "Ed25519", false, ["verify"]); }
    catch (error) { return error.name === "NotSupportedError" ? UNSIGNED : refuse("the key is none of Ed25519"); }
    const text = utf8(note.slice(0, note.indexOf("\n\n") + 1));
    if (!await crypto.subtle.verify("Ed25519", imported, signed.slice(4), text)) refuse(`the signature of ${name} does not hold`);
    const others = lines.length - 1;
    return `signed by ${name} (${id})${others ? `; ${others} other signatures not looked at` : ""}`;
  }

  const MEMBERS = "checkpoint,disclosed,entry,format,index,origin,path,recorded,withheld";

  async function check(proof, key, say) {
    if (proof.format !== "refold-proof/1") refuse("it is not a proof of refold, format 1");
    if (Object.keys(proof).filter((one) => one !== "remains").sort().join() !== MEMBERS) refuse(`it should have ${MEMBERS}, and no other members`);
    const [origin, told, root64] = proof.checkpoint.split("\n"), size = Number(told), root = bytesOf(root64);
    if (origin !== proof.origin || !/^[1-9]\d{0,15}$/.test(told)) refuse("its checkpoint is of another log, or none");
    const signed = await signature(proof.checkpoint, key);
    say(signed);
    if (!same(await rootOf(proof, size), root)) refuse("the way from the event does not lead to the root that was signed");
    say(`it is event ${proof.index + 1} of ${size} under the root ${hex(root)}`);

    const entry = entryOf(proof.entry), { 3: name, ...own } = proof.disclosed, wanted = { ...entry.commitments };
    const stream = await nameOf(name, entry, size, root);
    if (own[0]) {
      const text = new TextDecoder().decode(await disclosed(0, wanted[0], own[0]));
      for (const [, hole] of text.matchAll(HOLE)) wanted[hole] = bytesOf(hole.replaceAll("-", "+").replaceAll("_", "/") + "=");
      say(`its payload is ${text}`);
    }
    for (const ordinal of Object.keys(own).filter((one) => one !== "0")) {
      const value = await disclosed(/^\d{1,3}$/.test(ordinal) ? Number(ordinal) : 16, wanted[ordinal], own[ordinal]);
      say(`${NAMES[ordinal] ?? NAMES[16]} is ${new TextDecoder().decode(ordinal === "1" ? value.slice(8) : value)}`);
    }
    const said = [...Object.keys(proof.disclosed), ...proof.withheld.map((one) => String(one.ordinal))].sort();
    if (said.join() !== [...new Set([...Object.keys(wanted), "3"])].sort().join()) refuse("it leaves something unsaid, or says it twice");
    for (const one of proof.withheld) say(`a hole: ${NAMES[one.ordinal] ?? NAMES[16]} is not disclosed (${one.why})`);

    const words = {
      id: stream ? `${new TextDecoder().decode(stream)}@${entry.version}` : null, position: proof.index + 1,
      type: entry.kind, recorded_at: time(entry.recorded), occurred_at: time(entry.occurred),
    };
    for (const one of new Set([...Object.keys(words), ...Object.keys(proof.recorded)]))
      if (words[one] !== proof.recorded[one]) refuse(`it says ${one} ${proof.recorded[one]}, and what was sealed ${words[one]}`);
    say(`it is ${words.id ?? "of a stream that is not named"}, ${words.type}, recorded ${words.recorded_at}`);
    if ("remains" in proof) say(`what stands there since a redaction, which says so: ${await standing(proof.remains, words.id, size, root)}`);
    return signed !== UNSIGNED;
  }

  let runs = 0;
  async function run() {
    const own = ++runs, steps = document.getElementById("steps"), verdict = document.getElementById("verdict");
    const tell = (state, text) => {
      if (own === runs) { verdict.dataset.verdict = state; verdict.textContent = text; }
    };
    steps.replaceChildren();
    tell("running", "Checking.");
    try {
      if (!globalThis.crypto?.subtle) refuse("this browser checks nothing here: open the page by localhost or https");
      const isSigned = await check(JSON.parse(document.getElementById("proof").value), document.getElementById("key").value, (text) => {
        if (own === runs) steps.append(Object.assign(document.createElement("li"), { textContent: text }));
      });
      if (isSigned) tell("verified", "Verified: all of this holds.");
      else tell("unsigned", `Not verified: ${UNSIGNED}.`);
    } catch (error) {
      tell("refused", `Refused: ${error.message}.`);
    }
  }

  const button = document.getElementById("check");
  if (!button) return;
  button.disabled = false;
  button.addEventListener("click", run);
  for (const one of ["proof", "key"]) document.getElementById(one).addEventListener("input", run);
  run();
})();

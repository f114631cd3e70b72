/** What would be another request is refused before it is sent. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { Refold } from "../refold.js";

test("a stream that no address can name is refused, and others are named as they are", async () => {
  const asked: string[] = [];
  const fetch = async (url: unknown) => {
    asked.push(new URL(String(url)).pathname);
    return new Response('{"events":[],"next":0,"end":true}');
  };
  const refold = new Refold("http://127.0.0.1", { fetch: fetch as typeof globalThis.fetch });
  for (const stream of [".", ".."]) {
    await assert.rejects(refold.append(stream, [{ type: "a.b" }]), TypeError);
    await assert.rejects(refold.state(stream), TypeError);
    await assert.rejects(refold.read(stream).next(), TypeError);
  }
  assert.deepEqual(asked, []);
  for (const stream of ["...", "a/../b", "../..", "%2e%2e", "a?b#c", "ü"]) {
    await refold.read(stream).next();
    assert.equal(asked.pop(), `/v1/streams/${encodeURIComponent(stream)}/events`, stream);
  }
});

test("an invalid date is refused, not sent as a time that is none", async () => {
  const refold = new Refold("http://127.0.0.1", { fetch: () => assert.fail("it is sent") });
  await assert.rejects(refold.append("a-1", [{ type: "a.b", occurredAt: new Date("soon") }]), TypeError);
  await assert.rejects(refold.append("a-1", [{ type: "a.b", data: { at: new Date(NaN) } }]), TypeError);
});

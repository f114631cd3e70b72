/** Numbers go both ways as they are; what JSON cannot say is refused, and what is no address. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { Exact, type Json, parse, Refold, stringify } from "../refold.js";

test("a number that a number of JavaScript keeps is one", () => {
  for (const text of ["0", "-0.0", "5", "1.50", "15e-1", "0.1", "1e21", "-7.25E-3", "9007199254740991", "5e-324"]) {
    assert.equal(parse(text), Number(text), text);
  }
});

test("a larger whole number is a bigint, and other digits are an Exact", () => {
  assert.equal(parse("9007199254740993"), 9007199254740993n);
  assert.equal(parse("-123456789012345678901234567890"), -123456789012345678901234567890n);
  for (const text of ["0.1000000000000000055511151231257827", "1e400", "1.00000000000000000001"]) {
    const value = parse(text);
    assert.ok(value instanceof Exact, text);
    assert.equal(value.text, text);
  }
});

test("what was read is written as it was", () => {
  const text = '{"a":[9007199254740993,0.30000000000000000001,"0.1e5 \\"12345678901234567890\\"",{"b":-0.0}],"":null}';
  assert.equal(stringify(parse(text)), text);
  assert.deepEqual(parse('"\\u0031\\n12345678901234567890"'), "1\n12345678901234567890");
});

test("values of interfaces are written as JSON.stringify does", () => {
  const value = { at: new Date(0), left_out: undefined, list: [true, null, "é\ud800"], in: Object.create(null) };
  assert.equal(stringify(value), JSON.stringify(value));
});

test("what JSON would change is refused", () => {
  class Named {
    constructor(readonly name: string) {}
  }
  assert.equal(stringify(new Named("x")), '{"name":"x"}');
  for (const odd of [NaN, Infinity, 2 ** 53, undefined, () => 1, [undefined], new Map(), new Set(), new Uint8Array(1), new Date(NaN)]) {
    assert.throws(() => stringify(odd), TypeError);
  }
  assert.throws(() => new Exact("1_000"), TypeError);
  assert.throws(() => parse("{"), SyntaxError);
  assert.throws(() => parse("01"), SyntaxError);
});

test("any value goes there and back", () => {
  let seed = 7;
  const random = (below: number) => (seed = (seed * 48271) % 2147483647) % below;
  const value = (depth: number): Json => {
    switch (random(depth ? 8 : 6)) {
      case 0:
        return random(1e9) / 1000;
      case 1:
        return BigInt(random(1e9)) ** 3n + 2n ** 53n;
      case 2:
        return new Exact(`${random(1e9)}.${"1234567890".repeat(3)}1`);
      case 3:
        return ["", "\\\"", "0.12345678901234567890123", "\u2028"][random(4)]!;
      case 4:
        return [null, true, false][random(3)]!;
      case 5:
        return -random(1e9);
      case 6:
        return Array.from({ length: random(4) }, () => value(depth - 1));
      default:
        return Object.fromEntries(Array.from({ length: random(4) }, (_, n) => [`k${n}`, value(depth - 1)]));
    }
  };
  for (let count = 0; count < 500; count++) {
    const given = value(4);
    assert.deepEqual(parse(stringify(given)), given);
  }
});


test("an address that is none is said at once", () => {
  for (const url of [undefined, "127.0.0.1:8713", "localhost:8713/v1"]) {
    assert.throws(() => new Refold(url as string), /no address of a server: give one such as http/);
  }
  for (const url of ["http://127.0.0.1:8713/", "", "/refold"]) new Refold(url);
});

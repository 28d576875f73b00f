import { expect, test } from "vitest";
import { fromBase64, toBase64 } from "../src/engine/base64";
import { eventParser } from "../src/engine/sse";

const STREAM = ': hello\r\nevent: note\r\ndata: {"a":1}\r\n\r\ndata: one\ndata: two\n\nevent: end\ndata: {}\n\n';
const WHOLE = [
  { event: "note", data: '{"a":1}' },
  { event: "message", data: "one\ntwo" },
  { event: "end", data: "{}" },
];

test("events come whole wherever the network cuts them", () => {
  for (let size = 1; size < STREAM.length; size++) {
    const parse = eventParser();
    const found = [];
    for (let at = 0; at < STREAM.length; at += size) found.push(...parse(STREAM.slice(at, at + size)));
    expect(found).toEqual(WHOLE);
  }
});

test("bytes survive base64, more of them than a call takes arguments", () => {
  const bytes = new Uint8Array(200_000).map((_, index) => (index * 31) % 256);
  expect(fromBase64(toBase64(bytes))).toEqual(bytes);
});

// Modules of the page that need no browser. Run by tests/e2e/test_page.py.

import assert from "node:assert/strict";
import { test } from "node:test";

import { blocksOf } from "../../../web/block_map.js";
import { bytes, count, milliseconds, percent } from "../../../web/format.js";
import { parse } from "../../../web/markdown_blocks.js";
import { events } from "../../../web/sse.js";
import { newestLeaf, pathTo, siblings } from "../../../web/tree.js";

async function read(pieces) {
  const found = [];
  for await (const data of events(ReadableStream.from(pieces))) found.push(data);
  return found;
}

test("events: wherever the stream is cut, in characters and line ends too", async () => {
  for (const end of ["\n", "\r\n", "\r"]) {
    const stream = [": comment", "data: größer 🚀", "", "event: x", "data:two", "data: lines", "", "data: unfinished"].join(end);
    const whole = new TextEncoder().encode(stream + end);
    for (let at = 0; at <= whole.length; at++) {
      assert.deepEqual(await read([whole.slice(0, at), whole.slice(at)]), ["größer 🚀", "two\nlines"], `${JSON.stringify(end)} cut at ${at}`);
    }
    assert.deepEqual(await read([...whole].map((byte) => Uint8Array.of(byte))), ["größer 🚀", "two\nlines"]);
  }
});

const kinds = (text) => parse(text.split("\n")).map((block) => block.kind);

test("Markdown's blocks", () => {
  assert.deepEqual(kinds("# Title\ntext\nmore\n\n- one\n- two\n\n  still two\n\n---\n> quote\n\n| a | b |\n|---|--:|\n| 1 | 2 |"),
    ["heading", "paragraph", "list", "rule", "quote", "table"]);
  const [code] = parse(["````c", "```", "int x;", "````"]);
  assert.deepEqual([code.language, code.text], ["c", "```\nint x;"]);
  assert.equal(parse(["```", "not closed"])[0].text, "not closed");
  const [list] = parse("3. a\n   - b\n     - c\n4. d".split("\n"));
  assert.deepEqual([list.start, list.items.length, list.items[0][1].items[0][1].kind], [3, 2, "list"]);
  assert.deepEqual(parse(["| a \\| b | c |", "|:-:|--:|", "| 1 | 2 | 3 |"]), [
    { kind: "table", head: ["a | b", "c"], alignment: ["centre", "right"], rows: [["1", "2"]], source: "| a \\| b | c |\n|:-:|--:|\n| 1 | 2 | 3 |" }]);
  assert.deepEqual(kinds("-not a list\n1.5 neither"), ["paragraph"]);
});

test("Markdown that nests without end is read all the same", () => {
  assert.equal(kinds(`${">".repeat(100000)} deep`).length, 1);
  assert.equal(kinds(Array.from({ length: 2000 }, (_, i) => `${" ".repeat(i * 2)}- x`).join("\n")).length, 1);
});

test("a tree of messages: paths, branches, the newest end", () => {
  const make = (id, parent, created, role = "user") => [id, { id, parent, created, role }];
  const tree = new Map([make("q1", null, 1), make("a1", "q1", 2, "assistant"), make("q2", null, 3), make("a2", "q1", 4, "assistant"),
    make("q3", "a1", 5), make("loop", "loop", 0)]);
  assert.deepEqual(pathTo(tree, "q3").map(({ id }) => id), ["q1", "a1", "q3"]);
  assert.deepEqual(pathTo(tree, "none"), []);
  assert.deepEqual(pathTo(tree, "loop").length, 1);
  assert.deepEqual(siblings(tree, tree.get("a2")).map(({ id }) => id), ["a1", "a2"]);
  assert.equal(newestLeaf(tree, "a1"), "q3");
  assert.equal(newestLeaf(tree, "q1"), "a2");
  assert.equal(newestLeaf(tree, null), "q2");
  assert.equal(newestLeaf(tree, "loop"), "loop");
});

test("a sequence's blocks: shared first, then its own, the open one in part, the rest reserved", () => {
  const sequence = { blocks: 6, shared_blocks: 2, computed_tokens: 136 };
  assert.deepEqual(blocksOf(sequence, 32).map(({ kind, part }) => `${kind} ${part}`),
    ["shared 1", "shared 1", "sealed 1", "sealed 1", "open 0.25", "reserved 0"]);
  assert.deepEqual(blocksOf({ blocks: 1, shared_blocks: 0, computed_tokens: 32 }, 32), [{ kind: "sealed", part: 1 }]);
  assert.deepEqual(blocksOf({ blocks: 0, shared_blocks: 0, computed_tokens: 0 }, 32), []);
});

test("numbers", () => {
  assert.deepEqual([0, 999, 23040, 1.5e9].map(bytes), ["0 B", "999 B", "23.0 kB", "1.5 GB"]);
  assert.deepEqual([undefined, NaN].map(bytes), ["–", "–"]);
  assert.equal(count(1234567), "1,234,567");
  assert.deepEqual([percent(1, 2), percent(1, 30), percent(0, 5), percent(1, 0)], ["50 %", "3.3 %", "0 %", "–"]);
  assert.deepEqual([12.4, 1500, 61000].map(milliseconds), ["12 ms", "1.5 s", "1 min 1 s"]);
});

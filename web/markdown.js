// A model's Markdown as nodes. While an answer grows only its last blocks are made anew, so a selection above them stays.

import { copy } from "./clipboard.js";
import { element } from "./dom.js";
import { parse } from "./markdown_blocks.js";
import { inline } from "./markdown_inline.js";

function filled(tag, properties, children) {
  const node = element(tag, properties);
  node.append(...children);
  return node;
}

function codeBlock(block) {
  const button = element("button", { type: "button", class: "copy", "aria-label": "Copy code" }, "Copy");
  button.addEventListener("click", () => copy(block.text, button));
  return element("div", { class: "code" },
    element("div", { class: "code-bar" }, element("span", {}, block.language), button),
    element("pre", { tabIndex: 0 }, element("code", {}, block.text)));
}

function table(block) {
  const cell = (tag) => (text, i) => filled(tag, { class: `align-${block.alignment[i] ?? "left"}` }, inline(text));
  const head = filled("tr", {}, block.head.map(cell("th")));
  const rows = block.rows.map((row) => filled("tr", {}, row.map(cell("td"))));
  return element("div", { class: "table" }, element("table", {}, element("thead", {}, head), filled("tbody", {}, rows)));
}

const makers = {
  code: codeBlock,
  table,
  rule: () => element("hr"),
  heading: (block) => filled(`h${Math.min(block.level + 2, 6)}`, {}, inline(block.text)), // below the page's own
  paragraph: (block) => filled("p", {}, inline(block.text)),
  quote: (block) => filled("blockquote", {}, block.blocks.map(make)),
  list: (block) =>
    filled(block.isOrdered ? "ol" : "ul", block.isOrdered ? { start: block.start } : {}, block.items.map((item) =>
      // A short item is its text; a paragraph in each would spread the list.
      filled("li", {}, item.flatMap((inner) => (inner.kind === "paragraph" ? inline(inner.text) : [make(inner)]))))),
};

const make = (block) => makers[block.kind](block);

const shown = new WeakMap(); // place: sources of its blocks

export function render(place, text) {
  const blocks = parse(text.replace(/\r\n?/g, "\n").split("\n"));
  const before = shown.get(place) ?? [];
  let same = 0;
  while (same < blocks.length && same < before.length && blocks[same].source === before[same]) same++;
  while (place.childNodes.length > same) place.lastChild.remove();
  place.append(...blocks.slice(same).map(make));
  shown.set(place, blocks.map((block) => block.source));
}

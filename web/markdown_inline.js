// Markdown within a line: code, emphasis, links. Makes nodes, never markup; time is linear in the text, for a model may
// write anything.

import { element } from "./dom.js";

const MAX_DEPTH = 8;
const SPECIAL = /[\\`*_~[<h]/g;
const WORD = /[\p{L}\p{N}]/u;

/** The address if a person may be sent there. */
function safeAddress(text) {
  try {
    const url = new URL(text);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

function link(address, children) {
  const node = element("a", { href: address, target: "_blank", rel: "noopener noreferrer" });
  node.append(...children);
  return node;
}

class Scanner {
  constructor(text, depth) {
    this.text = text;
    this.depth = depth;
    this.nodes = [];
    this.plain = "";
    this.missing = new Set(); // what does not occur any more: looked for once
  }

  find(what, from) {
    if (this.missing.has(what)) return -1;
    const at = this.text.indexOf(what, from);
    if (at < 0) this.missing.add(what);
    return at;
  }

  put(node) {
    if (this.plain) this.nodes.push(document.createTextNode(this.plain));
    this.plain = "";
    this.nodes.push(node);
  }

  inner(text) {
    return inline(text, this.depth + 1);
  }

  code(at) {
    const ticks = /`+/y;
    ticks.lastIndex = at;
    const fence = ticks.exec(this.text)[0];
    const end = this.find(fence, at + fence.length);
    if (end < 0) {
      this.plain += fence;
      return at + fence.length;
    }
    const inside = this.text.slice(at + fence.length, end);
    this.put(element("code", {}, inside.replace(/^ (.*[^ ].*) $/s, "$1")));
    return end + fence.length;
  }

  /** `**strong**`, `*em*`, `~~del~~`; 0 if it is none. */
  emphasis(at) {
    const mark = this.text[at];
    const double = this.text[at + 1] === mark;
    if (mark === "~" && !double) return 0;
    const fence = double ? mark + mark : mark;
    const begin = at + fence.length;
    if (/\s/.test(this.text[begin] ?? " ")) return 0;
    if (mark === "_" && at > 0 && WORD.test(this.text[at - 1])) return 0;
    let end = this.find(fence, begin + 1);
    // A single mark does not end at a double one.
    while (!double && end >= 0 && this.text[end + 1] === mark) end = this.find(fence, end + 2);
    if (end < 0 || /\s/.test(this.text[end - 1])) return 0;
    if (double && this.text[end + 2] === mark) end++; // ***both***
    if (mark === "_" && WORD.test(this.text[end + fence.length] ?? " ")) return 0;
    const tag = mark === "~" ? "del" : double ? "strong" : "em";
    const node = element(tag);
    node.append(...this.inner(this.text.slice(begin, end)));
    this.put(node);
    return end + fence.length;
  }

  /** `[text](address)`; 0 if it is none. */
  link(at) {
    const middle = this.find("](", at + 1);
    if (middle < 0) return 0;
    const end = this.find(")", middle + 2);
    if (end < 0) return 0;
    const label = this.text.slice(at + 1, middle);
    const address = safeAddress(this.text.slice(middle + 2, end).trim().split(/\s/)[0]);
    if (label.includes("[") || address === null) return 0;
    this.put(link(address, this.inner(label)));
    return end + 1;
  }

  address(at) {
    const pattern = /https?:\/\/[^\s<>"'`\])]+/y;
    pattern.lastIndex = at + (this.text[at] === "<" ? 1 : 0);
    const found = pattern.exec(this.text);
    if (!found) return 0;
    const text = found[0].replace(/[.,;:!?*_]+$/, "");
    const address = safeAddress(text);
    if (address === null) return 0;
    this.put(link(address, [document.createTextNode(text)]));
    const end = pattern.lastIndex - (found[0].length - text.length);
    return this.text[at] === "<" && this.text[end] === ">" ? end + 1 : end;
  }

  /** What stands at a special character; returns where it ends, 0 if it means nothing. */
  special(at) {
    const mark = this.text[at];
    if (mark === "\\" && /[!-/:-@[-`{-~]/.test(this.text[at + 1] ?? "")) {
      this.plain += this.text[at + 1];
      return at + 2;
    }
    if (mark === "`") return this.code(at);
    if (this.depth >= MAX_DEPTH) return 0;
    if (mark === "[") return this.link(at);
    if (mark === "<" || mark === "h") return this.address(at);
    return mark === "\\" ? 0 : this.emphasis(at);
  }

  run() {
    let at = 0;
    while (at < this.text.length) {
      SPECIAL.lastIndex = at;
      const found = SPECIAL.exec(this.text);
      const next = found ? found.index : this.text.length;
      this.plain += this.text.slice(at, next);
      if (!found) break;
      at = this.special(next);
      if (at === 0) {
        this.plain += this.text[next];
        at = next + 1;
      }
    }
    if (this.plain) this.nodes.push(document.createTextNode(this.plain));
    return this.nodes;
  }
}

/** The nodes of a text; line ends become <br>. */
export function inline(text, depth = 0) {
  return new Scanner(text, depth).run();
}

// A sequence's blocks as small squares: shared with others (marked by a corner too), its own, the open one as far as it is
// filled, and those reserved that nothing is in yet.

import { colours } from "./colours.js";
import { element } from "./dom.js";

const GAP = 2;
const MOST_SQUARES = 1024; // more blocks than that: one square stands for several

let palette = null;

/** After the theme has changed. */
export function forgetColours() {
  palette = null;
}

/** Kinds of the blocks, in order: {kind, part}: `part` of the open one is filled. */
export function blocksOf(sequence, blockTokens) {
  const filled = Math.floor(sequence.computed_tokens / blockTokens);
  const part = (sequence.computed_tokens % blockTokens) / blockTokens;
  return Array.from({ length: sequence.blocks }, (_, i) => {
    if (i < sequence.shared_blocks) return { kind: "shared", part: 1 };
    if (i < filled) return { kind: "sealed", part: 1 };
    return i === filled && part > 0 ? { kind: "open", part } : { kind: "reserved", part: 0 };
  });
}

const sizeOf = (n) => (n <= 64 ? 12 : n <= 256 ? 9 : 6);

function draw(context, x, y, size, { kind, part }) {
  context.fillStyle = context.strokeStyle = palette[`block-${kind}`];
  if (kind === "open" || kind === "reserved") {
    context.strokeRect(x + 0.5, y + 0.5, size - 1, size - 1);
    context.fillRect(x, y + size * (1 - part), size, size * part);
    return;
  }
  context.fillRect(x, y, size, size);
  if (kind !== "shared") return;
  context.fillStyle = palette.panel; // a missing corner: no colour is needed to tell
  context.beginPath();
  context.moveTo(x + size, y);
  context.lineTo(x + size, y + size * 0.6);
  context.lineTo(x + size * 0.4, y);
  context.fill();
}

export class BlockMap {
  constructor() {
    this.canvas = element("canvas", { class: "block-map", role: "img" });
    new ResizeObserver(() => this.show()).observe(this.canvas);
  }

  update(sequence, blockTokens) {
    const blocks = blocksOf(sequence, blockTokens);
    this.each = Math.ceil(blocks.length / MOST_SQUARES);
    this.blocks = this.each > 1 ? blocks.filter((_, i) => i % this.each === 0) : blocks;
    const own = sequence.blocks - sequence.shared_blocks;
    const label = `${sequence.blocks} blocks: ${sequence.shared_blocks} shared, ${own} its own`;
    this.canvas.setAttribute("aria-label", label);
    this.canvas.title = this.each > 1 ? `${label}; a square is ${this.each} blocks` : label;
    this.show();
  }

  show() {
    const width = this.canvas.clientWidth;
    if (!width || !this.blocks) return;
    palette ??= colours("block-shared", "block-sealed", "block-open", "block-reserved", "panel");
    const size = sizeOf(this.blocks.length);
    const columns = Math.max(Math.floor((width + GAP) / (size + GAP)), 1);
    const height = Math.max(Math.ceil(this.blocks.length / columns), 1) * (size + GAP) - GAP;
    const scale = window.devicePixelRatio || 1;
    this.canvas.style.height = `${height}px`;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    const context = this.canvas.getContext("2d");
    context.scale(scale, scale);
    this.blocks.forEach((block, i) => {
      draw(context, (i % columns) * (size + GAP), Math.floor(i / columns) * (size + GAP), size, block);
    });
  }
}

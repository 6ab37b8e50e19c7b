// Every sequence that the server holds blocks for, or has waiting.

import { BlockMap } from "./block_map.js";
import { byId, element, setText } from "./dom.js";
import { bytes, count, milliseconds, perSecond } from "./format.js";

const rows = new Map(); // "id choice": Row

class Row {
  constructor() {
    this.name = element("span", { class: "name" });
    this.state = element("span", { class: "state" });
    this.map = new BlockMap();
    this.tokens = element("p", { class: "figures" });
    this.costs = element("p", { class: "figures" });
    this.node = element("li", { class: "sequence" }, element("div", { class: "sequence-head" }, this.name, this.state),
      this.map.canvas, this.tokens, this.costs);
  }

  update(sequence, name, blockTokens) {
    setText(this.name, name ?? sequence.id.replace(/^(chatcmpl|cmpl|resp|msg)[-_]/, "").slice(0, 12) + (sequence.choice ? ` #${sequence.choice}` : ""));
    this.name.title = sequence.id;
    this.node.classList.toggle("mine", name !== undefined);
    setText(this.state, sequence.state);
    this.state.dataset.state = sequence.state;
    this.map.canvas.hidden = sequence.blocks === 0;
    this.map.update(sequence, blockTokens);
    const prompt = sequence.state === "prefill" ? `${count(sequence.computed_tokens)} of ${count(sequence.prompt_tokens)}` : count(sequence.prompt_tokens);
    setText(this.tokens, `${prompt} prompt · ${count(sequence.cached_tokens)} cached · ${count(sequence.output_tokens)} output`);
    const rate = sequence.state === "waiting" ? "" : ` · ${perSecond(sequence.tokens_per_second)} tokens/s`;
    setText(this.costs, `${bytes(sequence.kv_bytes)} · ${count(sequence.blocks)} blocks${rate} · ${milliseconds(sequence.age_ms)}`);
  }
}

/** `names`: request id: title, of the conversations of this browser. */
export function show(live, names) {
  const place = byId("sequences");
  const wanted = new Set();
  live.sequences.forEach((sequence, i) => {
    const key = `${sequence.id} ${sequence.choice}`;
    wanted.add(key);
    if (!rows.has(key)) rows.set(key, new Row());
    const row = rows.get(key);
    if (place.children[i] !== row.node) place.insertBefore(row.node, place.children[i] ?? null);
    row.update(sequence, names.get(sequence.id), live.block_tokens);
  });
  for (const [key, row] of rows) {
    if (wanted.has(key)) continue;
    row.node.remove();
    rows.delete(key);
  }
  byId("no-sequences").hidden = live.sequences.length > 0;
}

/** After the theme has changed. */
export function redraw() {
  for (const row of rows.values()) row.map.show();
}

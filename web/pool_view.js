// The pool: how much of the arena is held, idle (kept for reuse), free; and of what kind its blocks are.

import { byId, element, setText } from "./dom.js";
import { bytes, count, percent, plural } from "./format.js";

const KINDS = ["held", "idle", "free"];
const STATES = ["open", "sealed", "idle"];

function showFill(live) {
  const total = live.arena_bytes;
  for (const kind of KINDS) {
    const n = live[`${kind}_bytes`];
    byId(`fill-${kind}`).style.flexGrow = String(n / Math.max(total, 1));
    setText(byId(`${kind}-bytes`), bytes(n));
  }
  byId("fill").setAttribute("aria-label", KINDS.map((kind) => `${kind} ${percent(live[`${kind}_bytes`], total)}`).join(", "));
}

function groupRow(group, blockTokens) {
  const kind = group.kind === "window" || group.window ? `window ${count(group.window)}` : group.kind;
  return element("tr", {}, element("th", { scope: "row" }, kind), element("td", {}, count(group.layers)),
    element("td", { title: `${count(group.block_bytes / blockTokens)} B a token` }, bytes(group.block_bytes)),
    ...STATES.map((state) => element("td", {}, count(group.blocks[state]))));
}

export function show(live) {
  showFill(live);
  setText(byId("capacity"), `${bytes(live.arena_bytes)} · room for ${count(live.capacity_tokens)} tokens of ${count(live.bytes_per_token)} B`);
  const rows = live.groups.map((group) => groupRow(group, live.block_tokens));
  const text = JSON.stringify(live.groups);
  const body = byId("groups");
  if (body.dataset.shown !== text) {
    body.replaceChildren(...rows);
    body.dataset.shown = text;
  }
  const load = [`${count(live.running)} running`, `${count(live.waiting)} waiting`];
  if (live.preemptions) load.push(plural(live.preemptions, "preemption"));
  setText(byId("load"), load.join(" · "));
}

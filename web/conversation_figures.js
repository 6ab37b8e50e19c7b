// What each conversation has in the cache: of its newest answer, for its prompt holds all that came before.

import * as chat from "./chat.js";
import { byId, element } from "./dom.js";
import * as figures from "./figures.js";
import { bytes, count, percent } from "./format.js";
import * as store from "./store.js";

const MOST = 50;

function row({ id, title }) {
  const message = figures.latest(id);
  const known = message && figures.of(message);
  if (!known) return null;
  const node = element("tr", { class: chat.conversation()?.id === id ? "current" : "" },
    element("th", { scope: "row", title }, title),
    element("td", {}, count(known.prompt)),
    element("td", { title: percent(known.cached, known.prompt) }, count(known.cached)),
    element("td", {}, count(known.output)),
    element("td", {}, bytes(known.kv_bytes)),
    element("td", {}, bytes(known.bytes_per_token)));
  return node;
}

export function show() {
  const rows = store.list().slice(0, MOST).map(row).filter((each) => each !== null);
  const text = rows.map((each) => each.className + each.textContent).join("|");
  const body = byId("conversation-figures");
  if (body.dataset.shown === text) return;
  body.dataset.shown = text;
  body.replaceChildren(...rows);
  byId("no-figures").hidden = rows.length > 0;
  byId("figures-table").hidden = rows.length === 0;
}

/** request id: title, of all answers that are known here. */
export function names() {
  const found = new Map();
  for (const { id, title } of store.list()) {
    for (const message of store.messagesOf(id).values()) {
      if (message.figures?.request) found.set(message.figures.request, title);
    }
  }
  return found;
}

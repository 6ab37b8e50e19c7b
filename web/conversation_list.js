// The list of conversations: open, rename, delete, new. Which one is open stands behind the # of the address, so every tab
// has its own, and the browser's back button works.

import * as chat from "./chat.js";
import { confirmed } from "./confirm.js";
import { byId, element, iconButton, setText } from "./dom.js";
import { closeDrawers } from "./drawers.js";
import * as store from "./store.js";

const rows = new Map(); // conversation id: node

function go(id) {
  const hash = id ? `#${id}` : "";
  if (location.hash !== hash) history.pushState(null, "", hash || location.pathname + location.search);
  chat.open(id);
  closeDrawers();
}

function rename(id) {
  const row = rows.get(id);
  const field = element("input", { class: "rename", value: store.get(id).title, maxLength: 200, "aria-label": "Name of the conversation" });
  let isOpen = true;
  const close = (isKept) => {
    if (!isOpen) return;
    isOpen = false;
    const title = field.value.trim();
    if (isKept && title) store.update(id, { title });
    field.replaceWith(row.open);
    row.open.focus();
  };
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") close(true);
    else if (event.key === "Escape") close(false);
    else return;
    event.preventDefault();
  });
  field.addEventListener("blur", () => close(true));
  row.open.replaceWith(field);
  field.select();
}

async function remove(id) {
  const { title } = store.get(id);
  if (!(await confirmed(`Delete “${title}”? This cannot be undone.`, "Delete"))) return;
  const isOpen = chat.conversation()?.id === id;
  store.remove(id);
  if (isOpen) go(null);
  byId("new").focus();
}

function makeRow(id) {
  const open = element("a", { class: "open", href: `#${id}`, onclick: (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return; // in a tab of its own
    event.preventDefault();
    go(id);
    byId("question").focus();
  } });
  const node = element("li", {}, open, element("span", { class: "row-actions" },
    iconButton("edit", "Rename", () => rename(id)), iconButton("delete", "Delete", () => remove(id))));
  return { node, open };
}

function show() {
  const list = store.list();
  const place = byId("conversation-list");
  const wanted = new Set(list.map(({ id }) => id));
  for (const [id, row] of rows) {
    if (wanted.has(id)) continue;
    row.node.remove();
    rows.delete(id);
  }
  list.forEach(({ id, title }, i) => {
    if (!rows.has(id)) rows.set(id, makeRow(id));
    const row = rows.get(id);
    setText(row.open, title);
    const isOpen = chat.conversation()?.id === id;
    row.node.classList.toggle("current", isOpen);
    if (isOpen) row.open.setAttribute("aria-current", "page");
    else row.open.removeAttribute("aria-current");
    if (place.children[i] !== row.node) place.insertBefore(row.node, place.children[i] ?? null);
  });
  byId("no-conversations").hidden = list.length > 0;
  document.title = chat.conversation() ? `${chat.conversation().title} – Cabinet` : "Cabinet";
}

function openNamed() {
  chat.open(location.hash.slice(1) || null);
}

export function connect() {
  byId("new").addEventListener("click", () => {
    go(null);
    byId("question").focus();
  });
  store.changes.addEventListener("change", show);
  chat.changes.addEventListener("open", () => {
    // A first question has made a conversation, or another tab deleted this one.
    const hash = chat.conversation() ? `#${chat.conversation().id}` : "";
    if (location.hash !== hash) history.replaceState(null, "", hash || location.pathname + location.search);
    show();
  });
  window.addEventListener("popstate", openNamed);
  openNamed();
}

// The API key: kept for this tab only, sent as a header only, asked for when the server answers 401.

import { byId } from "./dom.js";

const NAME = "cabinet/key";
let memory = "";

export const changes = new EventTarget(); // "change"

export function get() {
  try {
    return sessionStorage.getItem(NAME) ?? "";
  } catch {
    return memory;
  }
}

export function set(key) {
  memory = key;
  try {
    if (key) sessionStorage.setItem(NAME, key);
    else sessionStorage.removeItem(NAME);
  } catch {
    // no storage: memory holds it
  }
  changes.dispatchEvent(new Event("change"));
}

/** Shows the bar that asks; `wasWrong`: a key was sent. */
export function ask(wasWrong) {
  const bar = byId("key-bar");
  byId("key-why").textContent = wasWrong ? "The server does not know this key." : "This server wants an API key.";
  if (!bar.hidden) return;
  bar.hidden = false;
  byId("key").focus();
}

export function connect() {
  byId("key-bar").addEventListener("submit", (event) => {
    event.preventDefault();
    const key = byId("key").value.trim();
    byId("key-bar").hidden = true;
    byId("key").value = "";
    set(key);
    byId("question")?.focus(); // the planner's page has none
  });
}

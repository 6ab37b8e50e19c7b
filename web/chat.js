// The conversation that is open in this tab: which one, which branch of it, and what a person does to it.

import * as generation from "./generation.js";
import * as store from "./store.js";
import { newestLeaf, pathTo } from "./tree.js";

const TITLE_LENGTH = 60;

export const changes = new EventTarget(); // "open", "path", "text" (detail: message), "end" (detail: message)

let openId = null; // null: a new one that nothing was said in yet
let leaf = null;

const tell = (type, detail) => changes.dispatchEvent(new CustomEvent(type, { detail }));

export const conversation = () => (openId ? store.get(openId) : undefined);
export const messages = () => store.messagesOf(openId);
export const path = () => pathTo(messages(), leaf);
/** The answer that this tab is writing into the open conversation. */
export const running = () => path().find((message) => generation.isRunning(message.id));

export function open(id) {
  openId = store.get(id) ? id : null;
  const stored = conversation()?.leaf;
  leaf = messages().has(stored) ? stored : newestLeaf(messages(), null);
  tell("open");
}

/** Shows the branch that a message is on, down to its newest end. */
export function showBranch(id) {
  leaf = newestLeaf(messages(), id);
  if (openId) store.update(openId, { leaf });
  tell("path");
}

function add(fields) {
  const message = { id: store.newId(), conversation: openId, created: Date.now(), state: "done", text: "", figures: {}, ...fields };
  store.save(message);
  return message;
}

function titleOf(text) {
  const line = text.trim().split("\n")[0];
  return line.length > TITLE_LENGTH ? `${line.slice(0, TITLE_LENGTH - 1)}…` : line;
}

async function answer(question) {
  const asked = pathTo(messages(), question.id);
  const message = add({ parent: question.id, role: "assistant", state: "streaming" });
  leaf = message.id;
  store.update(openId, { leaf, updated: Date.now() });
  const written = generation.generate(asked, message, (changed) => tell("text", changed));
  tell("path");
  await written;
  tell("end", message);
}

export function send(text) {
  if (!openId) {
    openId = store.create(titleOf(text)).id;
    tell("open");
  }
  return answer(add({ parent: leaf, role: "user", text }));
}

/** Asks anew in the place of an earlier question; that one stays as a branch. */
export function edit(message, text) {
  return answer(add({ parent: message.parent, role: "user", text }));
}

export function regenerate(message) {
  return answer(messages().get(message.parent));
}

export function stop() {
  const message = running();
  if (message) generation.stop(message.id);
  return message !== undefined;
}

/** Another tab, or this one, has changed the store. */
function follow({ conversation: id, message: messageId }) {
  if (id === undefined || id === openId) {
    if (openId && !store.get(openId)) {
      open(null); // deleted
      return;
    }
    const message = messages().get(messageId);
    // What goes on from where this tab is, in another tab, is followed; other branches are only counted.
    if (message && message.parent === leaf) leaf = message.id;
    if (!messages().has(leaf)) leaf = newestLeaf(messages(), null);
    tell("path");
  }
  for (const written of generation.messages()) {
    if (!store.get(written.conversation)) generation.stop(written.id);
  }
}

store.changes.addEventListener("change", (event) => follow(event.detail));

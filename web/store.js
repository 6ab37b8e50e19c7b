// Conversations. A conversation is a tree of messages, and every message has a key of its own in the browser's storage:
// one tab writes it, so two tabs never overwrite each other's. An edited question is a new branch; the old one stays.
//
//   conversation {id, title, created, updated, leaf}      key c/ID
//   message {id, conversation, parent, role, text, state, updated, error, figures}   key m/CONVERSATION/ID
//   state: done, streaming, stopped, failed, limit (cut by max_tokens or the context)

import * as storage from "./storage.js";

const HEARTBEAT_LOST_MS = 15000; // a message that streams is saved more often than this

export const changes = new EventTarget(); // "change", detail: {conversation, message}, undefined: any; "full", detail: text
const conversations = new Map();
const messages = new Map(); // conversation id: Map of id: message

function tell(conversation, message) {
  changes.dispatchEvent(new CustomEvent("change", { detail: { conversation, message } }));
}

/** A full storage is said, and what did not fit lives until the tab is closed. */
function put(key, value) {
  try {
    storage.write(key, value);
  } catch (error) {
    if (!(error instanceof storage.StorageFull)) throw error;
    changes.dispatchEvent(new CustomEvent("full", { detail: error.message }));
  }
}

export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(9)); // randomUUID wants https
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function take(key) {
  const [kind, conversation, id] = key.split("/");
  const value = storage.read(key);
  if (kind === "c" && value && value.id === conversation) conversations.set(conversation, value);
  else if (kind === "c") forget(conversation);
  else if (kind === "m" && value && value.id === id && typeof value.text === "string") {
    if (!messages.has(conversation)) messages.set(conversation, new Map());
    messages.get(conversation).set(id, value);
  } else if (kind === "m") messages.get(conversation)?.delete(id);
  return { conversation, message: id };
}

function forget(conversation) {
  conversations.delete(conversation);
  messages.delete(conversation);
}

function loadAll() {
  conversations.clear();
  messages.clear();
  for (const key of storage.keys("c/")) take(key);
  for (const key of storage.keys("m/")) {
    if (conversations.has(key.split("/")[1])) take(key);
    else storage.remove(key); // left by a tab that wrote while another deleted
  }
}

loadAll();
storage.listen((key) => {
  if (key === null) {
    loadAll();
    tell();
  } else if (key.startsWith("c/") || key.startsWith("m/")) {
    const { conversation, message } = take(key);
    tell(conversation, message);
  }
});

/** Newest first. */
export const list = () => [...conversations.values()].sort((a, b) => b.updated - a.updated || (a.id < b.id ? -1 : 1));
export const get = (id) => conversations.get(id);
export const messagesOf = (id) => messages.get(id) ?? new Map();

export function create(title) {
  const now = Date.now();
  const conversation = { id: newId(), title, created: now, updated: now, leaf: null };
  put(`c/${conversation.id}`, conversation);
  conversations.set(conversation.id, conversation);
  tell(conversation.id);
  return conversation;
}

/** Changes fields of what is stored now, which another tab may have written. */
export function update(id, fields) {
  if (!conversations.has(id)) return;
  const conversation = { ...(storage.read(`c/${id}`) ?? conversations.get(id)), ...fields };
  put(`c/${id}`, conversation);
  conversations.set(id, conversation);
  tell(id);
}

export function remove(id) {
  storage.remove(`c/${id}`); // first, so that another tab stops writing
  for (const key of storage.keys(`m/${id}/`)) storage.remove(key);
  forget(id);
  tell(id);
}

/** A message as it is now. Nothing is written when the conversation is gone. */
export function save(message) {
  if (!conversations.has(message.conversation)) return;
  message.updated = Date.now();
  if (!messages.has(message.conversation)) messages.set(message.conversation, new Map());
  messages.get(message.conversation).set(message.id, message);
  put(`m/${message.conversation}/${message.id}`, message);
  tell(message.conversation, message.id);
}

/** Says "streaming" on paper, but the tab that wrote it is gone. */
export const isAbandoned = (message) => message.state === "streaming" && Date.now() - message.updated > HEARTBEAT_LOST_MS;

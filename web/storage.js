// What the browser keeps: localStorage under "cabinet/", or memory where there is none.

const PREFIX = "cabinet/";
const memory = new Map();
let store = null;
try {
  store = window.localStorage;
  store.getItem(PREFIX);
} catch {
  store = null; // forbidden by the user
}

export class StorageFull extends Error {}

export function read(key) {
  const text = store ? store.getItem(PREFIX + key) : memory.get(key);
  if (text === null || text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // of another program, or damaged
  }
}

export function write(key, value) {
  const text = JSON.stringify(value);
  if (!store) {
    memory.set(key, text);
    return;
  }
  try {
    store.setItem(PREFIX + key, text);
  } catch (error) {
    throw new StorageFull("The browser's storage is full: delete conversations, or this one is lost with the tab.", { cause: error });
  }
}

export function remove(key) {
  if (store) store.removeItem(PREFIX + key);
  else memory.delete(key);
}

/** Keys that begin so. */
export function keys(beginning) {
  if (!store) return [...memory.keys()].filter((key) => key.startsWith(beginning));
  const found = [];
  for (let i = 0; i < store.length; i++) {
    const key = store.key(i);
    if (key.startsWith(PREFIX + beginning)) found.push(key.slice(PREFIX.length));
  }
  return found;
}

/** Calls `heard(key)` when another tab has changed a key; `heard(null)` when it may be any. */
export function listen(heard) {
  window.addEventListener("storage", (event) => {
    if (event.storageArea !== store) return;
    if (event.key === null) heard(null);
    else if (event.key.startsWith(PREFIX)) heard(event.key.slice(PREFIX.length));
  });
}

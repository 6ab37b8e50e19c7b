// A conversation's messages as a tree: the path that is shown, its branches.

const byAge = (a, b) => a.created - b.created || (a.id < b.id ? -1 : 1);

/** Messages from the root to `leaf`. */
export function pathTo(messages, leaf) {
  const path = [];
  const seen = new Set();
  for (let at = messages.get(leaf); at && !seen.has(at.id); at = messages.get(at.parent)) {
    seen.add(at.id);
    path.unshift(at);
  }
  return path;
}

/** The message and the others that answer or follow the same one, oldest first. */
export const siblings = (messages, message) =>
  [...messages.values()].filter((other) => other.parent === message.parent && other.role === message.role).sort(byAge);

/** The newest leaf below a message; of the whole tree with null. */
export function newestLeaf(messages, id) {
  const newestChild = new Map();
  for (const message of messages.values()) {
    const best = newestChild.get(message.parent);
    if (!best || byAge(best, message) < 0) newestChild.set(message.parent, message);
  }
  let leaf = id;
  const seen = new Set();
  for (let child = newestChild.get(leaf); child && !seen.has(child.id); child = newestChild.get(leaf)) {
    seen.add(child.id);
    leaf = child.id;
  }
  return leaf;
}

// The open conversation's messages. Views are kept by message, so that what is selected or edited stays.

import { announce } from "./announce.js";
import * as chat from "./chat.js";
import { byId } from "./dom.js";
import { plural } from "./format.js";
import { MessageView } from "./message_view.js";

const NEAR_END = 80; // pixels

const views = new Map(); // message id: MessageView
let place;
let follows = true; // the end stays in sight

function scrollToEnd() {
  if (follows) place.scrollTop = place.scrollHeight;
}

function showPath() {
  const path = chat.path();
  const wanted = new Set(path.map((message) => message.id));
  for (const [id, view] of views) {
    if (wanted.has(id)) continue;
    view.node.remove();
    views.delete(id);
  }
  let before = byId("welcome");
  for (const message of path) {
    const view = views.get(message.id);
    if (view) view.update(message);
    else views.set(message.id, new MessageView(message));
    const { node } = views.get(message.id);
    if (before.nextSibling !== node) before.after(node);
    before = node;
  }
  byId("welcome").hidden = path.length > 0;
  scrollToEnd();
}

function showText(message) {
  views.get(message.id)?.update(message);
  scrollToEnd();
}

function end(message) {
  if (message.conversation !== chat.conversation()?.id) return;
  const words = { failed: `Failed: ${message.error}`, stopped: "Stopped." };
  announce(words[message.state] ?? `Answer of ${plural(message.figures.output ?? 0, "token")}: ${message.text.slice(0, 1000)}`);
  showPath();
}

export function connect() {
  place = byId("messages");
  place.addEventListener("scroll", () => {
    follows = place.scrollHeight - place.scrollTop - place.clientHeight < NEAR_END;
  });
  chat.changes.addEventListener("open", () => {
    follows = true;
    showPath();
  });
  chat.changes.addEventListener("path", showPath);
  chat.changes.addEventListener("text", (event) => showText(event.detail));
  chat.changes.addEventListener("end", (event) => end(event.detail));
  new ResizeObserver(scrollToEnd).observe(place);
}

/** A question was sent: its answer is to be seen. */
export function followEnd() {
  follows = true;
}

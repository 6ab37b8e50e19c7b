// Where a question is typed. Enter sends, Shift+Enter is a new line, Escape stops the answer.

import { announce } from "./announce.js";
import * as chat from "./chat.js";
import { byId } from "./dom.js";
import { followEnd } from "./message_list.js";
import * as store from "./store.js";

function fit(field) {
  field.style.height = "auto";
  field.style.height = `${Math.min(field.scrollHeight + 2, window.innerHeight * 0.4)}px`;
}

function showState() {
  const isRunning = chat.running() !== undefined;
  const hadFocus = document.activeElement === byId("stop");
  byId("stop").hidden = !isRunning;
  byId("send").hidden = isRunning;
  byId("send").disabled = byId("question").value.trim() === "";
  if (hadFocus && !isRunning) byId("question").focus();
}

function send() {
  const field = byId("question");
  const text = field.value.trim();
  if (!text || chat.running()) return;
  field.value = "";
  fit(field);
  byId("problem").hidden = true;
  followEnd();
  announce("Sent.");
  chat.send(text);
}

function showProblem(text) {
  byId("problem").textContent = text;
  byId("problem").hidden = false;
}

export function connect() {
  const field = byId("question");
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
    field.focus();
  });
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  field.addEventListener("input", () => {
    fit(field);
    showState();
  });
  byId("stop").addEventListener("click", () => chat.stop());
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !event.defaultPrevented && !document.querySelector("dialog[open]") && chat.stop()) event.preventDefault();
  });
  for (const type of ["open", "path", "end"]) chat.changes.addEventListener(type, showState);
  store.changes.addEventListener("full", (event) => showProblem(event.detail));
  showState();
}

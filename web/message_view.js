// One message: its text, its figures, and what can be done with it.

import * as chat from "./chat.js";
import { copy } from "./clipboard.js";
import { element, iconButton, setText } from "./dom.js";
import * as figures from "./figures.js";
import * as generation from "./generation.js";
import { render } from "./markdown.js";
import { isAbandoned } from "./store.js";
import { siblings } from "./tree.js";

const NOTES = { stopped: "Stopped.", limit: "Cut off at the token limit." };

export class MessageView {
  constructor(message) {
    this.id = message.id;
    this.isUser = message.role === "user";
    this.text = element("div", { class: this.isUser ? "text plain" : "text markdown" });
    this.note = element("p", { class: "note", hidden: true });
    this.figures = element("p", { class: "figures" });
    this.branches = element("span", { class: "branches" });
    this.actions = element("div", { class: "actions" }, this.branches, ...this.buttons());
    this.node = element("article", { class: `message ${message.role}`, "aria-label": this.isUser ? "You" : "Answer", "data-id": message.id },
      this.text, this.note, element("footer", {}, this.figures, this.actions));
    this.update(message);
  }

  buttons() {
    const copyButton = iconButton("copy", "Copy", () => copy(this.message.text, copyButton));
    const other = this.isUser
      ? iconButton("edit", "Edit and ask again", () => this.edit())
      : iconButton("again", "Regenerate", () => chat.regenerate(this.message));
    return [copyButton, other];
  }

  update(message) {
    this.message = message;
    const isWritten = message.state === "streaming" && !isAbandoned(message);
    this.node.classList.toggle("written", isWritten);
    this.node.classList.toggle("empty", message.text === "");
    this.node.setAttribute("aria-busy", String(isWritten));
    if (this.isUser) setText(this.text, message.text);
    else render(this.text, message.text);
    const note = message.state === "failed" ? message.error : (NOTES[isAbandoned(message) ? "stopped" : message.state] ?? "");
    setText(this.note, note);
    this.note.hidden = note === "";
    this.note.classList.toggle("error", message.state === "failed");
    if (!this.isUser) setText(this.figures, figures.line(message));
    this.actions.hidden = generation.isRunning(message.id);
    this.updateBranches();
  }

  updateBranches() {
    const all = siblings(chat.messages(), this.message);
    const at = all.findIndex((each) => each.id === this.id);
    const shown = all.length > 1 ? `${at + 1}/${all.length}/${all.map((each) => each.id)}` : "";
    if (this.branchesShown === shown) return;
    this.branchesShown = shown;
    if (!shown) {
      this.branches.replaceChildren();
      return;
    }
    const go = (to, name, label) =>
      iconButton(name, label, () => chat.showBranch(all[to].id), { disabled: to < 0 || to >= all.length });
    this.branches.replaceChildren(go(at - 1, "left", "Earlier version"), element("span", {}, `${at + 1} / ${all.length}`),
      go(at + 1, "right", "Later version"));
  }

  edit() {
    if (this.editor) return;
    const field = element("textarea", { class: "edit-field", "aria-label": "Edit your message", value: this.message.text,
      rows: Math.min(this.message.text.split("\n").length + 1, 12) });
    const close = () => {
      this.editor.remove();
      this.editor = null;
      this.node.classList.remove("edited");
      this.actions.querySelector(".icon-button:last-child")?.focus();
    };
    const send = () => {
      const text = field.value.trim();
      if (!text) return;
      close();
      document.getElementById("question").focus();
      chat.edit(this.message, text);
    };
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        send();
      } else if (event.key === "Escape") {
        event.stopPropagation();
        close();
      }
    });
    this.editor = element("div", { class: "editor" }, field, element("div", { class: "buttons" },
      element("button", { type: "button", onclick: close }, "Cancel"),
      element("button", { type: "button", class: "primary", onclick: send }, "Ask again")));
    this.text.after(this.editor);
    this.node.classList.add("edited");
    field.focus();
  }
}

// Light, dark, or as the system has it.

import { byId, icon } from "./dom.js";

const ORDER = ["system", "light", "dark"];
const NAME = "cabinet/theme";
const dark = window.matchMedia("(prefers-color-scheme: dark)");

export const changes = new EventTarget(); // "change": colours are different now

const current = () => document.documentElement.dataset.theme ?? "system";

function show() {
  const theme = current();
  const button = byId("theme");
  button.replaceChildren(icon(`theme-${theme}`));
  button.setAttribute("aria-label", `Theme: ${theme}`);
  button.title = `Theme: ${theme}`;
  changes.dispatchEvent(new Event("change"));
}

function choose(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

export function connect() {
  byId("theme").addEventListener("click", () => {
    const theme = ORDER[(ORDER.indexOf(current()) + 1) % ORDER.length];
    choose(theme);
    try {
      localStorage.setItem(NAME, theme);
    } catch {
      // no storage: for this page only
    }
    show();
  });
  window.addEventListener("storage", (event) => {
    if (event.key === NAME && ORDER.includes(event.newValue)) {
      choose(event.newValue);
      show();
    }
  });
  dark.addEventListener("change", show);
  show();
}

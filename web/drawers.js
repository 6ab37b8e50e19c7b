// Side panels: columns where there is room, drawers where there is not.

import { byId } from "./dom.js";

const DRAWERS = [
  { panel: "conversations", button: "open-conversations", narrow: "(max-width: 1179px)" },
  { panel: "cache", button: "open-cache", narrow: "(max-width: 859px)" },
];

function set(drawer, isOpen) {
  const isNarrow = window.matchMedia(drawer.narrow).matches;
  const panel = byId(drawer.panel);
  const hadFocus = panel.contains(document.activeElement);
  panel.classList.toggle("drawn", isOpen && isNarrow);
  panel.inert = isNarrow && !isOpen;
  byId(drawer.button).setAttribute("aria-expanded", String(isOpen && isNarrow));
  byId("backdrop").hidden = !DRAWERS.some(({ panel: id }) => byId(id).classList.contains("drawn"));
  if (isOpen && isNarrow) panel.querySelector("button, a, [tabindex]")?.focus();
  else if (hadFocus && isNarrow) byId(drawer.button).focus();
}

export function closeDrawers() {
  for (const drawer of DRAWERS) set(drawer, false);
}

export function connect() {
  for (const drawer of DRAWERS) {
    byId(drawer.button).addEventListener("click", () => {
      const isOpen = byId(drawer.panel).classList.contains("drawn");
      closeDrawers();
      set(drawer, !isOpen);
    });
    window.matchMedia(drawer.narrow).addEventListener("change", closeDrawers);
  }
  for (const button of document.querySelectorAll(".close-drawer")) button.addEventListener("click", closeDrawers);
  byId("backdrop").addEventListener("click", closeDrawers);
  // Before the composer's, which would stop the answer.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !document.querySelector(".drawn") || event.defaultPrevented) return;
    event.preventDefault();
    closeDrawers();
  });
  closeDrawers();
}

// What a screen reader is told.

import { byId } from "./dom.js";

export function announce(text) {
  const place = byId("announcer");
  place.textContent = ""; // the same words twice are news too
  requestAnimationFrame(() => {
    place.textContent = text;
  });
}

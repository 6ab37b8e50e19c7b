// Copying, also where the page came over plain http and the browser offers no clipboard.

import { announce } from "./announce.js";

function copySelected(text) {
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "visually-hidden";
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  if (!copied) throw new Error("not copied");
}

export async function copy(text, button) {
  let said = "Copied";
  try {
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else copySelected(text);
  } catch {
    said = "Not copied";
  }
  announce(said);
  button.dataset.said = said;
  button.focus();
  setTimeout(() => delete button.dataset.said, 1500);
}

// The style sheet's colours, as a canvas wants them.

/** {name: "rgb(…)"} of the custom properties --name. */
export function colours(...names) {
  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);
  const found = {};
  for (const name of names) {
    probe.style.color = `var(--${name})`; // light-dark() is resolved only in a property's computed value
    found[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return found;
}

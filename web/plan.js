// The planner's page: what is chosen goes to the server, which has the formulas; what comes back is drawn.

import * as api from "./api.js";
import { byId, element, setText } from "./dom.js";
import { bytes, count } from "./format.js";
import * as key from "./key.js";
import { draw } from "./plan_draw.js";

const QUIET_MS = 120; // a slider that still moves asks nothing
let asking = new AbortController();
let timer;

// Sliders are logarithms to the base of two.
const chosen = (id) => Math.round(2 ** Number(byId(id).value));

function showChosen() {
  setText(byId("context-now"), `${count(chosen("context"))} tokens`);
  setText(byId("users-now"), count(chosen("users")));
}

function showFigures(plan) {
  const at = plan.asked;
  const figures = [
    ["memory", bytes(at.weight_bytes + at.kv_bytes + at.other_bytes)],
    ["KV cache", bytes(at.kv_bytes)],
    ["there is", bytes(plan.capacity_bytes)],
    ["between two tokens", `${+(at.step_seconds * 1e3).toPrecision(3)} ms`],
    ["users who fit", at.users === null ? "no end" : count(at.users)],
    ["USD per million output tokens", at.usd_per_million_output_tokens === null ? "–" : `${+at.usd_per_million_output_tokens.toPrecision(3)}`],
  ];
  byId("plan-figures").replaceChildren(...figures.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

async function ask() {
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  const body = {
    model: byId("model-name").value,
    hardware: byId("machine-name").value,
    kv: byId("kv").value,
    context_tokens: chosen("context"),
    users: chosen("users"),
  };
  try {
    const plan = await api.planCurves(body, signal);
    setText(byId("plan-error"), "");
    showFigures(plan);
    draw(plan);
  } catch (error) {
    if (!signal.aborted) setText(byId("plan-error"), error.message);
  }
}

function fill(id, names, first) {
  byId(id).replaceChildren(...names.map((name) => element("option", { value: name, selected: name === first }, name)));
}

async function start() {
  try {
    const names = await api.planNames();
    fill("model-name", names.models, names.model);
    fill("machine-name", names.hardware, names.machine);
    fill("kv", names.kv, "f16");
    await ask();
  } catch (error) {
    setText(byId("plan-error"), error.message);
  }
}

byId("plan-controls").addEventListener("input", () => {
  showChosen();
  clearTimeout(timer);
  timer = setTimeout(ask, QUIET_MS);
});
byId("plan-controls").addEventListener("submit", (event) => event.preventDefault());
key.connect();
key.changes.addEventListener("change", start);
showChosen();
start();

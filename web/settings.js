// What goes with every question: system prompt, sampling. Empty means: as the server has it, but for the temperature.

import { byId } from "./dom.js";
import * as storage from "./storage.js";

const NUMBERS = ["temperature", "top_p", "max_tokens"];
const TEMPERATURE = 0.7; // as `cabinet run`; the API's own default of 1 is too lively for small models

let models = [];

export const get = () => storage.read("settings") ?? {};
export const setModels = (list) => {
  models = list;
};

/** The model to ask: the chosen one if the server still has it. */
export function model() {
  return models.find((each) => each.id === get().model) ?? models[0];
}

function fill() {
  const settings = get();
  byId("system-prompt").value = settings.system ?? "";
  for (const name of NUMBERS) byId(name).value = settings[name] ?? "";
  byId("model-choice").replaceChildren(...models.map((each) => new Option(each.id, each.id, false, each.id === model()?.id)));
  byId("model-field").hidden = models.length < 2;
}

function save() {
  const settings = { system: byId("system-prompt").value };
  for (const name of NUMBERS) {
    const value = byId(name).valueAsNumber;
    if (Number.isFinite(value)) settings[name] = value;
  }
  if (byId("model-choice").value) settings.model = byId("model-choice").value;
  storage.write("settings", settings);
}

/** `saved()` is called after a change. */
export function connect(saved) {
  const dialog = byId("settings");
  byId("open-settings").addEventListener("click", () => {
    fill();
    dialog.returnValue = "";
    dialog.showModal();
  });
  dialog.addEventListener("close", () => {
    if (dialog.returnValue !== "save") return;
    save();
    saved();
  });
}

/** The fields of a request. */
export function sampling() {
  const settings = get();
  const wanted = NUMBERS.filter((name) => settings[name] !== undefined);
  return { temperature: TEMPERATURE, ...Object.fromEntries(wanted.map((name) => [name, settings[name]])) };
}

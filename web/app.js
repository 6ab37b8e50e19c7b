// Puts the parts together.

import * as api from "./api.js";
import * as blockMap from "./block_map.js";
import * as charts from "./charts.js";
import * as chat from "./chat.js";
import * as composer from "./composer.js";
import * as conversationFigures from "./conversation_figures.js";
import * as conversationList from "./conversation_list.js";
import { byId, setText } from "./dom.js";
import * as drawers from "./drawers.js";
import * as figures from "./figures.js";
import { count } from "./format.js";
import * as generation from "./generation.js";
import * as key from "./key.js";
import * as live from "./live.js";
import * as messageList from "./message_list.js";
import * as poolView from "./pool_view.js";
import * as sequenceList from "./sequence_list.js";
import * as settings from "./settings.js";
import * as store from "./store.js";
import * as theme from "./theme.js";

function showModel() {
  const model = settings.model();
  const length = model?.max_model_len ? ` · ${count(model.max_model_len)} tokens` : "";
  setText(byId("model"), model ? `${model.id}${length}` : "");
}

let knowsServer = false;
let isGreeting = false;

async function greet() {
  if (isGreeting) return;
  isGreeting = true;
  try {
    settings.setModels(await api.models());
    showModel();
    setText(byId("version"), `Cabinet ${await api.version()}`);
    knowsServer = true;
  } catch {
    // the live figures' failure says so, and their next success greets again
  } finally {
    isGreeting = false;
  }
}

function onFigures(figuresNow) {
  if (!knowsServer) greet();
  byId("connection").hidden = true;
  byId("cache").classList.remove("stale");
  figures.learn(figuresNow, generation.messages());
  poolView.show(figuresNow);
  sequenceList.show(figuresNow, conversationFigures.names());
  charts.add(figuresNow);
  conversationFigures.show();
}

function onFailure(error, nextMs) {
  byId("cache").classList.add("stale");
  knowsServer = false;
  byId("connection").hidden = error.status === 401;
  setText(byId("connection"), error.status === 404 ? "This server does not show its cache." : `${error.message} Next try in ${Math.round(nextMs / 1000)} s.`);
}

theme.connect();
theme.changes.addEventListener("change", () => {
  blockMap.forgetColours();
  sequenceList.redraw();
  charts.redraw();
});
key.connect();
key.changes.addEventListener("change", greet);
settings.connect(showModel);
messageList.connect();
drawers.connect();
composer.connect();
charts.connect();
conversationList.connect();
for (const type of ["open", "end"]) chat.changes.addEventListener(type, conversationFigures.show);
store.changes.addEventListener("change", conversationFigures.show);
window.addEventListener("pagehide", generation.stopAll);
greet();
live.watch(onFigures, onFailure);

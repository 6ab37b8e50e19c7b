// Watches the server's cache: once a second while the page is visible, less often when that fails.

import * as api from "./api.js";
import * as key from "./key.js";

const EVERY_MS = 1000;
const MOST_MS = 30000;
const PATIENCE_MS = 5000; // for one answer

let timer = 0;
let failures = 0;
let asking = null; // AbortController
let heard;
let failed;

async function ask() {
  timer = 0;
  const controller = new AbortController();
  asking = controller;
  const patience = setTimeout(() => controller.abort(), PATIENCE_MS);
  let next = EVERY_MS;
  try {
    const figures = await api.live(controller.signal);
    failures = 0;
    heard(figures);
  } catch (error) {
    if (asking !== controller) return; // hidden meanwhile
    failures++;
    next = error.status === 401 || error.status === 403 || error.status === 404 ? MOST_MS : Math.min(EVERY_MS * 2 ** failures, MOST_MS);
    failed(error.name === "AbortError" ? new Error("The server does not answer.") : error, next);
  } finally {
    clearTimeout(patience);
  }
  if (asking === controller && !document.hidden) timer = setTimeout(ask, next);
}

function again() {
  clearTimeout(timer);
  const before = asking;
  asking = null;
  before?.abort();
  failures = 0;
  if (!document.hidden) ask();
}

/** `onFigures(figures)` of GET /v1/kv/live; `onFailure(error, milliseconds until the next try)`. */
export function watch(onFigures, onFailure) {
  heard = onFigures;
  failed = onFailure;
  document.addEventListener("visibilitychange", again);
  key.changes.addEventListener("change", again);
  again();
}

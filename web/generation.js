// One answer being written: the request, its deltas into the message, what it cost.

import * as api from "./api.js";
import * as settings from "./settings.js";
import * as store from "./store.js";

const SAVE_EVERY_MS = 400; // other tabs follow at this pace

const running = new Map(); // message id: {controller, message}

export const isRunning = (id) => running.has(id);
export const messages = () => [...running.values()].map((each) => each.message);

export function stop(id) {
  running.get(id)?.controller.abort();
}

function take(message, chunk, started) {
  if (chunk.id) message.figures.request = chunk.id;
  const choice = chunk.choices?.[0];
  const text = choice?.delta?.content;
  if (text) {
    message.figures.first_ms ??= performance.now() - started;
    message.text += text;
  }
  if (choice?.finish_reason) message.state = choice.finish_reason === "length" ? "limit" : "done";
  if (chunk.usage) {
    message.figures.prompt = chunk.usage.prompt_tokens;
    message.figures.output = chunk.usage.completion_tokens;
    message.figures.cached = chunk.usage.prompt_tokens_details?.cached_tokens ?? 0;
  }
}

function body(path) {
  const { system } = settings.get();
  const asked = path.map(({ role, text }) => ({ role, content: text }));
  if (system) asked.unshift({ role: "system", content: system });
  return { model: settings.model()?.id ?? "", messages: asked, ...settings.sampling() };
}

/** Tells of every delta at most once a frame, and saves now and then. */
function teller(message, changed) {
  let frame = 0;
  let saved = performance.now();
  const tell = () => {
    frame = 0;
    changed(message);
  };
  return {
    tick() {
      if (!frame) frame = requestAnimationFrame(tell);
      if (performance.now() - saved < SAVE_EVERY_MS) return;
      saved = performance.now();
      store.save(message);
    },
    end() {
      cancelAnimationFrame(frame);
    },
  };
}

function fail(message, error) {
  if (error.name === "AbortError") {
    message.state = "stopped";
    return;
  }
  message.state = "failed";
  message.error = error.retryAfterSeconds ? `${error.message} Try again in ${error.retryAfterSeconds} s.` : error.message;
}

/** Writes the answer to `path` into the saved `message`; resolves when it has ended, whichever way. */
export async function generate(path, message, changed) {
  const controller = new AbortController();
  running.set(message.id, { controller, message });
  const started = performance.now();
  const beat = setInterval(() => store.save(message), 5000); // a long prefill is alive too
  const { tick, end } = teller(message, changed);
  try {
    for await (const chunk of api.chat(body(path), controller.signal)) {
      take(message, chunk, started);
      tick();
    }
    if (message.state === "streaming") message.state = "done";
  } catch (error) {
    fail(message, error);
  } finally {
    clearInterval(beat);
    end();
    running.delete(message.id);
  }
  message.figures.total_ms = performance.now() - started;
  store.save(message);
  changed(message);
}

/** Every running answer, as it is, when the page goes. */
export function stopAll() {
  for (const { controller, message } of running.values()) {
    store.save(Object.assign(message, { state: "stopped" }));
    controller.abort();
  }
}

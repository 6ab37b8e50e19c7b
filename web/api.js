// The server's routes. Addresses are relative, so the page also works below a path of a proxy.

import * as key from "./key.js";
import { events } from "./sse.js";

export class ApiError extends Error {
  constructor(status, message, retryAfterSeconds) {
    super(message);
    this.status = status;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

async function failure(response) {
  let message = `The server answered ${response.status} ${response.statusText}`.trim();
  try {
    const { error } = await response.json();
    if (typeof error?.message === "string") message = error.message;
  } catch {
    // no JSON: the status says it
  }
  const seconds = Number(response.headers.get("Retry-After"));
  return new ApiError(response.status, message, Number.isFinite(seconds) && seconds > 0 ? seconds : undefined);
}

async function request(path, options = {}) {
  const sent = key.get();
  const headers = { ...options.headers, ...(sent ? { Authorization: `Bearer ${sent}` } : {}) };
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit", redirect: "error" });
  } catch (error) {
    options.signal?.throwIfAborted();
    throw new ApiError(0, "The server cannot be reached.");
  }
  if (response.ok) return response;
  if (response.status === 401 && sent === key.get()) key.ask(sent !== "");
  throw await failure(response);
}

const getJson = async (path, signal) => (await request(path, { signal })).json();

export const models = async () => (await getJson("v1/models")).data;
export const version = async () => (await getJson("version")).version;
export const live = (signal) => getJson("v1/kv/live", signal);

/** Names that the planner knows: {models, hardware, kv}. */
export const planNames = (signal) => getJson("v1/plan/names", signal);

/** A plan along the length of the context, with what each remedy buys. */
export const planCurves = async (body, signal) =>
  (await request("v1/plan/curves", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal })).json();

/** Yields the chunks of a chat completion. Throws ApiError; AbortError when `signal` says so. */
export async function* chat(body, signal) {
  const response = await request("v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  try {
    for await (const data of events(response.body)) {
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new ApiError(response.status, chunk.error.message ?? "The server broke off.");
      yield chunk;
    }
  } catch (error) {
    signal.throwIfAborted(); // what the body then throws depends on the browser
    if (error instanceof ApiError) throw error;
    throw new ApiError(0, "The connection broke off.");
  }
  throw new ApiError(0, "The connection broke off.");
}

// What an answer cost, from its usage and from what the server said of it while it ran.

import * as store from "./store.js";
import { bytes, count, milliseconds, percent, perSecond } from "./format.js";

const SHORTEST_MS = 20; // a rate over less says nothing

let bytesPerToken = NaN;
let blockTokens = 1;

/** Notes what the live route says of answers that this tab is writing. */
export function learn(live, written) {
  bytesPerToken = live.bytes_per_token;
  blockTokens = live.block_tokens;
  const byRequest = new Map(live.sequences.map((each) => [each.id, each]));
  for (const message of written) {
    const sequence = byRequest.get(message.figures.request);
    if (!sequence) continue;
    message.figures.kv_bytes = sequence.kv_bytes;
    message.figures.live = { prompt: sequence.prompt_tokens, cached: sequence.cached_tokens, output: sequence.output_tokens };
  }
}

/** {prompt, cached, output, kv_bytes, bytes_per_token} of an answer, undefined where nothing is known yet. */
export function of(message) {
  const { live, ...known } = message.figures;
  const prompt = known.prompt ?? live?.prompt;
  const cached = known.cached ?? live?.cached;
  const output = known.output ?? live?.output;
  if (prompt === undefined) return undefined;
  const held = Math.ceil((prompt + (output ?? 0)) / blockTokens) * blockTokens;
  // Measured while it ran; of an answer that was over before the next look, what its blocks come to.
  const kv = known.output === undefined ? known.kv_bytes : Math.max(known.kv_bytes ?? 0, held * bytesPerToken);
  return { prompt, cached, output, kv_bytes: kv, bytes_per_token: kv / (prompt + (output ?? 0)) };
}

/** The newest answer of a conversation of which something is known. */
export function latest(conversation) {
  const answers = [...store.messagesOf(conversation).values()].filter((message) => message.role === "assistant" && of(message));
  return answers.reduce((best, message) => (!best || message.created > best.created ? message : best), undefined);
}

export const decodeRate = ({ figures }) =>
  figures.output > 1 && figures.total_ms - figures.first_ms > SHORTEST_MS ? (1000 * (figures.output - 1)) / (figures.total_ms - figures.first_ms) : NaN;

/** One line under an answer. */
export function line(message) {
  const figures = of(message);
  if (!figures) return "";
  const parts = [`${count(figures.prompt)} prompt`, `${count(figures.cached)} cached (${percent(figures.cached, figures.prompt)})`,
    `${count(figures.output)} output tokens`];
  if (Number.isFinite(figures.kv_bytes)) parts.push(`${bytes(figures.kv_bytes)} KV`);
  if (message.figures.first_ms !== undefined) parts.push(`first after ${milliseconds(message.figures.first_ms)}`);
  const rate = decodeRate(message);
  if (Number.isFinite(rate)) parts.push(`${perSecond(rate)} tokens/s`);
  return parts.join(" · ");
}

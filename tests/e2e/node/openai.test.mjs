// The official openai package for Node against the server that CABINET_URL names. Run by tests/e2e/test_node_client.py.

import assert from "node:assert/strict";
import { test } from "node:test";

import { load } from "./packages.mjs";

const { default: OpenAI } = load("openai");

const url = process.env.CABINET_URL;
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
const TOOL = {
  type: "function",
  function: {
    name: "get_weather",
    parameters: {
      type: "object",
      properties: { city: { enum: ["Paris", "Oslo"] }, days: { type: "integer", minimum: 1, maximum: 7 } },
      required: ["city", "days"],
      additionalProperties: false,
    },
  },
};

const request = (options = {}) => ({ model: "tiny", messages: [{ role: "user", content: "Hello" }], max_tokens: 24, seed: 1, ignore_eos: true, ...options });
const chat = (options) => client.chat.completions.create(request(options));
const state = async () => (await fetch(`${url}/debug/check`)).json();

function checkCall({ name, arguments: text }) {
  assert.equal(name, "get_weather");
  const { city, days, ...more } = JSON.parse(text);
  assert.ok(["Paris", "Oslo"].includes(city));
  assert.ok(Number.isInteger(days) && days >= 1 && days <= 7);
  assert.deepEqual(more, {});
}

test("models", async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.deepEqual(ids, ["tiny"]);
  assert.equal((await client.models.retrieve("tiny")).id, "tiny");
  await assert.rejects(client.models.retrieve("other/one"), { status: 404, code: "model_not_found", param: "model" });
});

test("plain", async () => {
  const answer = await chat();
  assert.equal(answer.choices[0].finish_reason, "length");
  assert.equal(answer.usage.completion_tokens, 24);
  assert.equal((await chat()).choices[0].message.content, answer.choices[0].message.content);
  assert.notEqual((await chat({ seed: 2 })).choices[0].message.content, answer.choices[0].message.content);
});

test("streamed", async () => {
  const whole = await chat();
  let text = "", usage = null;
  for await (const chunk of await chat({ stream: true, stream_options: { include_usage: true } })) {
    text += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(usage.completion_tokens, 24);
});

test("the stream helper's events", async () => {
  const whole = await chat();
  let text = "";
  const stream = client.chat.completions.stream(request()).on("content", (delta) => (text += delta));
  assert.equal((await stream.finalChatCompletion()).choices[0].message.content, whole.choices[0].message.content);
  assert.equal(text, whole.choices[0].message.content);
});

test("tools, whole and streamed, and their results", async () => {
  const options = { tools: [TOOL], tool_choice: "required", max_tokens: 400, ignore_eos: false };
  const whole = await chat(options);
  assert.equal(whole.choices[0].finish_reason, "tool_calls");
  const calls = whole.choices[0].message.tool_calls;
  for (const call of calls) checkCall(call.function);
  const streamed = await client.chat.completions.stream(request(options)).finalChatCompletion();
  assert.deepEqual(streamed.choices[0].message.tool_calls.map((call) => call.function.arguments), calls.map((call) => call.function.arguments));
  const after = await chat({
    tools: [TOOL],
    messages: [...request().messages, whole.choices[0].message, ...calls.map(({ id }) => ({ role: "tool", tool_call_id: id, content: "Sunny" }))],
  });
  assert.equal(after.usage.completion_tokens, 24);
});

test("the helper that runs tools", async () => {
  const asked = [];
  const tool = { type: "function", function: { ...TOOL.function, parse: JSON.parse, function: (call) => { asked.push(call); return "Sunny"; } } };
  const runner = client.chat.completions.runTools(
    request({ tools: [tool], tool_choice: { type: "function", function: { name: "get_weather" } }, max_tokens: 400, ignore_eos: false }));
  await runner.done();
  assert.ok(asked.length > 0);
  for (const call of asked) assert.ok(["Paris", "Oslo"].includes(call.city));
});

test("responses", async () => {
  const options = { model: "tiny", input: "Hello", max_output_tokens: 24, temperature: 0, ignore_eos: true };
  const whole = await client.responses.create(options);
  const same = await chat({ temperature: 0 });
  assert.equal(whole.output_text, same.choices[0].message.content);
  let text = "";
  for await (const event of await client.responses.create({ ...options, stream: true })) {
    if (event.type === "response.output_text.delta") text += event.delta;
  }
  assert.equal(text, whole.output_text);
});

test("errors", async () => {
  await assert.rejects(chat({ temperature: 9 }), (error) => error instanceof OpenAI.BadRequestError && error.param === "temperature");
  await assert.rejects(chat({ model: "large" }), (error) => error instanceof OpenAI.NotFoundError && error.code === "model_not_found");
  const format = { type: "json_schema", json_schema: { name: "x", schema: { type: "nonsense" } } };
  await assert.rejects(chat({ response_format: format }), (error) => error instanceof OpenAI.UnprocessableEntityError && error.status === 422);
  await assert.rejects(client.embeddings.create({ model: "tiny", input: "x" }), OpenAI.NotFoundError);
});

test("abort: the server forgets", async () => {
  const long = { n: 128, max_tokens: 3000 }; // no machine is through with it at once
  const stream = await chat({ ...long, stream: true });
  for await (const chunk of stream) {
    if (chunk.choices[0].delta.content) break; // leaving the loop aborts
  }
  const controller = new AbortController();
  const pending = client.chat.completions.create(request(long), { signal: controller.signal });
  while ((await state()).requests === 0);
  controller.abort();
  await assert.rejects(pending, OpenAI.APIUserAbortError);
  for (let looks = 0; (await state()).requests > 0; looks++) assert.ok(looks < 5000);
  const left = await state();
  assert.deepEqual([left.ok, left.open, left.sealed], [true, 0, 0]);
});

// What only a server that does as it is told can show: errors, keys, hostile text. Run by tests/e2e/test_page.py.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { answer, answers, ask, get, launch, questions, visitor } from "./browser.mjs";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

const lastRequest = async () => (await get("requests")).at(-1);

test("what is sent: the branch's messages, the settings, no key", async () => {
  const person = await visitor(browser);
  const page = await person.open();
  await page.locator("#open-settings").click();
  await page.getByLabel("System prompt").fill("Be brief.");
  await page.getByLabel("Temperature").fill("0.25");
  await page.getByLabel("Max tokens").fill("77");
  await page.getByRole("button", { name: "Save" }).click();
  await ask(page, "One");
  const first = await answer(page);
  assert.equal(first, "You said “One”, in message 2.");
  await ask(page, "Two");
  await answer(page, 1);
  const { body, authorization } = await lastRequest();
  assert.deepEqual(body, {
    model: "mock-135m",
    messages: [{ role: "system", content: "Be brief." }, { role: "user", content: "One" }, { role: "assistant", content: first },
      { role: "user", content: "Two" }],
    temperature: 0.25, max_tokens: 77, stream: true, stream_options: { include_usage: true },
  });
  assert.equal(authorization, null);
  await questions(page).first().getByRole("button", { name: "Edit and ask again" }).click();
  await page.getByRole("textbox", { name: "Edit your message" }).fill("Other");
  await page.getByRole("button", { name: "Ask again", exact: true }).click();
  await answers(page).getByText("You said “Other”").waitFor();
  await answer(page);
  assert.deepEqual((await lastRequest()).body.messages.map(({ content }) => content), ["Be brief.", "Other"]);
  await person.close();
});

test("Markdown becomes elements, and markup stays text", async () => {
  const person = await visitor(browser, { permissions: ["clipboard-read", "clipboard-write"] });
  const page = await person.open();
  await ask(page, "MARKDOWN please");
  await answer(page);
  const text = answers(page).locator(".text");
  for (const [selector, content] of Object.entries({
    h4: "A heading", em: "emphasis", strong: "strength", "p code": "code", "ol > li:nth-child(1)": "first", "ol li ul li:nth-child(2)": "inner two",
    "tbody tr:nth-child(1) td:nth-child(2)": "12", "blockquote p": "A quotation\nof two lines.",
  })) assert.equal(await text.locator(selector).innerText(), content);
  assert.match(await text.locator("pre").innerText(), /return .* # <script>alert\(1\)<\/script>/);
  assert.equal(await text.locator("img, script, b").count(), 0);
  assert.deepEqual(await text.locator("a").evaluateAll((links) => links.map((link) => link.href)), ["https://example.org/"]);
  assert.match(await text.innerText(), /<img src="x" onerror=/);
  await text.getByRole("button", { name: "Copy code" }).click();
  await text.locator(".copy[data-said=Copied]").waitFor();
  assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^def blocks\(tokens\):\n {4}return/);
  await person.close();
});

test("a failed answer says why and keeps what had come", async () => {
  const person = await visitor(browser);
  const page = await person.open();
  for (const [i, [question, note]] of [["FAIL", "The pool is on fire."], ["BREAK", "The connection broke off."], ["LIMIT", "Cut off at the token limit."]].entries()) {
    await ask(page, question);
    const text = await answer(page, i);
    // A browser may drop what it has not handed on yet when a connection breaks.
    if (question === "BREAK") assert.ok("Here are a few words of it".startsWith(text));
    else assert.equal(text, "Here are a few words of it");
    assert.equal(await answers(page).nth(i).locator(".note").innerText(), note);
  }
  person.wrong.length = 0; // Chromium reports the broken connection
  await person.close();
});

test("a key: asked for, sent as a header, kept for this tab only", async () => {
  const person = await visitor(browser);
  const page = await person.context.newPage();
  await get("key?secret");
  try {
    await page.goto(process.env.CABINET_PAGE_URL);
    await page.locator("#key-bar").waitFor();
    await page.locator("#key").fill("wrong");
    await page.keyboard.press("Enter");
    await page.getByText("The server does not know this key.").waitFor();
    await page.locator("#key").fill("secret");
    await page.keyboard.press("Enter");
    await page.locator("#model:not(:empty)").waitFor();
    await page.locator("#chart-decode canvas").waitFor();
    await ask(page, "With a key");
    await answer(page);
    assert.equal((await lastRequest()).authorization, "Bearer secret");
    assert.equal(await page.evaluate(() => JSON.stringify({ ...localStorage }).includes("secret")), false);
    await page.reload();
    await page.locator("#model:not(:empty)").waitFor();
    assert.equal(await page.locator("#key-bar").isVisible(), false);
  } finally {
    await get("key");
  }
  person.wrong.length = 0; // Chromium reports every 401
  await person.close();
});

test("a full storage is said, and the chat goes on", async () => {
  const person = await visitor(browser);
  const page = await person.open();
  await page.evaluate(() => {
    localStorage.setItem("filler", "x".repeat(5_200_000));
    for (let n = 40_000; n > 10; n = Math.floor(n / 2)) {
      try {
        for (;;) localStorage.setItem(`filler${Math.random()}`, "x".repeat(n));
      } catch {
        // smaller ones now
      }
    }
  });
  await ask(page, "Is there room?");
  assert.match(await answer(page), /Is there room/);
  await page.locator("#problem").getByText("storage is full").waitFor();
  await person.close();
});

test("live figures: every sequence's blocks; a failure is said, and ends", async () => {
  const person = await visitor(browser);
  const page = await person.open();
  await get("crowd");
  await page.locator(".sequence").nth(4).waitFor();
  assert.deepEqual(await page.locator(".sequence .state").allInnerTexts(), ["decode", "decode", "prefill", "decode", "waiting"]);
  assert.equal(await page.locator(".block-map").first().getAttribute("aria-label"), "41 blocks: 13 shared, 28 its own");
  assert.match(await page.locator(".sequence").nth(2).innerText(), /1,440 of 3,020 prompt · 416 cached · 0 output/);
  await get("live-fails?1");
  await page.locator("#connection").getByText("The server is busy.").waitFor();
  await page.locator("#connection").waitFor({ state: "hidden" });
  await get("crowd?gone");
  await page.locator("#no-sequences").waitFor();
  person.wrong.length = 0; // Chromium reports the 503
  await person.close();
});

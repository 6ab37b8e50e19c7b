// The planner's page on a server (CABINET_PAGE_URL), and the stand-alone file that `cabinet plan --plot` wrote (CABINET_PLAN_FILE).

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";

import { launch, TIMEOUT_MS, url, visitor } from "./browser.mjs";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

const CHARTS = ["plan-memory", "plan-step", "plan-users", "plan-cost"];

test("plan: what is chosen is planned, drawn, and told in figures", async () => {
  const person = await visitor(browser);
  const page = await person.context.newPage();
  await page.goto(new URL("plan", url).href);
  await page.locator("#model-name").selectOption("Llama 3.1 8B");
  await page.locator("#machine-name").selectOption("h100-sxm");
  await page.locator("#plan-title", { hasText: "Llama 3.1 8B on H100" }).waitFor();
  for (const id of CHARTS) await page.locator(`#${id} canvas`).waitFor();
  // 8 users x 8,192 tokens x 131,072 bytes
  await page.locator("#plan-figures", { hasText: "8.6 GB" }).waitFor();
  await page.locator("#kv").selectOption("q8");
  await page.locator("#plan-title", { hasText: "q8 cache" }).waitFor();
  await page.locator("#users").fill("5");
  await page.locator("#plan-title", { hasText: "32 users" }).waitFor();
  assert.ok((await page.locator("#plan-remedies tr").count()) > 10);
  assert.match(await page.locator("#plan-not").innerText(), /GQA/);
  await person.close();
});

test("plan: on a phone nothing is wider than the screen", async () => {
  const person = await visitor(browser, { viewport: { width: 390, height: 800 } });
  const page = await person.context.newPage();
  await page.goto(new URL("plan", url).href);
  await page.locator("#machine-name").selectOption("h100-sxm"); // has a price, which a machine that somebody calibrated has not
  await page.locator("#plan-cost canvas").waitFor();
  assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 390);
  await person.close();
});

test("the stand-alone file draws without a server", async () => {
  const wrong = [];
  const page = await browser.newPage();
  page.setDefaultTimeout(TIMEOUT_MS);
  page.on("pageerror", (error) => wrong.push(error.message));
  page.on("request", (request) => request.url().startsWith("file:") || wrong.push(request.url()));
  await page.goto(pathToFileURL(process.env.CABINET_PLAN_FILE).href);
  for (const id of CHARTS) await page.locator(`#${id} canvas`).waitFor();
  assert.match(await page.locator("#plan-title").innerText(), /Llama 3.1 8B/);
  assert.equal(await page.locator("#plan-controls").count(), 0);
  assert.deepEqual(wrong, []);
  await page.close();
});

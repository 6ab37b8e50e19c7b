// A browser on the page: what every test begins with, and what must hold at its end.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";

import { load } from "../node/packages.mjs";

const { chromium } = load("playwright-core");

export const url = process.env.CABINET_PAGE_URL;
const MOST_TOKENS = Number(process.env.CABINET_PAGE_MOST_TOKENS ?? 0); // of an answer; 0: as the server has it
export const TIMEOUT_MS = Number(process.env.CABINET_PAGE_TIMEOUT_MS ?? 20000);

function findChromium() {
  const folders = process.env.PATH.split(path.delimiter);
  const found = folders.map((folder) => path.join(folder, "chromium")).find((file) => fs.existsSync(file));
  if (!found) throw new Error("there is no chromium on PATH");
  return found;
}

export function launch() {
  const args = process.getuid() === 0 ? ["--no-sandbox"] : [];
  return chromium.launch({ executablePath: findChromium(), args, headless: true });
}

/** A new person's browser window: nothing stored, nothing wrong so far. A real model's answers are kept short by a setting,
 * or go on to the end of the context where a test is about long ones. */
export async function visitor(browser, { isLong = false, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1360, height: 850 }, ...options });
  if (MOST_TOKENS > 0 && !isLong) {
    const settings = JSON.stringify({ max_tokens: MOST_TOKENS });
    await context.addInitScript((text) => {
      if (location.protocol === "http:" && !localStorage.getItem("cabinet/settings")) localStorage.setItem("cabinet/settings", text);
    }, settings);
  }
  const wrong = [];
  await context.route("**/*", (route) => {
    const address = route.request().url();
    if (isLong && address.endsWith("/v1/chat/completions")) {
      return route.continue({ postData: JSON.stringify({ ...route.request().postDataJSON(), ignore_eos: true }) });
    }
    if (new URL(address).origin === new URL(url).origin) return route.continue();
    wrong.push(`a request to ${address}`);
    return route.abort();
  });
  const watch = (page) => {
    page.setDefaultTimeout(TIMEOUT_MS);
    page.on("pageerror", (error) => wrong.push(`an error: ${error.message}`));
    page.on("console", (message) => ["error", "warning"].includes(message.type()) && wrong.push(`on the console: ${message.text()}`));
  };
  context.on("page", watch);
  return {
    context,
    wrong,
    async open(hash = "") {
      const page = await context.newPage();
      await page.goto(url + hash);
      await page.locator("#model:not(:empty)").waitFor();
      return page;
    },
    async close() {
      await context.close();
      assert.deepEqual(wrong, []);
    },
  };
}

export const answers = (page) => page.locator(".message.assistant");
export const questions = (page) => page.locator(".message.user");

/** Types a question and sends it. */
export async function ask(page, text) {
  await page.locator("#question").fill(text);
  await page.locator("#question").press("Enter");
}

/** The n-th answer's text, once it is complete. */
export async function answer(page, n = 0) {
  const message = answers(page).nth(n);
  await page.locator(`.message.assistant >> nth=${n}`).locator("xpath=self::*[@aria-busy='false']").waitFor();
  return (await message.locator(".text").innerText()).trim();
}

export async function get(what) {
  return (await fetch(new URL(`mock/${what}`, url))).json();
}

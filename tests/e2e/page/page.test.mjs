// The page as a person uses it, against any server: CABINET_PAGE_URL. Run by tests/e2e/test_page.py.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { answer, answers, ask, launch, questions, visitor } from "./browser.mjs";

// What a real model answers at length; to the mock it means: go on until the client hangs up.
const LONG_QUESTION = "HOLD on: count from one to ten thousand, every number in words, one a line.";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

test("chat: an answer streams in, with its figures, and the cache is shown", async () => {
  const person = await visitor(browser);
  const page = await person.open();
  await ask(page, "Say hello.");
  assert.notEqual(await answer(page), "");
  assert.match(await answers(page).locator(".figures").innerText(), /[\d,]+ prompt · [\d,]+ cached .* [\d,]+ output tokens/);
  assert.equal(await page.title(), "Say hello. – Cabinet");
  await page.locator("#conversation-figures tr.current").waitFor();
  await page.locator("#fill[aria-label*='held ']").waitFor();
  await page.locator("#chart-decode canvas").waitFor();
  assert.match(await page.locator("#version").innerText(), /^Cabinet \d/);
  await ask(page, "And again.");
  assert.notEqual(await answer(page, 1), "");
  assert.equal(await questions(page).count(), 2);
  await person.close();
});

test("stop: by the button and by Escape; what came so far stays", async () => {
  const person = await visitor(browser, { isLong: true });
  const page = await person.open();
  for (const [i, stop] of [() => page.locator("#stop").click(), () => page.keyboard.press("Escape")].entries()) {
    await ask(page, LONG_QUESTION);
    await answers(page).nth(i).locator(".text:not(:empty)").waitFor();
    await page.locator(".sequence.mine .block-map").waitFor();
    await stop();
    assert.notEqual(await answer(page, i), "");
    assert.equal(await answers(page).nth(i).locator(".note").innerText(), "Stopped.");
    await page.locator(".sequence.mine").waitFor({ state: "detached" });
    assert.equal(await page.evaluate(() => document.activeElement.id), "question");
  }
  await person.close();
});

test("edit and regenerate: branches, and the old ones stay", async () => {
  const person = await visitor(browser);
  const page = await person.open();
  await ask(page, "First question");
  await answer(page);
  await ask(page, "Second question");
  await answer(page, 1);
  await questions(page).first().getByRole("button", { name: "Edit and ask again" }).click();
  const field = page.getByRole("textbox", { name: "Edit your message" });
  assert.equal(await field.inputValue(), "First question");
  await field.fill("First question, put better");
  await field.press("Enter");
  await questions(page).getByText("First question, put better").waitFor();
  await answer(page);
  assert.equal(await questions(page).count(), 1);
  await answers(page).getByRole("button", { name: "Regenerate" }).click();
  await answers(page).getByText("2 / 2").waitFor();
  await answer(page);
  await questions(page).getByRole("button", { name: "Earlier version" }).click();
  await questions(page).getByText("Second question").waitFor();
  assert.equal(await questions(page).count(), 2);
  await person.close();
});

test("reload keeps conversations; several are kept apart, renamed, deleted", async () => {
  const person = await visitor(browser);
  const page = await person.open();
  await ask(page, "About cats");
  const cats = await answer(page);
  await page.getByRole("button", { name: "New conversation" }).click();
  assert.equal(await questions(page).count(), 0);
  await ask(page, "About dogs");
  await answer(page);
  await page.reload();
  assert.equal(await questions(page).innerText(), "About dogs");
  const list = page.locator("#conversation-list");
  await list.getByRole("link", { name: "About cats" }).click();
  assert.equal(await answer(page), cats);
  await page.goBack();
  await questions(page).getByText("About dogs").waitFor();
  await list.getByRole("link", { name: "About dogs" }).hover();
  await list.locator("li.current").getByRole("button", { name: "Rename" }).click();
  await page.keyboard.type("Hounds");
  await page.keyboard.press("Enter");
  await list.getByRole("link", { name: "Hounds" }).waitFor();
  await list.locator("li.current").getByRole("button", { name: "Delete" }).click();
  await page.locator("#confirm-yes").click();
  await page.reload();
  await list.getByRole("link", { name: "About cats" }).waitFor();
  assert.equal(await list.locator("li").count(), 1);
  assert.equal(await questions(page).count(), 0);
  await person.close();
});

test("a reload in mid-answer keeps what had come", async () => {
  const person = await visitor(browser, { isLong: true });
  const page = await person.open();
  await ask(page, LONG_QUESTION);
  await answers(page).locator(".text:not(:empty)").waitFor();
  await page.reload();
  assert.notEqual(await answer(page), "");
  assert.equal(await answers(page).locator(".note").innerText(), "Stopped.");
  await person.close();
});

test("two tabs at once: both write, in one conversation too, and nothing is lost", async () => {
  const person = await visitor(browser);
  const [one, two] = [await person.open(), await person.open()];
  await Promise.all([ask(one, "From tab one"), ask(two, "From tab two")]);
  await Promise.all([answer(one), answer(two)]);
  for (const page of [one, two]) {
    await page.locator("#conversation-list").getByRole("link", { name: "From tab one" }).waitFor();
    await page.locator("#conversation-list").getByRole("link", { name: "From tab two" }).waitFor();
    assert.equal(await questions(page).count(), 1);
  }
  // The same conversation in both: the second tab sees what the first one says.
  await two.locator("#conversation-list").getByRole("link", { name: "From tab one" }).click();
  await ask(one, "More from tab one");
  await questions(two).getByText("More from tab one").waitFor();
  assert.equal(await answer(one, 1), await answer(two, 1));
  // Both ask at the same moment: two branches, neither overwritten.
  await Promise.all([ask(one, "One again"), ask(two, "Two again")]);
  await Promise.all([answer(one, 2), answer(two, 2)]);
  await one.reload();
  const said = await one.evaluate(() => Object.keys(localStorage).filter((key) => key.startsWith("cabinet/m/"))
    .map((key) => JSON.parse(localStorage[key]).text));
  for (const text of ["From tab one", "From tab two", "More from tab one", "One again", "Two again"]) {
    assert.equal(said.filter((each) => each === text).length, 1, text);
  }
  assert.equal(said.length, 10);
  // Deleted in one tab: gone from the other.
  await one.locator("#conversation-list li.current").hover();
  await one.locator("#conversation-list li.current").getByRole("button", { name: "Delete" }).click();
  await one.locator("#confirm-yes").click();
  await two.locator("#welcome").waitFor();
  await person.close();
});

test("keyboard only: everything is reached by Tab, and seen to be", async () => {
  const person = await visitor(browser);
  const page = await person.open();
  assert.equal(await page.evaluate(() => document.activeElement.id), "question");
  await page.keyboard.type("One line");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("and another");
  await page.keyboard.press("Enter");
  await answer(page);
  assert.equal((await questions(page).locator(".text").innerText()).trim(), "One line\nand another");
  const reached = [];
  await page.evaluate(() => document.activeElement.blur());
  for (let i = 0; i < 60; i++) {
    await page.keyboard.press("Tab");
    if (await page.evaluate(() => document.activeElement === document.body)) continue; // the browser's own controls
    const [name, isSeen] = await page.evaluate(() => {
      const node = document.activeElement;
      const ring = (each) => getComputedStyle(each).outlineStyle !== "none" || getComputedStyle(each).boxShadow !== "none";
      return [node.id || node.getAttribute("aria-label") || node.textContent.trim(), ring(node) || ring(node.parentElement)];
    });
    assert.ok(isSeen, `focus is not seen on ${name}`);
    reached.push(name);
  }
  for (const name of ["Skip to the question", "theme", "open-settings", "new", "One line", "Rename", "Delete", "messages", "Regenerate", "question"]) {
    assert.ok(reached.includes(name), `Tab does not reach ${name}: ${reached}`);
  }
  await page.locator("#open-settings").focus();
  await page.keyboard.press("Enter");
  await page.locator("#settings[open]").waitFor();
  await page.keyboard.press("Escape");
  await page.locator("#settings:not([open])").waitFor({ state: "attached" });
  assert.equal(await page.evaluate(() => document.activeElement.id), "open-settings");
  await person.close();
});

test("every button and field has a name", async () => {
  const person = await visitor(browser);
  const page = await person.open();
  await ask(page, "Hello");
  await answer(page);
  const nameless = await page.evaluate(() => [...document.querySelectorAll("button, input, textarea, select, [role=img]")]
    .filter((node) => !(node.getAttribute("aria-label") || node.labels?.length || node.textContent.trim()))
    .map((node) => node.outerHTML));
  assert.deepEqual(nameless, []);
  await person.close();
});

test("phone: 360 pixels wide, panels are drawers", async () => {
  const person = await visitor(browser, { viewport: { width: 360, height: 640 }, hasTouch: true, isMobile: true });
  const page = await person.open();
  await ask(page, "Hello from a phone, with averyveryveryverylongwordthatcannotbebrokenanywhereatallbutmust");
  await answer(page);
  const isTooWide = () => page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
  assert.equal(await isTooWide(), false);
  assert.equal(await page.locator("#cache").isVisible(), false);
  await page.locator("#open-cache").tap();
  await page.locator("#conversation-figures tr").waitFor();
  assert.equal(await isTooWide(), false);
  await page.keyboard.press("Escape");
  await page.locator("#cache").waitFor({ state: "hidden" });
  assert.equal(await page.evaluate(() => document.activeElement.id), "open-cache");
  await page.locator("#open-conversations").tap();
  await page.locator("#new").tap();
  await page.locator("#conversations").waitFor({ state: "hidden" });
  await page.locator("#welcome").waitFor();
  await person.close();
});

test("light and dark: by the system, and by the button, which is remembered", async () => {
  const person = await visitor(browser, { colorScheme: "dark" });
  const page = await person.open();
  const lightness = () => page.evaluate(() => Number(getComputedStyle(document.body).backgroundColor.match(/\d+/)[0]));
  assert.ok((await lightness()) < 60);
  await page.emulateMedia({ colorScheme: "light" });
  assert.ok((await lightness()) > 200);
  await page.getByRole("button", { name: "Theme: system" }).click();
  await page.getByRole("button", { name: "Theme: light" }).click();
  assert.ok((await lightness()) < 60);
  await page.reload();
  await page.getByRole("button", { name: "Theme: dark" }).waitFor();
  assert.ok((await lightness()) < 60);
  await person.close();
});

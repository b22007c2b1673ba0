// What the tests of the console share: the real server, a real browser, and what a person does on the page.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach } from "node:test";

import { launch, open } from "./chromium.mjs";
import { Server } from "./server.mjs";

export let server, browser, page;

/** Starts the server and the browser before the tests of a file, and ends them afterwards. */
export function startAll() {
  before(async () => {
    server = await Server.start();
    browser = await launch();
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });
}

/** Opens the console before each test of a suite, and ends it afterwards; nothing may have gone wrong in it. */
export function openForEach() {
  beforeEach(async () => {
    await visit();
    await page.goto(`${server.url}/console`);
    await connected(3);
  });
  afterEach(async () => {
    assert.deepEqual(page.faults, []);
    await page.context().close();
  });
}

/** Another page from now on, with the options of a browser context. */
export async function visit(options) {
  page = await open(browser, options);
}

export const user = (name) => page.locator(`.user[data-user="${name}"]`);
export const messages = (name) => user(name).locator(".messages li");
export const words = (name) => user(name).locator(".messages p").allTextContents();

export async function connected(count) {
  await page.waitForFunction((count) => document.querySelectorAll('.user[data-state="open"]').length === count, count);
}

export async function say(name, text, to) {
  if (to) await user(name).getByLabel("To").selectOption({ label: to });
  await user(name).getByLabel("Message", { exact: true }).fill(text);
  await user(name).getByRole("button", { name: "Send" }).click();
}

export async function heard(name, text) {
  await messages(name).filter({ hasText: text }).first().waitFor();
}

/** What says who is on the channel. */
export const PRESENCE = /^{"type":"(connected|connectOther|disconnectOther)"/;

/** The frames in the wire log of one connection, as [direction, size, text], without those that say who is there. */
export async function wire(name) {
  return (await everything(name)).filter(([, , text]) => !PRESENCE.test(text));
}

export async function everything(name) {
  await page.locator("#wire-who").selectOption(name);
  const frames = await page.locator("#wire .frame").evaluateAll((rows) =>
    rows.map((row) => [
      [...row.classList].find((kind) => kind !== "frame"),
      row.querySelector(".size").textContent,
      row.querySelector(".bytes").textContent,
    ]),
  );
  await page.locator("#wire-who").selectOption("");
  return frames;
}

export async function noSidewaysScroll() {
  const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(content <= window, `${content} px of content in a window of ${window}`);
}

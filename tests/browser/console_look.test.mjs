// The console in all languages, themes and sizes, and without its server.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { test } from "node:test";

import { drawn } from "./chromium.mjs";
import {
  browser,
  connected,
  heard,
  messages,
  noSidewaysScroll,
  page,
  say,
  server,
  startAll,
  user,
  visit,
  words,
} from "./console_page.mjs";

startAll();

test("the page's connections are those of the JavaScript client", async () => {
  const served = await (await fetch(`${server.url}/console/assets/client.js`)).text();
  assert.equal(served, await readFile(new URL("../../clients/js/dist/index.js", import.meta.url), "utf8"));
});

test("language and theme follow the browser", async () => {
  await visit({ locale: "ja-JP", colorScheme: "dark" });
  await page.goto(`${server.url}/console`);
  await connected(3);
  await page.getByRole("heading", { name: "通信ログ" }).waitFor();
  await page.getByRole("button", { name: "ライト" }).waitFor();
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("the page passes the accessibility rules of axe in both themes and languages", async () => {
  const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  for (const [colorScheme, locale] of [["light", "en-US"], ["dark", "ja-JP"]]) {
    await visit({ colorScheme, locale, reducedMotion: "reduce" });
    await page.goto(`${server.url}/console`);
    await connected(3);
    await server.post("publish", { channel: "chat:default", data: { message: "for axe" } });
    for (const id of [7, 8, 9]) {
      const sender = { id, name: "someone" };
      await server.post("publish", { channel: "chat:default", sender, data: { message: "for axe" } });
    }
    await messages("Sora").nth(3).waitFor();
    await page.locator("#code", { hasText: "@yamabiko/client" }).waitFor();
    await page.locator("#check textarea").fill((await server.post("token", { id: 7, name: "Aoi", channel: "chat:default" })).token.slice(0, -3));
    await page.locator("#check button").click();
    await page.locator("#checked", { hasText: "bad_signature" }).waitFor();
    await page.locator(".user .toggle").first().click();
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => globalThis.axe.run());
    const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, any }) => `${html} ${any[0]?.message ?? ""}`).join("\n  ")}`);
    assert.deepEqual(found, [], `${colorScheme}, ${locale}`);
    await page.context().close();
  }
});

test("every indicator is visible in forced colours", async () => {
  for (const colorScheme of ["light", "dark"]) {
    await visit({ colorScheme, forcedColors: "active", reducedMotion: "reduce" });
    await page.goto(`${server.url}/console`);
    await connected(3);
    await page.mouse.move(0, 0);
    // Without the border, which a button and the bar have in any case.
    const seen = async (locator, inset) => {
      await locator.scrollIntoViewIfNeeded();
      const { x, y, width, height } = await locator.boundingBox();
      return drawn(browser, await page.screenshot({ clip: { x: x + inset, y: y + inset, width: width - 2 * inset, height: height - 2 * inset } }));
    };
    const stop = await seen(page.getByRole("button", { name: "Disconnect Haru" }), 5);
    assert.ok(stop > 0.05, `${colorScheme}, ■: ${stop}`);
    await page.getByRole("button", { name: "Disconnect Haru" }).click();
    await user("Haru").getByText("Closed", { exact: true }).waitFor();
    await page.mouse.move(0, 0);
    await page.evaluate(() => document.activeElement.blur());
    const play = await seen(page.getByRole("button", { name: "Connect Haru" }), 5);
    assert.ok(play > 0.05, `${colorScheme}, ▶: ${play}`);
    // The chosen channel does not look like the others.
    const colours = (value) => page.locator(`#channels input[value="${value}"] + span`).evaluate((span) => getComputedStyle(span).backgroundColor);
    assert.notEqual(await colours("chat:default"), await colours("chat:room1"), colorScheme);
    // Half of the bar is filled.
    await page.evaluate(() => { document.getElementById("track").style.inlineSize = "50%"; });
    const bar = await seen(page.locator(".track"), 2);
    assert.ok(bar > 0.3 && bar < 0.9, `${colorScheme}, the bar: ${bar}`);
    await noSidewaysScroll();
    await page.context().close();
  }
});

test("a failed request is explained in the page's language, and nothing is copied", async () => {
  await visit();
  await page.goto(`${server.url}/console`);
  await connected(3);
  await page.locator("#code", { hasText: "@yamabiko/client" }).waitFor();
  for (const path of ["publish", "job", "token/check", "assets/token.php"]) await page.route(`**/console/${path}`, (route) => route.abort());
  await page.getByRole("button", { name: "Publish", exact: true }).click();
  await page.getByRole("button", { name: "Run the job" }).click();
  await page.getByLabel("Token", { exact: true }).fill("eyJ");
  await page.getByRole("button", { name: "Check", exact: true }).click();
  await page.getByRole("tab", { name: "Laravel: token" }).click();
  const places = ["#published", "#job-result", "#check-why", "#code"];
  for (const place of places) await page.locator(place, { hasText: /^The server cannot be reached\.$/ }).waitFor();
  assert.equal(await page.locator("#copy").isDisabled(), true);
  await page.getByRole("button", { name: "日本語" }).click();
  for (const place of places) await page.locator(place, { hasText: /^サーバーに接続できません。$/ }).waitFor();
  await page.getByRole("textbox", { name: "data" }).fill("{");
  await page.getByRole("button", { name: "配信", exact: true }).click();
  await page.locator("#published", { hasText: "data がJSONとして不正です" }).waitFor();
  await page.context().close();
});

test("\"Copied\" is shown equally long after each click, in the page's language", async () => {
  await visit();
  await page.clock.install();
  await page.goto(`${server.url}/console`);
  await connected(3);
  await page.locator("#code", { hasText: "@yamabiko/client" }).waitFor();
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  const label = page.locator("#copy");
  await page.clock.pauseAt(Date.now() + 3_600_000);
  const words = async (expected) => {
    for (let tries = 0; tries < 100 && (await label.textContent()) !== expected; tries += 1) await page.evaluate(() => 0);
    assert.equal(await label.textContent(), expected);
  };
  await label.dispatchEvent("click");
  await words("Copied");
  await page.clock.runFor(1_000);
  await label.dispatchEvent("click");
  await words("Copied");
  await page.clock.runFor(1_000);
  await words("Copied");
  await page.locator("#language").dispatchEvent("click");
  await words("コピーしました");
  await page.clock.runFor(1_000);
  await words("コピー");
  await label.dispatchEvent("click");
  await words("コピーしました");
  await page.locator("#tab-1").dispatchEvent("click");
  await words("コピー");
  await page.context().close();
});

test("a phone shows everything without scrolling sideways", async () => {
  for (const [width, locale] of [[360, "en-US"], [390, "ja-JP"], [820, "en-US"]]) {
    await visit({ viewport: { width, height: 800 }, locale, isMobile: width < 500, hasTouch: true });
    await page.goto(`${server.url}/console`);
    await connected(3);
    await server.post("publish", { channel: "chat:default", data: { message: "w".repeat(300) } });
    await heard("Sora", "www");
    await noSidewaysScroll();
    const cut = await page.evaluate(() =>
      [...document.querySelectorAll("button, input, select, textarea")]
        .filter((control) => control.offsetParent && control.getBoundingClientRect().right > innerWidth)
        .map((control) => control.outerHTML),
    );
    assert.deepEqual(cut, []);
    await page.context().close();
  }
});

test("the page reconnects to a server that was killed", async () => {
  await visit();
  await page.goto(`${server.url}/console`);
  await connected(3);
  await server.stop("SIGKILL");
  await user("Aoi").getByText("Reconnecting").waitFor();
  await user("Aoi").getByText(/The connection broke off|cannot be reached/).waitFor();
  await user("Aoi").getByText(/Trying again in \d/).waitFor();
  await say("Aoi", "into the void");
  await user("Aoi").getByText("Not connected").waitFor();
  await server.start();
  // The longest wait between two attempts is 15 s.
  await page.waitForFunction(() => document.querySelectorAll('.user[data-state="open"]').length === 3, null, { timeout: 20_000 });
  await say("Aoi", "back again");
  await heard("Sora", "back again");
  const unexpected = page.faults.filter((fault) => !/ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|WebSocket connection to/.test(fault));
  assert.deepEqual(unexpected, []);
  await page.context().close();
});

test("a shutdown is reported", async () => {
  await visit();
  await page.goto(`${server.url}/console`);
  await connected(3);
  await server.stop("SIGTERM");
  await user("Aoi").getByText(/1001 “going away” The server is going away\./).waitFor();
  await user("Aoi").getByText("The server cannot be reached.").waitFor();
  await page.locator("#wire .frame", { hasText: "close 1001 going away" }).first().waitFor();
  await server.start();
  await page.context().close();
});

// `YAMABIKO_SCREENSHOT=$PWD/../../docs/console.png npm test` draws the picture in the README anew. It needs a Japanese font.
async function picture(file) {
  await visit({ viewport: { width: 1280, height: 1330 } });
  await page.goto(`${server.url}/console`);
  await connected(3);
  await say("Aoi", "Yahoo! Can you hear me?");
  await say("Haru", "Loud and clear, やっほー！");
  await heard("Sora", "やっほー");
  await page.locator("#publish").getByRole("button", { name: "Publish" }).click();
  await heard("Sora", "Hello from the application");
  await user("Aoi").getByRole("button", { name: "Cut the line of Aoi" }).click();
  await user("Aoi").locator(".messages .mark.whole").waitFor({ timeout: 30_000 });
  await page.getByRole("button", { name: "Run the job" }).click();
  // By then the rings of the messages have faded.
  await page.waitForFunction(() => document.getElementById("climb").getAttribute("aria-valuenow") >= 60);
  await page.mouse.move(0, 0);
  await page.evaluate(() => {
    document.activeElement.blur();
    scrollTo({ top: 0, behavior: "instant" });
  });
  await page.screenshot({ path: file });
  await page.context().close();
}
if (process.env.YAMABIKO_SCREENSHOT) test("the picture in the README", () => picture(process.env.YAMABIKO_SCREENSHOT));

// The page of the HTTP API, as a person sees it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { launch, open } from "./chromium.mjs";
import { Server } from "./server.mjs";

let server, browser;

before(async () => {
  [server, browser] = await Promise.all([Server.start(), launch()]);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

for (const [name, width] of [["a screen", 1280], ["a phone", 390]]) {
  test(`the page of the API fits on ${name}, and the names of fields are not broken`, async () => {
    const page = await open(browser, { viewport: { width, height: 844 } });
    await page.goto(`http://127.0.0.1:${server.admin}/api/v1/docs`);
    const seen = await page.evaluate(() => ({
      excess: document.documentElement.scrollWidth - innerWidth,
      fields: document.querySelectorAll("#publish td:first-child code").length,
      broken: [...document.querySelectorAll("td:first-child code")]
        .filter((code) => code.getClientRects().length > 1)
        .map((code) => code.textContent),
    }));
    assert.equal(seen.excess, 0);
    assert.ok(seen.fields > 10, `${seen.fields} fields`);
    assert.deepEqual(seen.broken, []);
    const to = await page.textContent("#publish tr:has(td:first-child code:text-is('to'))");
    assert.match(to, /integer or string, optional.*Only this user receives it/s);
    assert.deepEqual(page.faults, []);
    await page.context().close();
  });
}

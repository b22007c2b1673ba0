// Unmodified Echo pages in the real Chromium, with one option, whose connections are cut again and again.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";

import { launch, open } from "../browser/chromium.mjs";
import { Application } from "./application.mjs";
import { Line } from "./line.mjs";
import { APP, twoNodes } from "./servers.mjs";

const MESSAGES = 10_000;
const CUTS = 100;
/** pusher-js waits a second before it connects again: one page alone could not be cut that often. */
const PAGES = 5;
const BATCH = 10;
const BATCH_MS = 40;
const CUT_MS = 300;

let servers, application, browser;

before(async () => {
  servers = await twoNodes({
    YAMABIKO__PUSHER__HISTORY: '[{ channels = ["private-*", "presence-*"], messages = 10000, age = "2m" }]',
  });
  application = await Application.start(servers.a);
  browser = await launch();
});
after(async () => {
  await browser?.close();
  application?.stop();
  await servers?.stop();
});

const wait = (ms) => new Promise((wake) => setTimeout(wake, ms));

async function visit(index) {
  const nodes = [servers.a.port, servers.b.port];
  const line = await Line.to(...(index % 2 ? nodes : nodes.reverse()));
  const page = await open(browser);
  const key = `${APP.key}~${randomUUID()}`;
  await page.goto(`${application.url}/?user=aoi&port=${line.port}&broadcaster=pusher&key=${key}`);
  await page.evaluate(() => new Promise((done) => {
    window.numbers = [];
    window.gaps = 0;
    echo.connector.pusher.bind_global((event) => { gaps += event === "yamabiko:gap"; });
    echo.private("Numbers").listen(".number", ({ number }) => numbers.push(number)).subscribed(done);
  }));
  return { page, line };
}

test(`nothing is lost in ${MESSAGES} messages while connections are cut ${CUTS} times`, async (context) => {
  const pages = await Promise.all(Array.from({ length: PAGES }, (_, index) => visit(index)));
  let number = 0, cuts = 0;
  const cutting = (async () => {
    for (let turn = 0; cuts < CUTS; turn++) {
      await wait(CUT_MS);
      cuts += pages[turn % PAGES].line.cut();
    }
  })();
  for (let due = Date.now(); number < MESSAGES || cuts < CUTS; due += BATCH_MS) {
    const batch = Array.from({ length: BATCH }, () => ({
      channel: "private-Numbers",
      name: "number",
      data: { number: number++ },
    }));
    const answer = await [servers.a, servers.b][(number / BATCH) % 2].sdk().triggerBatch(batch);
    assert.equal(answer.status, 200);
    await wait(due - Date.now());
  }
  await cutting;
  const sent = Array.from({ length: number }, (_, number) => number);
  for (const { page } of pages) {
    await page.waitForFunction((last) => numbers.includes(last), number - 1);
    const received = await page.evaluate(() => numbers);
    context.diagnostic(`${number} sent, ${received.length - number} received again`);
    // Each for the first time in the order in which they were published, whatever came again.
    assert.deepEqual([...new Set(received)], sent);
    assert.equal(await page.evaluate(() => gaps), 0);
    await page.context().close();
  }
  for (const { line } of pages) line.stop();
  context.diagnostic(`${cuts} cuts`);
});

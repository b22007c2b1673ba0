// An Echo page in the real Chromium, on two nodes.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { launch, open } from "../browser/chromium.mjs";
import { Application } from "./application.mjs";
import { twoNodes } from "./servers.mjs";

let servers, application, browser;

before(async () => {
  servers = await twoNodes();
  application = await Application.start(servers.a);
  browser = await launch();
});
after(async () => {
  await browser?.close();
  application?.stop();
  await servers?.stop();
});

async function visit(user, node, broadcaster) {
  const page = await open(browser);
  await page.goto(`${application.url}/?user=${user}&port=${node.port}&broadcaster=${broadcaster}`);
  return page;
}

const texts = (page, list) => page.locator(`#${list} li`).allTextContents();

async function shows(page, names) {
  await page.waitForFunction((names) => [...document.querySelectorAll("#members li")].map((item) => item.textContent).join() === names, names.join());
}

test("members, messages, toOthers and whispers, between browsers on two nodes", async () => {
  const aoi = await visit("aoi", servers.a, "pusher");
  const haru = await visit("haru", servers.b, "reverb");
  for (const page of [aoi, haru]) await shows(page, ["Aoi", "Haru"]);
  const secondTab = await visit("aoi", servers.b, "pusher");
  await shows(secondTab, ["Aoi", "Haru"]);

  await haru.evaluate(() => say("やっほー <b>"));
  for (const page of [aoi, secondTab]) {
    await page.getByText("Haru: やっほー <b>").waitFor();
  }
  await aoi.evaluate(() => say("hello"));
  await haru.getByText("Aoi: hello").waitFor();
  await secondTab.getByText("Aoi: hello").waitFor();
  // Their own messages were left out.
  assert.deepEqual(await texts(haru, "messages"), ["Aoi: hello"]);
  assert.deepEqual(await texts(aoi, "messages"), ["Haru: やっほー <b>"]);

  await haru.evaluate(() => whisper("Haru"));
  await aoi.getByText("Haru is typing").waitFor();
  assert.equal(await haru.locator("#typing").textContent(), "");

  await secondTab.context().close();
  await aoi.evaluate(() => whisper("Aoi"));
  await haru.getByText("Aoi is typing").waitFor();
  assert.deepEqual(await texts(haru, "members"), ["Aoi", "Haru"]);
  assert.deepEqual(aoi.faults, []);
  await aoi.context().close();
  await shows(haru, ["Haru"]);
  assert.deepEqual(haru.faults, []);
  await haru.context().close();
});

// The browser snippet of the README, to the letter, against the real server.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { launch, open } from "./chromium.mjs";
import { Server } from "./server.mjs";

const SNIPPET = new URL("../../docs/snippets/browser.js", import.meta.url);
const README = new URL("../../README.md", import.meta.url);

let server, browser;

before(async () => {
  server = await Server.start();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

test("the README shows the snippet to the letter", async () => {
  const [readme, snippet] = await Promise.all([readFile(README, "utf8"), readFile(SNIPPET, "utf8")]);
  assert.ok(readme.includes(snippet), "README.md does not contain docs/snippets/browser.js");
});

test("the snippet joins, sends, hears, and comes back", async (context) => {
  const snippet = await readFile(SNIPPET, "utf8");
  const page = await open(browser);
  let asked = 0;
  // An application of its own, on an origin of its own, as Laravel is.
  const application = createServer(async ({ url }, answer) => {
    if (url !== "/websocket/token") {
      answer.setHeader("Content-Type", "text/html");
      return answer.end('<!doctype html><link rel="icon" href="data:,"><body></body>');
    }
    asked += 1;
    try {
      const { token } = await server.post("token", { id: 7, name: "Aoi", channel: "chat:default" });
      answer.end(JSON.stringify({ url: `ws://127.0.0.1:${server.port}/ws`, token }));
    } catch {
      answer.writeHead(503).end();
    }
  }).listen(0, "127.0.0.1");
  context.after(() => application.close());
  await once(application, "listening");
  await page.goto(`http://127.0.0.1:${application.address().port}/`);
  await page.addScriptTag({ content: snippet });

  await page.getByText("Aoi: Hello, mountains").waitFor();
  assert.equal(asked, 1);
  await server.post("publish", { channel: "chat:default", data: { message: "from Laravel" } });
  await page.getByText("System: from Laravel").waitFor();

  await server.stop("SIGKILL");
  await page.waitForTimeout(1_500);
  await server.start();
  await page.waitForFunction(() => document.body.innerText.match(/Hello, mountains/g)?.length === 2, null, { timeout: 35_000 });
  assert.ok(asked >= 2);
  const unexpected = page.faults.filter((fault) => !/status of 503|WebSocket connection to/.test(fault));
  assert.deepEqual(unexpected, []);
  await page.context().close();
});

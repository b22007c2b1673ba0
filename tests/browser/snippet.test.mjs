// The browser snippet of docs/laravel.md, to the letter, against the real server.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { launch, open } from "./chromium.mjs";
import { Server } from "./server.mjs";

const SNIPPET = new URL("../../docs/snippets/browser.js", import.meta.url);
const CLIENT = new URL("../../clients/js/dist/index.js", import.meta.url);
const PAGE = new URL("../../docs/laravel.md", import.meta.url);

let server, browser;

before(async () => {
  server = await Server.start();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

test("docs/laravel.md shows the snippet to the letter", async () => {
  const [page, snippet] = await Promise.all([readFile(PAGE, "utf8"), readFile(SNIPPET, "utf8")]);
  assert.ok(page.includes(snippet), "docs/laravel.md does not contain docs/snippets/browser.js");
});

/** An application of its own, on an origin of its own, as Laravel is: `respond` answers its token route. */
async function application(context, respond) {
  const listener = createServer(async ({ url, headers }, answer) => {
    if (url === "/websocket/token") return respond(answer, headers);
    if (url === "/client.js") return answer.setHeader("Content-Type", "text/javascript").end(await readFile(CLIENT));
    answer.setHeader("Content-Type", "text/html");
    const imports = JSON.stringify({ imports: { "@yamabiko/client": "/client.js" } });
    answer.end(`<!doctype html><link rel="icon" href="data:,"><script type="importmap">${imports}</script><body></body>`);
  }).listen(0, "127.0.0.1");
  context.after(() => listener.close());
  await once(listener, "listening");
  return `http://127.0.0.1:${listener.address().port}/`;
}

test("the snippet joins, sends, receives and reconnects", async (context) => {
  const snippet = await readFile(SNIPPET, "utf8");
  const page = await open(browser);
  let asked = 0;
  const address = await application(context, async (answer, headers) => {
    asked += 1;
    assert.equal(headers.accept, "application/json");
    try {
      const { token } = await server.post("token", { id: 7, name: "Aoi", channel: "chat:default" });
      answer.end(JSON.stringify({ url: `ws://127.0.0.1:${server.port}/ws`, token }));
    } catch {
      answer.writeHead(503).end();
    }
  });
  await page.goto(address);
  await page.addScriptTag({ content: snippet, type: "module" });

  await page.getByText("Aoi: Hello, mountains").waitFor();
  assert.equal(asked, 1);
  await server.post("publish", { channel: "chat:default", data: { message: "from Laravel" } });
  await page.getByText("System: from Laravel").waitFor();

  const again = new Promise((done) => page.on("console", (message) => message.text().startsWith("open") && done()));
  await server.stop("SIGKILL");
  await server.start();
  await again;
  await server.post("publish", { channel: "chat:default", data: { message: "back again" } });
  await page.getByText("System: back again").waitFor();
  assert.equal(await page.getByText("Hello, mountains").count(), 1);
  assert.ok(asked >= 2);
  const unexpected = page.faults.filter((fault) => !/status of 503|messages may be missing|WebSocket connection to/.test(fault));
  assert.deepEqual(unexpected, []);
  await page.context().close();
});

test("the client of docs/native.md stops when the application refuses, and otherwise retries", async (context) => {
  const native = await readFile(new URL("../../docs/native.md", import.meta.url), "utf8");
  const client = native.split("### A minimal client")[1].match(/```js\n([^]*?)```/)[1];
  const answers = ["null", '{"token":"x"}'];
  const page = await open(browser);
  const address = await application(context, (answer) => (answers.length > 0 ? answer.end(answers.shift()) : answer.writeHead(401).end("{}")));
  await page.goto(address);
  await page.addScriptTag({ content: client });
  await page.evaluate(() => {
    stayConnected(() => fetch("/websocket/token"), () => {}).then((code) => { globalThis.ended = code; });
  });
  await page.waitForFunction(() => globalThis.ended === 401);
  assert.equal(answers.length, 0);
  await page.context().close();
});

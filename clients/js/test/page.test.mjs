// The client in a real Chromium: in a page and in a worker.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";

import { launch, open } from "../../../tests/browser/chromium.mjs";
import { credentials, ENVIRONMENT, Line, Node } from "./support.mjs";

const FILES = {
  "/": ["text/html", '<!doctype html><link rel="icon" href="data:,"><body></body>'],
  "/worker.js": ["text/javascript", `
    import { connect } from "/client/index.js";
    const log = connect("/token?channel=log:worker");
    log.on("message", ({ data }) => postMessage(data.text));
    addEventListener("message", ({ data: text }) => log.send({ text }));`],
};

let node, line, application, browser, page;

before(async () => {
  node = await Node.start(ENVIRONMENT);
  line = await Line.to(node.port);
  application = createServer(async (request, answer) => {
    const { pathname, searchParams } = new URL(request.url, "http://application");
    if (pathname === "/token") return answer.end(JSON.stringify(credentials(line.port, searchParams.get("channel"))));
    const [type, text] = FILES[pathname] ?? ["text/javascript", await readFile(new URL(`../dist/${pathname.slice("/client/".length)}`, import.meta.url))];
    answer.writeHead(200, { "Content-Type": type }).end(text);
  }).listen(0, "127.0.0.1");
  await once(application, "listening");
  browser = await launch();
  page = await open(browser);
  await page.goto(`http://127.0.0.1:${application.address().port}/`);
});
after(async () => {
  await browser?.close();
  application?.close();
  line?.stop();
  await node?.stop();
});

/** Opens a client that remembers its messages and states under this name. */
async function client(name, channel) {
  await page.evaluate(async ([name, channel]) => {
    const { connect } = await import("/client/index.js");
    const connection = connect(`/token?channel=${channel}`);
    const told = { connection, messages: [], states: [], gaps: 0 };
    globalThis[name] = told;
    connection.on("message", ({ data }) => told.messages.push(data.text));
    connection.on("gap", () => told.gaps++);
    connection.on("state", (detail) => told.states.push({ ...detail, error: undefined }));
  }, [name, channel]);
  await page.waitForFunction((name) => globalThis[name].connection.state === "open", name);
}

const messages = (name, expected) => page.waitForFunction(([name, expected]) => JSON.stringify(globalThis[name].messages) === expected, [name, JSON.stringify(expected)]);

test("a page gets what it has missed as soon as the network is back", async () => {
  await client("reader", "log:page");
  await page.evaluate(() => reader.connection.send({ text: "before" }));
  await messages("reader", ["before"]);
  line.ports.length = 0;
  // Minutes until the next attempt, so that only the event of the page can be the reason for it.
  await page.evaluate(() => { Math.random = () => 1_000; });
  line.cut();
  await page.waitForFunction(() => reader.states.at(-1).until - Date.now() > 60_000);
  const early = page.evaluate(() => reader.connection.send({ text: "sent meanwhile" }));
  line.ports.push(node.port);
  await page.context().setOffline(true);
  await page.context().setOffline(false);
  await early;
  await messages("reader", ["before", "sent meanwhile"]);
});

test("a page that is hidden for the back/forward cache has no connection meanwhile", async () => {
  await client("cached", "log:page");
  const { until } = await page.evaluate(() => {
    dispatchEvent(new PageTransitionEvent("pagehide", { persisted: true }));
    return cached.states.at(-1);
  });
  assert.equal(until, undefined);
  assert.equal(await page.evaluate(() => cached.connection.state), "waiting");
  await page.evaluate(() => dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true })));
  await page.waitForFunction(() => cached.connection.state === "open" && reader.connection.state === "open");
  await page.evaluate(() => cached.connection.send({ text: "back" }));
  await messages("cached", ["back"]);
  assert.equal(await page.evaluate(() => cached.gaps), 0);
});

test("a worker connects too", async () => {
  const answer = await page.evaluate(() => new Promise((done) => {
    const worker = new Worker("/worker.js", { type: "module" });
    worker.onmessage = ({ data }) => done(data);
    worker.postMessage("from a worker");
  }));
  assert.equal(answer, "from a worker");
});

test("an error in a handler is reported, and the other handlers are called", async () => {
  await client("broken", "log:broken");
  await page.evaluate(() => {
    broken.connection.on("message", () => { throw new Error("in the page's handler"); });
    broken.connection.on("message", ({ data }) => { broken.after = data.text; });
    return broken.connection.send({ text: "x" });
  });
  await page.waitForFunction(() => broken.after === "x");
  assert.deepEqual(page.faults.filter((fault) => !/WebSocket connection to|ERR_INTERNET_DISCONNECTED/.test(fault)), ["in the page's handler"]);
});

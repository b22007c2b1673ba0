// The browser snippet of docs/laravel.md, to the letter, against the real server.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { connect, createServer as createProxy } from "node:net";
import { after, before, test } from "node:test";

import { launch, open } from "./chromium.mjs";
import { Server } from "./server.mjs";

const SNIPPET = new URL("../../docs/snippets/browser.js", import.meta.url);
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
    answer.setHeader("Content-Type", "text/html");
    answer.end('<!doctype html><link rel="icon" href="data:,"><body></body>');
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
  const unexpected = page.faults.filter((fault) => !/status of 503|application answered 503|WebSocket connection to/.test(fault));
  assert.deepEqual(unexpected, []);
  await page.context().close();
});

/** Forwards TCP to the server, until it is cut. */
async function line(context) {
  const sockets = new Set();
  const listener = createProxy((client) => {
    const upstream = connect(server.port, "127.0.0.1");
    for (const [socket, other] of [[client, upstream], [upstream, client]]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => { sockets.delete(socket); other.destroy(); });
      socket.pipe(other);
    }
  }).listen(0, "127.0.0.1");
  context.after(() => listener.close());
  await once(listener, "listening");
  const { port } = listener.address();
  const cut = () => { for (const socket of sockets) socket.destroy(); };
  return { port, cut };
}

for (const { channel, kept } of [{ channel: "chat:cut", kept: true }, { channel: "chat:forgotten", kept: false }]) {
  test(`the snippet ${kept ? "gets what it has missed, once and in order" : "is told that messages may be missing"}`, async (context) => {
    const library = (await readFile(SNIPPET, "utf8")).split("// With `Accept`")[0];
    const page = await open(browser);
    const wire = await line(context);
    let admitting = true;
    const address = await application(context, async (answer) => {
      if (!admitting) return answer.writeHead(503).end();
      const { token } = await server.post("token", { id: 7, name: "Aoi", channel });
      answer.end(JSON.stringify({ url: `ws://127.0.0.1:${wire.port}/ws`, token }));
    });
    await page.goto(address);
    await page.addScriptTag({ content: library });
    await page.evaluate(() => {
      globalThis.told = { messages: [], gaps: 0, opened: 0 };
      yamabiko(() => fetch("/websocket/token"), {
        onMessage: (data) => told.messages.push(data.message),
        onGap: () => { told.gaps += 1; },
        onState: (state) => { if (state === "open") told.opened += 1; },
        onError() {},
      });
    });
    const until = (condition, ...values) => page.waitForFunction(condition, ...values);
    const say = (message) => server.post("publish", { channel, data: { message } });
    await until(() => told.opened === 1);
    const expected = [];
    for (let round = 1; round <= 3; round++) {
      expected.push(`live ${round}`);
      await say(expected.at(-1));
      await until((count) => told.messages.length === count, expected.length);
      admitting = false;
      wire.cut();
      for (const number of [1, 2, 3]) {
        const message = `missed ${round} ${number}`;
        await say(message);
        if (kept) expected.push(message);
      }
      if (!kept) {
        await server.stop("SIGKILL");
        await server.start();
      }
      admitting = true;
      await until((count) => told.opened === count, round + 1);
    }
    expected.push("end");
    await say("end");
    await until(() => told.messages.at(-1) === "end");
    const { messages, gaps } = await page.evaluate(() => told);
    assert.deepEqual(messages, expected);
    assert.equal(gaps, kept ? 0 : 3);
    await page.context().close();
  });
}

// Each answer of the token route: whether the snippet tries again, and what it tells the page.
const UNUSABLE = [
  { name: "500", respond: (answer) => answer.writeHead(500).end("oops"), state: "waiting", code: 500, error: /the application answered 500/ },
  { name: "401", respond: (answer) => answer.writeHead(401).end('{"message":"Unauthenticated."}'), state: "closed", code: 401, error: /the application answered 401/ },
  { name: "403", respond: (answer) => answer.writeHead(403).end("{}"), state: "closed", code: 403, error: /the application answered 403/ },
  { name: "no url", respond: (answer) => answer.end('{"token":"x"}'), state: "waiting", error: /`url` and `token`/ },
  { name: "url null", respond: (answer) => answer.end('{"url":null,"token":"x"}'), state: "waiting", error: /`url` and `token`/ },
  { name: "no token", respond: (answer) => answer.end('{"url":"ws://127.0.0.1:1/ws"}'), state: "waiting", error: /`url` and `token`/ },
  { name: "null", respond: (answer) => answer.end("null"), state: "waiting", error: /null/ },
  { name: "a login page", respond: (answer) => answer.end("<!doctype html>"), state: "waiting", error: /JSON/ },
  { name: "cut off", respond: (answer) => answer.destroy(), state: "waiting", error: /fetch/ },
];

for (const { name, respond, state, code, error } of UNUSABLE) {
  test(`the snippet reports a token route that answers ${name}`, async (context) => {
    let asked = 0;
    const sockets = [];
    const page = await open(browser);
    page.on("websocket", (socket) => sockets.push(socket.url()));
    const address = await application(context, (answer) => {
      asked += 1;
      respond(answer);
    });
    await page.goto(address);
    const library = (await readFile(SNIPPET, "utf8")).split("// With `Accept`")[0];
    await page.addScriptTag({ content: library });
    await page.evaluate(() => {
      globalThis.told = { states: [], errors: [] };
      yamabiko(() => fetch("/websocket/token"), {
        onMessage() {},
        onState: (state, code, reason) => told.states.push([state, code, reason]),
        onError: (error) => told.errors.push(error.message),
      });
    });
    // Tries that go on are seen twice; one that has stopped is not followed by another, for the shortest wait is 250 ms.
    await page.waitForFunction((state) => told.states.filter(([entered]) => entered === state).length >= (state === "closed" ? 1 : 2), state);
    if (state === "closed") await page.waitForTimeout(1_500);
    const told = await page.evaluate(() => globalThis.told);
    assert.match(told.errors[0], error);
    assert.deepEqual(told.states[1].slice(0, 2), [state, code]);
    assert.equal(told.states[1][2], told.errors[0]);
    if (state === "closed") assert.deepEqual([asked, told.states.length, told.errors.length], [1, 2, 1]);
    assert.deepEqual(sockets, []);
    await page.context().close();
  });
}

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

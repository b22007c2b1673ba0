// The fallback to server-sent events, behind a proxy that blocks WebSocket: in Node.js, and in a real Chromium.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { after, afterEach, before, test } from "node:test";

import { connect } from "@yamabiko/client";
import { withSse } from "@yamabiko/client/sse";
import { launch, open as openPage } from "../../../tests/browser/chromium.mjs";
import { BlockingProxy } from "./blocking_proxy.mjs";
import { credentials, ENVIRONMENT, eventually, follow, Node, pageEvents, random, token, wait } from "./support.mjs";

let node, proxy;
before(async () => {
  node = await Node.start({ ...ENVIRONMENT, YAMABIKO__CHANNELS__NOTICE__CLIENT_SEND: "false" });
});
after(() => node?.stop());

const open = new Set();
afterEach(() => {
  for (const connection of open) connection.close();
  open.clear();
  proxy?.stop();
});

/** A client behind a new proxy, or another port, that is on its channel. */
async function join(channel, { port, claims, ask, fallback = {}, ...options } = {}) {
  if (!port) {
    proxy = await BlockingProxy.to(node.port);
    port = proxy.port;
  }
  const connection = connect(ask ?? (() => credentials(port, channel, claims)), { WebSocket: withSse(fallback), ...options });
  open.add(connection);
  const [states] = follow(connection, "state");
  await states.until(({ state }) => state === "open", "the connection");
  return Object.assign(connection, { states });
}

/** A client without a proxy. */
const direct = (channel, claims) => join(channel, { port: node.port, claims });

test("where WebSocket is blocked, everything works over server-sent events", async () => {
  const aoi = await join("room:blocked");
  assert.deepEqual([proxy.upgrades, proxy.streams], [2, 1], "WebSocket is tried first");
  const [copies, joined, left] = follow(aoi, "message", "join", "leave");
  const ren = await direct("room:blocked", { id: 8, name: "Ren" });
  const [heard] = follow(ren, "message");
  await aoi.send({ text: "やっほー" });
  await ren.send({ text: "hello" });
  for (const inbox of [heard, copies]) {
    assert.deepEqual([(await inbox.next()).data.text, (await inbox.next()).data.text], ["やっほー", "hello"]);
    assert.deepEqual(inbox.taken.map(({ sender, recovered }) => [sender.name, recovered]), [["葵", false], ["Ren", false]]);
  }
  assert.deepEqual(await joined.until(({ id }) => id === 8, "Ren"), { name: "Ren", id: 8 });
  assert.equal(aoi.users().length, 2);
  ren.close();
  assert.equal((await left.next()).id, 8);
  // Many messages at once keep their order, and each has its answer.
  await Promise.all(Array.from({ length: 20 }, (_, n) => aoi.send({ n })));
  for (let n = 0; n < 20; n++) assert.equal((await copies.next()).data.n, n);
  await assert.rejects(aoi.send([]), { name: "SendError", code: "invalid_message", uncertain: false });
});

test("refusals, close codes and line breaks arrive, byte by byte", async () => {
  proxy = await BlockingProxy.to(node.port);
  proxy.drips = true;
  const listener = await join("notice:", { port: proxy.port, claims: { id: 78 }, fallback: { attempts: 1 } });
  await assert.rejects(listener.send({}), { code: "not_allowed", uncertain: false });
  const [inbox] = follow(listener, "message");
  const publish = (path, body) => fetch(`http://127.0.0.1:${node.admin}${path}`, { method: "POST", headers: { "Content-Type": "application/json" }, body });
  const published = await publish("/api/v1/publish", JSON.stringify({ channel: "notice:", data: { text: "山\r\n彦\u2028" } }, null, "\r\n "));
  assert.ok(published.ok, await published.text());
  assert.deepEqual((await inbox.next()).data, { text: "山\r\n彦\u2028" });
  assert.ok((await publish("/disconnect", '{"user":78}')).ok);
  const { code, reason } = await listener.states.until(({ state }) => state === "closed", "the end");
  assert.deepEqual([code, reason], [4403, "disconnected"]);
  await assert.rejects(listener.send({}), { code: "closed" });
});

/** A client behind a new proxy whose stream has a token that expires soon, which it replaces by `next` as soon as it is open. */
async function expiring(channel, next) {
  proxy = await BlockingProxy.to(node.port);
  const good = credentials(proxy.port, channel);
  const exp = Math.floor(Date.now() / 1000) + 4;
  // A token lasts from `iat` on, and is replaced after half of that.
  const first = token(channel, { iat: exp - 0.1, exp });
  // The first one is for WebSocket.
  const tokens = [good.token, first, next];
  const aoi = await join(channel, { port: proxy.port, fallback: { attempts: 1 }, ask: () => ({ ...good, token: tokens.shift() ?? good.token }) });
  return Object.assign(aoi, { first, tokens });
}

test("a stream goes on with a new token", async () => {
  const aoi = await expiring("plain:renewed", token("plain:renewed", { name: "Aoi S." }));
  // A witness with the same token, which keeps it, until it has expired.
  const witness = new WebSocket(`ws://127.0.0.1:${node.port}/ws?token=${aoi.first}`);
  await once(witness, "close");
  const [inbox] = follow(aoi, "message");
  await aoi.send({ n: 1 });
  const { sender, data } = await inbox.next();
  assert.deepEqual([sender.name, data], ["Aoi S.", { n: 1 }], "requests have the new token too");
  assert.deepEqual([aoi.state, aoi.tokens, proxy.streams, proxy.posts], ["open", [], 1, 2]);
  assert.deepEqual(aoi.states.waiting, [], "it has not come back");
});

test("a stream whose new token is refused ends with the old one, and is followed by another one", async () => {
  const aoi = await expiring("log:expiring", "a.b.c");
  const [inbox, gaps, errors] = follow(aoi, "message", "gap", "error");
  const ended = await aoi.states.until(({ state }) => state === "waiting", "the end");
  assert.deepEqual(errors.waiting.map(({ name }) => name), ["TokenError"]);
  assert.deepEqual([ended.code, ended.reason], [4401, "token expired"]);
  await aoi.send({ n: 1 });
  assert.equal((await inbox.next()).data.n, 1);
  assert.deepEqual([aoi.state, gaps.waiting, proxy.upgrades], ["open", [], 1]);
});

test("a refused token is replaced, and the reason is told", async () => {
  let asked = 0;
  proxy = await BlockingProxy.to(node.port);
  const aoi = await join("log:refused", {
    port: proxy.port,
    fallback: { attempts: 1 },
    ask: () => ({ url: `ws://127.0.0.1:${proxy.port}/ws`, token: ++asked === 2 ? "a.b.c" : token("log:refused") }),
  });
  assert.ok(aoi.states.taken.some(({ code, reason }) => code === 4401 && reason === "malformed_token"), JSON.stringify(aoi.states.taken));
});

test("WebSocket is tried again, and used when it is not blocked any more", async () => {
  const reader = await join("log:again", { fallback: { retry: 0 } });
  const writer = await direct("log:again");
  const [inbox, gaps] = follow(reader, "message", "gap");
  // Still blocked: one attempt.
  proxy.cut();
  await eventually(() => assert.deepEqual([reader.state, proxy.upgrades, proxy.streams], ["open", 3, 2]));
  proxy.blocks = false;
  proxy.cut();
  await eventually(() => assert.deepEqual([reader.state, proxy.upgrades, proxy.streams], ["open", 4, 2]));
  await writer.send({ n: 1 });
  assert.equal((await inbox.next()).data.n, 1);
  await reader.send({ n: 2 });
  assert.equal((await inbox.next()).data.n, 2);
  assert.deepEqual([gaps.waiting, proxy.posts], [[], 0]);
});

test("a network that is down is not taken for one that blocks WebSocket", async () => {
  proxy = await BlockingProxy.to(node.port);
  Object.assign(proxy, { isDown: true, blocks: false });
  const page = pageEvents();
  const connection = connect(() => credentials(proxy.port, "log:down"), { WebSocket: withSse() });
  open.add(connection);
  const [states] = follow(connection, "state");
  // Two WebSockets, a stream, a WebSocket, a stream.
  for (let attempt = 0; attempt < 5; attempt++) {
    await states.until(({ state }) => state === "waiting", "a failure");
    if (attempt === 4) proxy.isDown = false;
    page.dispatchEvent(new Event("online"));
  }
  await states.until(({ state }) => state === "open", "the connection");
  assert.deepEqual([proxy.upgrades, proxy.streams], [1, 0]);
});

test("who sends too fast is slowed down, and nothing is refused", async (context) => {
  const slow = await Node.start({ ...ENVIRONMENT, YAMABIKO__LIMITS__MESSAGES_PER_SECOND: "1", YAMABIKO__LIMITS__BURST: "1" });
  context.after(() => slow.stop());
  proxy = await BlockingProxy.to(slow.port);
  const aoi = await join("log:fast", { port: proxy.port, fallback: { attempts: 1 } });
  const [inbox] = follow(aoi, "message");
  await Promise.all([1, 2, 3].map((n) => aoi.send({ n })));
  for (const n of [1, 2, 3]) assert.equal((await inbox.next()).data.n, n);
  assert.ok(proxy.posts > 3, `${proxy.posts} requests`);
});

/** CUTS=1000 SEED=7 npm test -- test/sse.test.mjs --test-name-pattern=cuts runs a longer one. */
test("cuts lose nothing and double nothing", async (context) => {
  const next = random(Number(process.env.SEED ?? 20_260_401));
  const page = pageEvents();
  proxy = await BlockingProxy.to(node.port);
  const fallback = { attempts: 1 };
  const [reader, writer] = await Promise.all([1, 2].map((id) => join("log:cuts", { port: proxy.port, claims: { id }, fallback })));
  const [gaps, late, received] = [[], [], []];
  reader.on("message", ({ data, recovered }) => {
    received.push(data.number);
    if (recovered) late.push(data.number);
  });
  for (const client of [reader, writer]) client.on("gap", () => gaps.push(client));
  let isOver = false, sent = 0;
  const sending = (async () => {
    const answers = [];
    for (; !isOver; sent++) {
      answers.push(writer.send({ number: sent }, { timeout: 600_000 }));
      await wait(next() * 8);
    }
    await Promise.all(answers);
  })();
  sending.catch(() => {});
  for (let cut = 0; cut < Number(process.env.CUTS ?? 15); cut++) {
    await wait(next() * 60);
    proxy.cut();
    await wait(next() * 10);
    page.dispatchEvent(new Event("online"));
  }
  isOver = true;
  const poke = setInterval(() => page.dispatchEvent(new Event("online")), 200);
  context.after(() => clearInterval(poke));
  await sending;
  await eventually(() => assert.equal(received.length, sent));
  assert.deepEqual(received, Array.from({ length: sent }, (_, number) => number));
  assert.deepEqual([gaps.length, late.length > 0], [0, true]);
  context.diagnostic(`${sent} messages, ${proxy.streams} streams, ${proxy.posts} requests, ${late.length} recovered`);
});

test("a page of another origin in a real Chromium", async (context) => {
  proxy = await BlockingProxy.to(node.port);
  const application = createServer(async ({ url }, answer) => {
    if (url === "/token") return answer.end(JSON.stringify(credentials(proxy.port, "log:page")));
    if (url === "/") return answer.writeHead(200, { "Content-Type": "text/html" }).end('<!doctype html><link rel="icon" href="data:,">');
    answer.writeHead(200, { "Content-Type": "text/javascript" }).end(await readFile(new URL(`../dist${url}`, import.meta.url)));
  }).listen(0, "127.0.0.1");
  await once(application, "listening");
  const browser = await launch();
  context.after(() => Promise.all([browser.close(), application.close()]));
  const page = await openPage(browser);
  await page.goto(`http://127.0.0.1:${application.address().port}/`);
  await page.evaluate(async () => {
    const [{ connect }, { withSse }] = await Promise.all([import("/index.js"), import("/sse.js")]);
    Object.assign(globalThis, { log: connect("/token", { WebSocket: withSse() }), numbers: [], gaps: 0 });
    log.on("message", ({ data }) => numbers.push(data.n));
    log.on("gap", () => gaps++);
    await log.send({ n: 0 });
  });
  const shows = (expected) => page.waitForFunction((expected) => JSON.stringify(numbers) === expected, JSON.stringify(expected));
  await shows([0]);
  const writer = await direct("log:page");
  for (let n = 1; n < 6; n += 2) {
    const sending = page.evaluate((n) => log.send({ n }), n);
    if (n > 1) proxy.cut();
    await sending;
    await writer.send({ n: n + 1 });
    await page.evaluate(() => dispatchEvent(new Event("online")));
    await shows(Array.from({ length: n + 2 }, (_, n) => n));
  }
  assert.deepEqual([await page.evaluate(() => gaps), proxy.upgrades], [0, 2]);
});

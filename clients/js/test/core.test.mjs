// The client against the real binary, in Node.js.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { connect as connectTcp } from "node:net";
import { after, afterEach, before, test } from "node:test";

import { WebSocket as OtherWebSocket } from "ws";

import { connect } from "@yamabiko/client";
import { Redis } from "../../../tests/echo/servers.mjs";
import { credentials, ENVIRONMENT, eventually, follow, Line, Node, token } from "./support.mjs";

let redis, node;
before(async () => {
  redis = await Redis.start();
  node = await Node.start({ ...ENVIRONMENT, YAMABIKO__REDIS__URL: redis.url, YAMABIKO__CHANNELS__NOTICE__CLIENT_SEND: "false" });
});
after(async () => {
  await node?.stop();
  await redis?.stop();
});

const open = new Set();
afterEach(() => {
  for (const connection of open) connection.close();
  open.clear();
});

/** A client that is on its channel. */
async function join(channel, { claims, port = node.port, ask = () => credentials(port, channel, claims), ...options } = {}) {
  const connection = connect(ask, options);
  open.add(connection);
  const [states] = follow(connection, "state");
  await states.until(({ state }) => state === "open", "the connection");
  return Object.assign(connection, { states });
}

/** What Laravel publishes. */
async function publish(message) {
  const socket = connectTcp(redis.port, "127.0.0.1");
  const parts = ["PUBLISH", "broadcast", JSON.stringify(message)];
  socket.write(`*3\r\n${parts.map((part) => `$${Buffer.byteLength(part)}\r\n${part}\r\n`).join("")}`);
  await once(socket, "data");
  socket.destroy();
}

test("a message is accepted, arrives, and says who has sent it", async () => {
  const [aoi, ren] = await Promise.all([join("chat:1"), join("chat:1", { claims: { id: 8, name: "Ren" } })]);
  assert.deepEqual([aoi.user, aoi.channel, aoi.state], [{ id: 7, name: "葵" }, "chat:1", "open"]);
  const [inbox] = follow(ren, "message");
  await aoi.send({ message: "やっほー", name: "Aoi" });
  const { sender, data, recovered, type } = await inbox.next();
  assert.deepEqual({ sender, data, recovered, type }, { sender: { name: "葵", id: 7 }, data: { message: "やっほー", name: "Aoi" }, recovered: false, type: "message" });
});

test("a handler can be taken away", async () => {
  const aoi = await join("log:off");
  const [inbox] = follow(aoi, "message");
  const seen = [];
  const off = [1, 2].map((n) => aoi.on("message", () => seen.push(n)));
  await aoi.send({});
  await inbox.next();
  off[0]();
  await aoi.send({});
  await inbox.next();
  assert.deepEqual(seen, [1, 2, 2]);
});

test("messages of the application arrive with their types", async () => {
  const aoi = await join("log:types");
  const [messages, events] = follow(aoi, "message", "event");
  await publish({ channel: "log:types", type: "userTyping", data: { user: 7 } });
  await publish({ channel: "log:types", data: { n: 1 } });
  assert.deepEqual((await messages.next()).data, { n: 1 });
  const { type, data, sender } = await events.next();
  assert.deepEqual({ type, data, sender }, { type: "userTyping", data: { user: 7 }, sender: { name: "System", id: 0 } });
});

test("a refused message rejects with the server's code", async () => {
  const [listener, chat, log] = await Promise.all([join("notice:"), join("chat:1"), join("log:refused")]);
  await assert.rejects(listener.send({}), { name: "SendError", code: "not_allowed", uncertain: false });
  await assert.rejects(chat.send({ target_user_id: 7.5 }), { code: "invalid_message" });
  const answers = await Promise.allSettled([log.send({ n: 1 }), log.send([]), log.send({ n: 3 })]);
  assert.deepEqual(answers.map(({ reason }) => reason?.code), [undefined, "invalid_message", undefined]);
  // The server would answer without the `ref`.
  for (const ref of ["", "x".repeat(65), "山".repeat(22)]) await assert.rejects(log.send({}, { ref }), RangeError);
});

test("the same ref is delivered once", async () => {
  const log = await join("log:ref");
  const [inbox] = follow(log, "message");
  for (const n of [1, 1, 2]) await log.send({ n }, { ref: `r${n}` });
  assert.deepEqual([(await inbox.next()).data.n, (await inbox.next()).data.n], [1, 2]);
});

test("what is sent without a connection is sent when there is one", async () => {
  let admit;
  const connection = connect(() => new Promise((done) => (admit = () => done(credentials(node.port, "log:early")))));
  open.add(connection);
  const [inbox] = follow(connection, "message");
  const sends = [1, 2, 3].map((n) => connection.send({ n }));
  await eventually(() => admit());
  await Promise.all(sends);
  for (const n of [1, 2, 3]) assert.equal((await inbox.next()).data.n, n);
});

test("what was missed arrives once and in order, on the other socket class too", async () => {
  for (const [name, options] of [["global", {}], ["ws", { WebSocket: OtherWebSocket }]]) {
    const channel = `log:missed-${name}`;
    const line = await Line.to(node.port);
    const reader = await join(channel, { port: line.port, ...options });
    const writer = await join(channel);
    const [inbox, recovered] = follow(reader, "message", "recovered");
    await writer.send({ n: 0 });
    await inbox.next();
    line.ports.length = 0;
    line.cut();
    await reader.states.until(({ state }) => state === "waiting", "the cut");
    for (const n of [1, 2, 3]) await writer.send({ n });
    line.ports.push(node.port);
    assert.equal(await recovered.next(), 3);
    for (const n of [1, 2, 3]) assert.deepEqual([(await inbox.next()).data.n, inbox.taken.at(-1).recovered], [n, true]);
    await writer.send({ n: 4 });
    assert.deepEqual([(await inbox.next()).data.n, inbox.taken.at(-1).recovered], [4, false]);
    line.stop();
  }
});

test("on a channel without a history, a page that was away is told of the gap", async () => {
  const line = await Line.to(node.port);
  const reader = await join("plain:1", { port: line.port });
  const [gaps] = follow(reader, "gap");
  assert.deepEqual(gaps.waiting, []);
  line.cut();
  await gaps.next("the gap");
  line.stop();
});

test("a page can start from a position", async () => {
  const writer = await join("log:rendered");
  await writer.send({ n: 1 });
  const [inbox] = follow(writer, "message");
  await writer.send({ n: 2 });
  await inbox.until(({ data }) => data.n === 2, "the second");
  const { since } = writer;
  await writer.send({ n: 3 });
  const reader = connect(() => credentials(node.port, "log:rendered"), { since });
  open.add(reader);
  const [missed] = follow(reader, "message");
  assert.equal((await missed.next()).data.n, 3);
});

test("users of a kind with presence", async () => {
  const aoi = await join("room:1");
  const [joined, left] = follow(aoi, "join", "leave");
  await eventually(() => assert.deepEqual(aoi.users(), [{ id: 7, name: "葵" }]));
  const ren = await join("room:1", { claims: { id: 8, name: "Ren" } });
  assert.deepEqual(await joined.next(), { id: 8, name: "Ren" });
  await eventually(() => assert.deepEqual(ren.users().map(({ id }) => id), [8, 7]));
  ren.close();
  assert.deepEqual(await left.next(), { name: "Ren", id: 8 });
  assert.deepEqual(aoi.users(), [{ id: 7, name: "葵" }]);
});

test("a connection outlives its token", async () => {
  let asked = 0;
  const iat = Math.floor(Date.now() / 1000);
  const ask = () => credentials(node.port, "log:renewed", asked++ ? {} : { exp: iat + 6 });
  const aoi = await join("log:renewed", { ask });
  await eventually(() => assert.equal(asked, 2));
  // Longer than the first token was valid.
  await new Promise((wake) => setTimeout(wake, (iat + 7) * 1000 - Date.now()));
  await aoi.send({});
  assert.deepEqual(aoi.states.waiting, []);
});

test("a connection whose token was not renewed comes back with another one", async () => {
  let asked = 0;
  const aoi = await join("log:expired", {
    ask() {
      if (++asked === 2) throw new Error("the application is down");
      return credentials(node.port, "log:expired", asked === 1 ? { exp: Math.floor(Date.now() / 1000) + 3 } : {});
    },
  });
  const [errors] = follow(aoi, "error");
  assert.equal((await errors.next()).message, "the application is down");
  const ended = await aoi.states.until(({ state }) => state === "waiting", "the end");
  assert.deepEqual([ended.code, ended.reason], [4401, "token expired"]);
  await aoi.states.until(({ state }) => state === "open", "another connection");
  assert.equal(asked, 3);
});

test("who is removed stays away", async () => {
  const aoi = await join("log:removed", { claims: { id: 77 } });
  const answer = await fetch(`http://127.0.0.1:${node.admin}/disconnect`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: '{"user":77}',
  });
  assert.ok(answer.ok, `${answer.status}`);
  const ended = await aoi.states.until(({ state }) => state === "closed", "the end");
  assert.deepEqual([ended.code, ended.reason], [4403, "disconnected"]);
});

test("a token route is asked for JSON", async (context) => {
  const asked = [];
  const route = createServer(({ url, headers }, answer) => {
    asked.push([url, headers.accept]);
    if (asked.length > 1) return answer.writeHead(401).end("{}");
    answer.end(JSON.stringify(credentials(node.port, "log:route")));
  }).listen(0, "127.0.0.1");
  context.after(() => route.close());
  await once(route, "listening");
  const aoi = connect(`http://127.0.0.1:${route.address().port}/websocket/token?room=1`);
  open.add(aoi);
  const [states] = follow(aoi, "state");
  await states.until(({ state }) => state === "open", "the connection");
  aoi.close();
  aoi.connect();
  const { code } = await states.until(({ state, code }) => state === "closed" && code !== 1000, "the refusal");
  assert.deepEqual([code, asked], [401, [1, 2].map(() => ["/websocket/token?room=1", "application/json"])]);
});

test("a token that the server refuses is replaced", async () => {
  let asked = 0;
  const aoi = await join("log:bad", { ask: () => ({ url: `ws://127.0.0.1:${node.port}/ws`, token: asked++ ? token("log:bad") : "a.b.c" }) });
  assert.ok(aoi.states.taken.some(({ state, code }) => state === "waiting" && code === 1006));
});

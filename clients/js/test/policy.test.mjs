// When the client comes back, what it sends again, and what it tells the page: against a socket of the test's own, on a clock of its own.

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { connect } from "@yamabiko/client";
import { pageEvents, token } from "./support.mjs";

class FakeSocket {
  static all = [];
  readyState = 0;
  sent = [];
  constructor(url) {
    this.url = new URL(url);
    FakeSocket.all.push(this);
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close(code) {
    this.readyState = 3;
    this.closedWith = code;
  }
  hear(frame) {
    this.onmessage({ data: JSON.stringify(frame) });
  }
  /** Opens, and answers what was missed. */
  answer(frame = { type: "recovered", count: 0, id: "e-0" }) {
    this.readyState = 1;
    this.hear(frame);
  }
  end(code, reason = "") {
    this.readyState = 3;
    this.onclose({ code, reason });
  }
}

const HERE = { type: "recovered", count: 0, id: "e-0" };
const NO_HISTORY = { type: "gap", id: "0-0" };
const message = (id, data = {}) => ({ type: "message", id, sender: { id: 8, name: "Ren" }, data });

let page, open;
beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_800_000_000_000 });
  mock.method(Math, "random", () => 1);
  FakeSocket.all = [];
  page = pageEvents();
  open = [];
});
afterEach(() => {
  for (const { connection } of open) connection.close();
  mock.timers.reset();
  mock.restoreAll();
});

/** Lets promises run, as the clock stands still. */
const settle = () => new Promise((done) => setImmediate(done));

async function start(options = {}, ask = () => ({ url: "ws://server/ws", token: token("log:1") })) {
  const told = [];
  const connection = connect(ask, { WebSocket: FakeSocket, ...options });
  for (const event of ["message", "event", "recovered", "gap", "users", "join", "leave"]) connection.on(event, (value) => told.push([event, value]));
  connection.on("state", (detail) => told.push([detail.state, detail]));
  open.push({ connection });
  await settle();
  return { connection, told, socket: last(), events: () => told.map(([event]) => event) };
}

const last = () => FakeSocket.all.at(-1);

/** The next connection, after so many milliseconds. */
async function after(ms) {
  const { length } = FakeSocket.all;
  if (ms > 0) {
    mock.timers.tick(ms - 1);
    await settle();
    assert.equal(FakeSocket.all.length, length, `came back before ${ms} ms`);
  }
  mock.timers.tick(1);
  await settle();
  assert.equal(FakeSocket.all.length, length + 1, `did not come back after ${ms} ms`);
  return last();
}

for (const code of [1000, 1002, 1003, 1007, 1009, 4403]) {
  test(`${code} ends the connection for good`, async () => {
    const { connection, socket, told } = await start();
    socket.answer();
    socket.end(code, "why");
    assert.equal(connection.state, "closed");
    assert.deepEqual(told.at(-1), ["closed", { state: "closed", code, reason: "why", error: undefined }]);
    mock.timers.tick(3_600_000);
    await settle();
    assert.equal(FakeSocket.all.length, 1);
    await assert.rejects(connection.send({}), { code: "closed", uncertain: false });
    connection.connect();
    await settle();
    assert.equal(FakeSocket.all.length, 2);
  });
}

for (const [code, waits] of [
  [1001, [500, 1_000, 2_000]],
  [1006, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]],
  [1011, [500, 1_000]],
  [1013, [2_000, 4_000]],
  [4401, [0, 500, 1_000]],
]) {
  test(`after ${code} the client comes back after ${waits.join(", ")} ms, or half of that`, async () => {
    let { socket } = await start();
    for (const share of [1, 0]) {
      Math.random = () => share;
      for (const longest of waits) {
        socket.answer();
        socket.end(code);
        socket = await after(longest * (0.5 + share / 2));
      }
      // One that lasts starts over.
      socket.answer();
      mock.timers.tick(10_001);
      socket.hear(message("e-1"));
      socket.end(code);
      socket = await after(waits[0] * (0.5 + share / 2));
      socket.answer();
      mock.timers.tick(10_001);
    }
  });
}

test("a connection that opens and closes at once does not reset the back-off", async () => {
  let { socket } = await start();
  for (const wait of [500, 1_000, 2_000]) {
    socket.answer();
    mock.timers.tick(9_000);
    socket.end(1006);
    socket = await after(wait);
  }
});

test("an attempt without an answer is given up after 20 seconds", async () => {
  const { socket, told } = await start();
  socket.readyState = 1;
  mock.timers.tick(20_000);
  assert.equal(socket.closedWith, 1000);
  assert.deepEqual([told.at(-1)[0], told.at(-1)[1].reason], ["waiting", "timeout"]);
  await after(500);
});

test("a token that never comes is waited for 20 seconds, and is useless afterwards", async () => {
  let deliver;
  const { connection } = await start({}, () => new Promise((done) => (deliver = done)));
  mock.timers.tick(20_000);
  deliver({ url: "ws://server/ws", token: token("log:1") });
  await settle();
  assert.deepEqual([connection.state, FakeSocket.all.length], ["waiting", 0]);
});

test("frames of an abandoned connection are ignored", async () => {
  const { socket, told } = await start();
  socket.answer();
  socket.end(1006);
  const next = await after(500);
  socket.hear(message("e-1"));
  next.answer({ type: "recovered", count: 1 });
  next.hear(message("e-1"));
  socket.end(4403);
  assert.deepEqual(told.filter(([event]) => event === "message").length, 1);
});

test("the position is the id of the newest frame, and only the first answer is not worth telling", async () => {
  let { socket, connection, told, events } = await start();
  assert.equal(socket.url.searchParams.get("since"), "");
  socket.answer();
  socket.hear(message("e-1"));
  socket.hear({ ...message("e-2"), type: "userTyping" });
  assert.equal(connection.since, "e-2");
  assert.deepEqual(events(), ["open", "message", "event"]);
  assert.deepEqual(told[2][1], { type: "userTyping", id: "e-2", sender: { id: 8, name: "Ren" }, data: {}, recovered: false });
  socket.end(1006);
  socket = await after(500);
  assert.equal(socket.url.searchParams.get("since"), "e-2");
  told.length = 0;
  socket.answer({ type: "recovered", count: 2 });
  for (const id of ["e-3", "e-4", "e-5"]) socket.hear(message(id));
  assert.deepEqual(events(), ["open", "recovered", "message", "message", "message"]);
  assert.deepEqual(told.slice(1, 2), [["recovered", 2]]);
  assert.deepEqual(told.slice(2).map(([, { recovered }]) => recovered), [true, true, false]);
});

test("a gap is told unless the page has just begun", async () => {
  let { socket, events, told } = await start();
  socket.answer(NO_HISTORY);
  assert.ok(!events().includes("gap"));
  socket.end(1006);
  socket = await after(500);
  socket.answer(NO_HISTORY);
  assert.deepEqual(events().slice(-2), ["open", "gap"]);
  told.length = 0;
  socket.hear({ type: "gap" });
  assert.deepEqual(events(), ["gap"]);
});

test("a first answer without a position is a gap when the client comes back", async () => {
  let { socket, events } = await start();
  socket.answer({ type: "gap" });
  assert.ok(!events().includes("gap"));
  socket.end(1006);
  socket = await after(500);
  socket.answer(HERE);
  assert.equal(events().at(-1), "gap");
});

test("a rendered page starts from its position", async () => {
  const { socket, events } = await start({ since: "e-9" });
  assert.equal(socket.url.searchParams.get("since"), "e-9");
  socket.answer({ type: "gap", id: "f-1" });
  assert.equal(events().at(-1), "gap");
});

test("on a channel with a history, unanswered messages are sent again with the same ref", async () => {
  let { socket, connection } = await start();
  const sends = [1, 2, 3].map((n) => connection.send({ n }));
  assert.deepEqual(socket.sent, []);
  socket.answer();
  const refs = socket.sent.map(({ ref }) => ref);
  assert.equal(new Set(refs).size, 3);
  socket.hear({ type: "sended", ok: true, ref: refs[1] });
  await sends[1];
  socket.end(1006);
  sends.push(connection.send({ n: 4 }));
  socket = await after(500);
  assert.deepEqual(socket.sent, []);
  socket.answer();
  assert.deepEqual(socket.sent.map(({ data }) => data.n), [1, 3, 4]);
  assert.deepEqual(socket.sent.slice(0, 2).map(({ ref }) => ref), [refs[0], refs[2]]);
  for (const { ref } of socket.sent) socket.hear({ type: "sended", ok: true, ref });
  await Promise.all(sends);
});

test("on a channel without a history, messages are sent one at a time and never again", async () => {
  let { socket, connection } = await start();
  const sends = [1, 2, 3].map((n) => connection.send({ n }));
  socket.answer(NO_HISTORY);
  assert.equal(socket.sent.length, 1);
  socket.hear({ type: "sended", ok: true });
  await sends[0];
  assert.equal(socket.sent.length, 2);
  socket.end(1006);
  socket = await after(500);
  const refused = assert.rejects(sends[1], { name: "SendError", code: "disconnected", uncertain: true });
  socket.answer(NO_HISTORY);
  await refused;
  assert.deepEqual(socket.sent.map(({ data }) => data.n), [3]);
  socket.hear({ type: "sended", ok: false, error: { code: "not_allowed", message: "no" } });
  await assert.rejects(sends[2], { code: "not_allowed", message: "no", uncertain: false });
});

for (const [why, prepare] of [
  ["whose history has been switched off", (socket) => socket.answer(NO_HISTORY)],
  ["that the server may have forgotten", (socket) => (mock.timers.tick(240_000), socket.answer())],
]) {
  test(`a message is not sent again on a channel ${why}`, async () => {
    let { socket, connection } = await start();
    socket.answer();
    const failed = assert.rejects(connection.send({}, { timeout: 900_000 }), { code: "disconnected", uncertain: true });
    assert.equal(socket.sent.length, 1);
    socket.end(1006);
    socket = await after(500);
    prepare(socket);
    // Four minutes later, the attempt has been given up, and another one succeeds.
    for (; connection.state !== "open"; last().answer()) {
      mock.timers.tick(30_000);
      await settle();
    }
    await failed;
    assert.ok(FakeSocket.all.slice(1).every(({ sent }) => sent.length === 0));
  });
}

test("a message that nobody waits for any more keeps its place among the answers, and is not sent again", async () => {
  const { socket, connection } = await start();
  socket.answer(NO_HISTORY);
  const late = assert.rejects(connection.send({ n: 1 }, { timeout: 1_000 }), { code: "timeout", uncertain: true });
  const queued = assert.rejects(connection.send({ n: 2 }, { timeout: 1_000 }), { code: "timeout", uncertain: false });
  const third = connection.send({ n: 3 });
  mock.timers.tick(1_000);
  await Promise.all([late, queued]);
  assert.deepEqual(socket.sent.map(({ data }) => data.n), [1]);
  socket.hear({ type: "sended", ok: false, error: { code: "unavailable", message: "" } });
  assert.deepEqual(socket.sent.map(({ data }) => data.n), [1, 3]);
  socket.hear({ type: "sended", ok: true });
  await third;

  const history = await start();
  history.socket.answer();
  await Promise.all([assert.rejects(history.connection.send({}, { timeout: 10 }), { code: "timeout" }), mock.timers.tick(10)]);
  history.socket.end(1006);
  (await after(500)).answer();
  assert.deepEqual(last().sent, []);
});

test("a ref of the page's own is used, and closing rejects what waits", async () => {
  const { socket, connection } = await start();
  socket.answer();
  const sends = [connection.send({ n: 1 }, { ref: "mine", timeout: Infinity })];
  assert.equal(socket.sent[0].ref, "mine");
  socket.end(1006);
  sends.push(connection.send({ n: 2 }));
  connection.close();
  await assert.rejects(sends[0], { code: "closed", ref: "mine", uncertain: true });
  await assert.rejects(sends[1], { code: "closed", uncertain: false });
});

test("the network's return ends the wait, and checks a connection that has been silent", async () => {
  let { socket, connection } = await start();
  socket.end(1006);
  page.dispatchEvent(new Event("online"));
  await settle();
  assert.equal(FakeSocket.all.length, 2);
  socket = last();
  socket.answer();
  page.dispatchEvent(new Event("online"));
  assert.deepEqual(socket.sent, []);
  // An answer of any kind is a sign of life.
  mock.timers.tick(30_001);
  page.dispatchEvent(new Event("online"));
  assert.deepEqual(socket.sent.map(({ type }) => type), ["auth"]);
  assert.equal(socket.sent[0].token, socket.url.searchParams.get("token"));
  socket.hear({ type: "auth", ok: true });
  mock.timers.tick(5_000);
  assert.equal(connection.state, "open");
  // Silence is none.
  mock.timers.tick(30_001);
  page.dispatchEvent(new Event("online"));
  mock.timers.tick(5_000);
  assert.equal(connection.state, "waiting");
  await after(500);
  // Without the page's events, nothing of this.
  const alone = await start({ lifecycle: false });
  alone.socket.end(1006);
  const { length } = FakeSocket.all;
  page.dispatchEvent(new Event("online"));
  await settle();
  assert.equal(FakeSocket.all.length, length);
});

test("a page in the back/forward cache has no connection, and gets one when it is shown again", async () => {
  const { socket, connection } = await start();
  socket.answer();
  page.dispatchEvent(Object.assign(new Event("pagehide"), { persisted: false }));
  assert.equal(connection.state, "open");
  page.dispatchEvent(Object.assign(new Event("pagehide"), { persisted: true }));
  assert.deepEqual([connection.state, socket.closedWith], ["waiting", 1000]);
  mock.timers.tick(3_600_000);
  await settle();
  assert.equal(FakeSocket.all.length, 1);
  page.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
  await settle();
  assert.equal(last().url.searchParams.get("since"), "e-0");
  connection.close();
  for (const type of ["online", "pageshow"]) page.dispatchEvent(Object.assign(new Event(type), { persisted: true }));
  await settle();
  assert.equal(FakeSocket.all.length, 2);
});

const HOUR = { iat: 1_700_000_000, exp: 1_700_003_600 };

test("a token is renewed a minute before it expires by the application's clock, or after half of a short life", async () => {
  for (const [lifetime, delay] of [[3_600, 3_540_000], [60, 30_000]]) {
    let asked = 0;
    const { socket, connection } = await start({}, () => ({
      url: "ws://server/ws",
      token: token("log:1", { ...HOUR, exp: HOUR.iat + lifetime, jti: `${++asked}` }),
    }));
    socket.answer();
    for (const round of [2, 3]) {
      mock.timers.tick(delay - 1);
      await settle();
      assert.equal(asked, round - 1);
      mock.timers.tick(1);
      await settle();
      assert.equal(asked, round);
      assert.equal(JSON.parse(atob(socket.sent.at(-1).token.split(".")[1])).jti, `${round}`);
      socket.hear({ type: "auth", ok: true });
    }
    assert.equal(connection.state, "open");
    connection.close();
  }
});

test("a renewal for another channel leads to another connection; other refusals are told", async () => {
  const { socket, connection } = await start({}, () => ({ url: "ws://server/ws", token: token("log:1", HOUR) }));
  const errors = [];
  connection.on("error", (error) => errors.push(error.message));
  socket.answer();
  mock.timers.tick(3_540_000);
  await settle();
  socket.hear({ type: "auth", ok: false, error: { code: "revoked", message: "the token is revoked" } });
  assert.deepEqual([errors, connection.state], [["the token is revoked"], "open"]);
  socket.hear({ type: "auth", ok: false, error: { code: "other_identity", message: "" } });
  await after(0);
});

test("users who came and went while the page was away are told", async () => {
  let { socket, told, connection } = await start();
  const [aoi, ren, yui] = [{ id: 7, name: "葵" }, { id: 8, name: "Ren" }, { id: "9", name: "Yui" }];
  const change = (type, user) => ({ type, sender: { id: 0, name: "System" }, data: { user } });
  assert.deepEqual(connection.users(), []);
  socket.answer();
  told.length = 0;
  socket.hear({ type: "connected", users: [ren] });
  socket.hear(change("connectOther", aoi));
  socket.hear(change("connectOther", yui));
  socket.hear(change("disconnectOther", ren));
  assert.deepEqual(told, [["users", [aoi, ren]], ["users", [aoi, ren]], ["join", yui], ["users", [aoi, ren, yui]], ["leave", ren], ["users", [aoi, yui]]]);
  socket.end(1006);
  socket = await after(500);
  socket.answer();
  told.length = 0;
  socket.hear({ type: "connected", users: [ren] });
  assert.deepEqual(told, [["leave", yui], ["join", ren], ["users", [aoi, ren]]]);
  assert.deepEqual(connection.users(), [aoi, ren]);
});

for (const status of [401, 403]) {
  test(`an application that answers ${status} is not asked again`, async () => {
    let asked = 0;
    const { connection, told } = await start({}, () => (asked++, new Response("{}", { status })));
    await settle();
    assert.equal(connection.state, "closed");
    const { code, reason, error } = told.at(-1)[1];
    assert.deepEqual([code, reason, error.name, error.status], [status, `no token: the application answered ${status}`, "TokenError", status]);
    mock.timers.tick(3_600_000);
    await settle();
    assert.equal(asked, 1);
  });
}

for (const [what, answer, reason] of [
  ["500", () => new Response("oops", { status: 500 }), /answered 500/],
  ["a login page", () => new Response("<!doctype html>"), /JSON/],
  ["null", () => null, /must have a `token`/],
  ["no token", () => ({ url: "ws://server/ws" }), /must have a `token`/],
  ["no address", () => ({ token: "x" }), /URL/],
  ["an error", () => Promise.reject(new Error("offline")), /offline/],
]) {
  test(`a token route that answers ${what} is asked again`, async () => {
    let asked = 0;
    const { told } = await start({}, () => (asked++, answer()));
    await settle();
    assert.equal(told.at(-1)[0], "waiting");
    assert.match(told.at(-1)[1].reason, reason);
    mock.timers.tick(500);
    await settle();
    assert.equal(asked, 2);
  });
}

test("tokens come as responses, objects or texts", async () => {
  for (const answer of [
    new Response(JSON.stringify({ url: "wss://server/ws", token: "a.b.c" })),
    { url: "https://server/ws", token: "a.b.c" },
    "a.b.c",
  ]) {
    const { socket, connection } = await start({ url: "wss://server/ws?x=1" }, () => answer);
    await settle();
    const { protocol, host, pathname, searchParams } = last().url;
    assert.deepEqual([protocol, host, pathname, searchParams.get("token")], ["wss:", "server", "/ws", "a.b.c"]);
    assert.equal(socket === undefined || connection.channel === undefined, true);
  }
});

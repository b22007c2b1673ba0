// The suites of pages over the connector of clients/js, in place of pusher-js, and what it does better.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, afterEach, before, describe, test } from "node:test";

process.env.ECHO_CONNECTOR = "1";
const { Application } = await import("./application.mjs");
const { closeAll, eventually, Inbox, present, subscribed, tab } = await import("./client.mjs");
const { Line } = await import("./line.mjs");
const { twoNodes } = await import("./servers.mjs");
await import("./channels.test.mjs");
await import("./users.test.mjs");

const HISTORY = { YAMABIKO__PUSHER__HISTORY: '[{ channels = ["private-*", "presence-*"], messages = 5000, age = "2m" }]' };
const CUTS = 5;

describe("a page with the connector", () => {
  let servers, application, line;
  before(async () => {
    servers = await twoNodes(HISTORY);
    application = await Application.start(servers.a);
    line = await Line.to(servers.a.port, servers.b.port);
  });
  after(async () => {
    line?.stop();
    application?.stop();
    await servers?.stop();
  });
  afterEach(closeAll);

  test("gets each message once and in order although its line is cut, with the same socket id, and nobody sees it leave", async () => {
    const watcher = await present(await tab(servers.b, application, "haru"), "Room.1");
    const echo = await tab(line, application, "aoi");
    const [numbers, told, statuses] = [new Inbox(), new Inbox(), new Inbox()];
    const channel = echo.private("Numbers.1").listen("Numbered", ({ number }) => numbers.put(number));
    channel.listen(".yamabiko:recovered", ({ count }) => told.put(count)).listen(".yamabiko:gap", () => told.put("gap"));
    await subscribed(channel);
    await present(echo, "Room.1");
    await watcher.joining.until((name) => name === "Aoi", "Aoi");
    echo.connector.onConnectionChange(statuses.put);
    const [id, signatures] = [echo.socketId(), application.signatures];

    let isOver = false;
    const publishing = (async () => {
      let number = 0;
      for (; !isOver; number++) await servers.a.sdk().trigger("private-Numbers.1", "App\\Events\\Numbered", { number });
      return number;
    })();
    let missed = 0;
    for (let cut = 0; cut < CUTS; cut++) {
      line.ports.reverse(); // To the other node.
      line.cut();
      const count = await told.next("what was missed");
      assert.equal(typeof count, "number", count);
      missed += count;
    }
    isOver = true;
    const count = await publishing;
    await eventually(() => assert.equal(numbers.waiting.length, count));
    assert.deepEqual(numbers.waiting, Array.from({ length: count }, (_, number) => number));
    assert.ok(missed > 0);
    assert.deepEqual([echo.socketId(), application.signatures], [id, signatures]);
    assert.deepEqual([watcher.leaving.waiting, watcher.joining.waiting], [[], []]);
    assert.deepEqual(new Set(statuses.waiting), new Set(["connecting", "connected"]));
    assert.equal(echo.connectionStatus(), "connected");
  });

  test("gets notifications until it stops listening", async () => {
    const echo = await tab(servers.a, application, "aoi");
    const [first, second] = [new Inbox(), new Inbox()];
    const channel = echo.private("App.Models.User.7").notification(first.put).notification(second.put);
    await subscribed(channel);
    const notify = (n) => servers.b.sdk().trigger("private-App.Models.User.7", "Illuminate\\Notifications\\Events\\BroadcastNotificationCreated", { n });
    await notify(1);
    for (const inbox of [first, second]) assert.deepEqual(await inbox.next(), { n: 1 });
    channel.stopListeningForNotification(first.put);
    await notify(2);
    assert.deepEqual(await second.next(), { n: 2 });
    assert.deepEqual(first.waiting, []);
  });

  test("a channel that is left and joined at once is subscribed to", async () => {
    const echo = await tab(servers.a, application, "aoi");
    echo.private("Chat.9");
    echo.leave("Chat.9");
    const inbox = new Inbox();
    await subscribed(echo.private("Chat.9").listen("ChatMessageSent", inbox.put));
    await servers.b.sdk().trigger("private-Chat.9", "App\\Events\\ChatMessageSent", { n: 1 });
    assert.deepEqual(await inbox.next(), { n: 1 });
  });

  test("signatures come from an authorizer or with what providers add, as with pusher-js", async () => {
    const sign = (socketId, channel) => application.authorize({ id: 7, name: "Aoi" }, socketId, channel);
    const authorizer = ({ name }) => ({ authorize: (socketId, done) => sign(socketId, name).then((data) => done(null, data), done) });
    const provided = { endpoint: `${application.url}/broadcasting/auth`, headersProvider: () => ({ Authorization: "Bearer aoi" }), paramsProvider: () => ({ x: "1" }) };
    for (const options of [{ authorizer, authEndpoint: "http://127.0.0.1:9" }, { channelAuthorization: provided }]) {
      await subscribed((await tab(servers.a, application, "nobody", options)).private("TestChannel.7"));
    }
  });

  test("an application that answers without a signature is told as an error of the subscription", async () => {
    const answers = ["<!doctype html>", "null", "{}"];
    const login = createServer((_, response) => response.end(answers.shift())).listen(0, "127.0.0.1");
    await once(login, "listening");
    try {
      const echo = await tab(servers.a, application, "aoi", { authEndpoint: `http://127.0.0.1:${login.address().port}/auth` });
      for (const name of ["A", "B", "C"]) await assert.rejects(subscribed(echo.private(name)), { type: "AuthError", status: 200 });
    } finally {
      login.close();
      login.closeAllConnections();
    }
  });

  test("what is no client event is not sent", async () => {
    const echo = await tab(servers.a, application, "aoi", { nacl: {} });
    echo.encryptedPrivate("Secret");
    const { pusher } = echo.connector;
    assert.throws(() => echo.encryptedPrivate("Secret").whisper("typing", {}), /"client-typing" is not a client event of private-encrypted-Secret/);
    assert.throws(() => pusher.subscribe("news").trigger("typing", {}), /"typing" is not a client event of news/);
    assert.throws(() => pusher.subscribe("#server-to-user-1"), /"#server-to-user-1" is not a channel name/);
  });
});

// Every kind of channel, with Echo on one side and Pusher's SDK on the other.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import { Application } from "./application.mjs";
import { closeAll, dial, Inbox, listening, subscribed, tab } from "./client.mjs";
import { Node, SETUPS } from "./servers.mjs";

const MESSAGE = { message: "やっほー", user: { id: 7, name: "Aoi" } };

for (const [where, setUp] of SETUPS) {
  describe(where, () => {
    let servers, application, a, b;
    before(async () => {
      servers = await setUp({ YAMABIKO__PUSHER__SUBSCRIPTION_COUNT: "true" });
      ({ a, b } = servers);
      application = await Application.start(a);
    });
    after(async () => {
      application?.stop();
      await servers?.stop();
    });
    afterEach(closeAll);

    for (const broadcaster of ["pusher", "reverb"]) {
      test(`the application's own channels, with the broadcaster ${broadcaster}`, async () => {
        const [aoi, haru] = await Promise.all([
          tab(a, application, "aoi", { broadcaster }),
          tab(b, application, "haru", { broadcaster }),
        ]);
        const chats = await Promise.all([aoi, haru].map((echo) => listening(echo.private("Chat.1"), "ChatMessageSent")));
        const other = await listening(haru.private("Chat.2"), "ChatMessageSent");
        const own = await listening(aoi.private("TestChannel.7"), "MessageSent");
        await b.sdk().trigger("private-Chat.1", "App\\Events\\ChatMessageSent", MESSAGE);
        await b.sdk().trigger("private-TestChannel.7", "App\\Events\\MessageSent", { message: "for you", id: 7 });
        for (const chat of chats) assert.deepEqual(await chat.next(), MESSAGE);
        assert.deepEqual(await own.next(), { message: "for you", id: 7 });
        await b.sdk().trigger("private-Chat.2", "App\\Events\\ChatMessageSent", { message: "2" });
        assert.deepEqual(await other.next(), { message: "2" });
        assert.deepEqual(chats[1].waiting, []);
      });
    }

    test("a public channel needs no authorisation", async () => {
      const echo = await tab(a, application, "nobody");
      const news = await listening(echo.channel("news"), ".posted");
      await b.sdk().trigger("news", "posted", { title: "山彦" });
      assert.deepEqual(await news.next(), { title: "山彦" });
    });

    test("another user's channel is refused, by the application", async () => {
      const echo = await tab(a, application, "haru");
      await assert.rejects(subscribed(echo.private("TestChannel.7")), { type: "AuthError", status: 403 });
    });

    test("a signature with another secret, or for another channel, is refused, and the connection stays", async () => {
      const signed = {
        "private-forged": (socket) => a.sdk({ secret: "not the secret" }).authorizeChannel(socket, "private-forged"),
        "private-borrowed": (socket) => a.sdk().authorizeChannel(socket, "private-mine"),
      };
      const echo = await tab(a, application, "aoi", {
        channelAuthorization: {
          customHandler: ({ socketId, channelName }, done) => done(null, signed[channelName](socketId)),
        },
      });
      for (const channel of ["forged", "borrowed"]) {
        await assert.rejects(subscribed(echo.private(channel)), { type: "AuthError", status: 401 });
      }
      await subscribed(echo.channel("still-here"));
    });

    test("an encrypted event is readable only by the application and its subscribers", async () => {
      const [aoi, haru] = await Promise.all([tab(a, application, "aoi"), tab(b, application, "haru")]);
      const secret = await listening(aoi.encryptedPrivate("Diary"), ".entry");
      const onTheWire = new Inbox();
      haru.pusher.connection.bind("message", ({ event, data }) => event === "entry" && onTheWire.put(data));
      await subscribed(haru.encryptedPrivate("Diary"));
      await b.sdk().trigger("private-encrypted-Diary", "entry", { text: "open sesame" });
      assert.deepEqual(await secret.next(), { text: "open sesame" });
      assert.deepEqual(Object.keys(await onTheWire.next()).sort(), ["ciphertext", "nonce"]);
    });

    for (const [name, join] of [
      ["cache-", (echo, channel) => echo.channel(`cache-${channel}`)],
      ["private-cache-", (echo, channel) => echo.private(`cache-${channel}`)],
      ["private-encrypted-cache-", (echo, channel) => echo.encryptedPrivate(`cache-${channel}`)],
      ["presence-cache-", (echo, channel) => echo.join(`cache-${channel}`)],
    ]) {
      test(`${name} channels start with the last event`, async () => {
        const aoi = await tab(b, application, "aoi");
        const miss = new Inbox();
        const early = await listening(join(aoi, "state").on("pusher:cache_miss", () => miss.put("missed")), ".changed");
        await miss.next("the cache miss");
        const channel = `${name}state`;
        for (const to of [1, 2]) {
          await a.sdk().trigger(channel, "changed", { to });
          assert.deepEqual(await early.next(), { to });
        }
        const haru = await tab(b, application, "haru");
        const late = await listening(join(haru, "state").on("pusher:cache_miss", () => miss.put("missed")), ".changed");
        assert.deepEqual(await late.next(), { to: 2 });
        await a.sdk().trigger(channel, "changed", { to: 3 });
        assert.deepEqual(await late.next(), { to: 3 });
        assert.deepEqual(miss.waiting, []);
      });
    }

    test("a whisper reaches the others, not its sender", async () => {
      const [aoi, haru, sora] = await Promise.all([tab(a, application, "aoi"), tab(b, application, "haru"), tab(a, application, "sora")]);
      const heard = await Promise.all([aoi, haru, sora].map(async (echo) => {
        const inbox = new Inbox();
        await subscribed(echo.private("Chat.1").listenForWhisper("typing", inbox.put));
        return inbox;
      }));
      aoi.private("Chat.1").whisper("typing", { name: "Aoi" });
      for (const inbox of heard.slice(1)) assert.deepEqual(await inbox.next(), { name: "Aoi" });
      haru.private("Chat.1").whisper("typing", { name: "Haru" });
      // One order for all: had the first come back, it would have come before the second.
      assert.deepEqual(await heard[0].next(), { name: "Haru" });
      assert.deepEqual(await heard[2].next(), { name: "Haru" });
      assert.deepEqual(heard[1].waiting, []);
    });

    test("a whisper on a presence channel tells who it is from", async () => {
      const [aoi, haru] = await Promise.all([tab(a, application, "aoi"), tab(b, application, "haru")]);
      await Promise.all([aoi, haru].map((echo) => subscribed(echo.join("Room.1"))));
      const metadata = new Inbox();
      haru.pusher.channel("presence-Room.1").bind("client-typing", (_, about) => metadata.put(about));
      aoi.join("Room.1").whisper("typing", {});
      assert.deepEqual(await metadata.next(), { user_id: "7" });
    });

    test("client events are refused without a subscription, on public or encrypted channels, and under reserved names", async () => {
      const [aoi, haru] = await Promise.all([tab(a, application, "aoi"), tab(b, application, "haru")]);
      await Promise.all([subscribed(aoi.encryptedPrivate("Diary")), subscribed(aoi.channel("news")), subscribed(aoi.private("mine"))]);
      const heard = new Inbox();
      const frames = ({ event, data }) => !event.startsWith("pusher") && heard.put([event, data]);
      haru.pusher.connection.bind("message", frames);
      await Promise.all([
        ...["Chat.1", "mine"].map((name) => subscribed(haru.private(name))),
        subscribed(haru.channel("news")),
        subscribed(haru.encryptedPrivate("Diary")),
      ]);
      const attempts = [
        ["client-x", "private-Chat.1"],
        ["client-x", "news"],
        ["client-x", "private-encrypted-Diary"],
        ["App\\Events\\ChatMessageSent", "private-mine"],
        ["pusher_internal:member_added", "private-mine"],
      ];
      for (const [event, channel] of attempts) {
        aoi.pusher.send_event(event, { by: "aoi" }, channel);
        await aoi.errors.next(`a refusal of ${event} on ${channel}`);
      }
      aoi.private("mine").whisper("last", {});
      assert.deepEqual(await heard.next(), ["client-last", {}]);
    });

    test("more than ten whispers a second are refused with 4301", async () => {
      const [aoi, haru] = await Promise.all([tab(a, application, "aoi"), tab(b, application, "haru")]);
      await subscribed(aoi.private("flood"));
      const heard = new Inbox();
      await subscribed(haru.private("flood").listenForWhisper("n", heard.put));
      const started = Date.now();
      for (let n = 0; n < 100; n += 1) aoi.private("flood").whisper("n", { n });
      assert.equal((await aoi.errors.next("the refusal")).code, 4301);
      // The allowance grows again, by ten a second.
      await new Promise((wake) => setTimeout(wake, 1_100));
      aoi.private("flood").whisper("n", { n: "later" });
      const all = [];
      do all.push((await heard.next()).n); while (all.at(-1) !== "later");
      assert.deepEqual(all.slice(0, 10), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
      const allowed = 11 + (Date.now() - started) / 100;
      assert.ok(all.length <= allowed && all.length < 100, `${all.length} came through, ${allowed} were allowed`);
      assert.equal(aoi.connectionStatus(), "connected");
    });

    test("toOthers leaves out the sender's tab only, on whichever node it is", async () => {
      const [first, second, haru] = await Promise.all([tab(b, application, "aoi"), tab(a, application, "aoi"), tab(b, application, "haru")]);
      const inboxes = await Promise.all([first, second, haru].map((echo) => listening(echo.private("Chat.3"), "ChatMessageSent")));
      // The application calls node a; the first tab is on b.
      const answer = await fetch(`${application.url}/messages`, {
        method: "POST",
        headers: { Authorization: "Bearer aoi", "X-Socket-ID": first.socketId() },
        body: JSON.stringify({ room: 3, message: "to the others" }),
      });
      assert.equal(answer.status, 200);
      for (const inbox of inboxes.slice(1)) assert.equal((await inbox.next()).message, "to the others");
      await a.sdk().trigger("private-Chat.3", "App\\Events\\ChatMessageSent", { message: "to all" });
      for (const inbox of inboxes) assert.equal((await inbox.next()).message, "to all");
    });

    test("a client that left a channel receives nothing from it, and can subscribe again", async () => {
      const echo = await tab(a, application, "aoi");
      const before = await listening(echo.channel("door"), ".knock");
      const steady = await listening(echo.channel("window"), ".knock");
      echo.leave("door");
      await b.sdk().trigger(["door", "window"], "knock", { n: 1 });
      await steady.next();
      // The answer to the second subscription comes after everything that was on its way.
      const after = await listening(echo.channel("door"), ".knock");
      await b.sdk().trigger("door", "knock", { n: 2 });
      assert.deepEqual(await after.next(), { n: 2 });
      assert.deepEqual(before.waiting, []);
    });

    test("subscribers are counted on all nodes", async () => {
      const aoi = await tab(a, application, "aoi");
      const counts = new Inbox();
      await subscribed(aoi.channel("crowd").on("pusher:subscription_count", ({ subscription_count: count }) => counts.put(count)));
      const haru = await tab(b, application, "haru");
      await subscribed(haru.channel("crowd"));
      await counts.until((count) => count === 2, "the second subscriber");
      haru.disconnect();
      await counts.until((count) => count === 1, "one less");
    });
  });
}

describe("connecting", () => {
  let node, application;
  before(async () => {
    node = await Node.start();
    application = await Application.start(node);
  });
  after(async () => {
    application?.stop();
    await node?.stop();
  });
  afterEach(closeAll);

  test("an unknown app key closes with 4001, and the client does not reconnect", async () => {
    const echo = dial(node, application, "aoi", { key: "no-such-key" });
    assert.equal((await echo.errors.next()).code, 4001);
    const attempts = new Inbox();
    echo.pusher.connection.bind("connecting", attempts.put);
    await new Promise((wake) => setTimeout(wake, 1_500));
    assert.deepEqual(attempts.waiting, []);
    assert.notEqual(echo.connectionStatus(), "connected");
  });

  test("the client's pings are answered", async () => {
    const echo = await tab(node, application, "aoi", { activityTimeout: 300, pongTimeout: 2_000 });
    const frames = new Inbox();
    echo.pusher.connection.bind("message", ({ event }) => frames.put(event));
    for (let n = 0; n < 3; n += 1) assert.equal(await frames.next("a pong"), "pusher:pong");
    assert.equal(echo.connectionStatus(), "connected");
  });
});

// What an Echo page goes through when servers, or Redis, come and go.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import { Application } from "./application.mjs";
import { closeAll, connected, eventually, Inbox, listening, present, subscribed, tab } from "./client.mjs";
import { oneNode, SETUPS, twoNodes } from "./servers.mjs";

for (const [where, setUp] of SETUPS) {
  describe(where, () => {
    let servers, application;
    before(async () => {
      servers = await setUp();
      application = await Application.start(servers.a);
    });
    after(async () => {
      application?.stop();
      await servers?.stop();
    });
    afterEach(closeAll);

    test("a page with 300 channels is subscribed to all of them at each connection", async () => {
      const echo = await tab(servers.a, application, "aoi");
      const names = Array.from({ length: 300 }, (_, number) => `news.${number}`);
      const channels = names.map((name) => echo.channel(name));
      for (let round = 0; round < 2; round++) {
        await Promise.all(channels.map((channel) => (channel.subscription.subscribed ? undefined : subscribed(channel))));
        if (round === 0) {
          echo.pusher.disconnect();
          echo.pusher.connect();
          await connected(echo);
        }
      }
      assert.deepEqual(names.filter((name) => !echo.pusher.channel(name).subscribed), []);
      assert.deepEqual(echo.errors.waiting, []);
    });

    for (const signal of ["SIGTERM", "SIGKILL"]) {
      test(`after ${signal}, Echo comes back by itself, with its channels`, async () => {
        const { a } = servers;
        const echo = await tab(a, application, "aoi");
        const { connection } = echo.pusher;
        const chat = await listening(echo.private("Chat.1"), "ChatMessageSent");
        const room = await present(echo, "Room.1");
        assert.deepEqual(await room.here.next(), ["Aoi"]);
        await a.stop(signal);
        if (signal === "SIGTERM") {
          // To another node at once, or a second later to this one.
          assert.equal((await echo.errors.next("the close code")).code, servers.b === a ? 4100 : 4200);
        }
        await a.start();
        await connected(echo);
        assert.deepEqual(await room.here.next("the members once more", 30_000), ["Aoi"]);
        // The private channel was subscribed to before the presence channel, in this order.
        await a.sdk().trigger("private-Chat.1", "App\\Events\\ChatMessageSent", { message: "back" });
        assert.equal((await chat.next()).message, "back");
        assert.equal(connection.state, "connected");
      });
    }
  });
}

// pusher-js waits 15 seconds after a refused handshake: a client that met one does not return sooner.
const BACK_MS = 10_000;

const PATIENT = { YAMABIKO__SERVER__SHUTDOWN_GRACE: "30s" };
const ALONE = [
  ["in memory", () => oneNode(PATIENT)],
  ["on Redis, beside a node that was killed", async () => {
    const servers = await twoNodes(PATIENT);
    await servers.b.stop("SIGKILL");
    return servers;
  }],
];

describe("a node without others that is restarted at once", () => {
  afterEach(closeAll);

  for (const [where, setUp] of ALONE) {
    test(`gets all pages back before they would back off, ${where}`, async (context) => {
      const servers = await setUp();
      context.after(() => servers.stop());
      const { a } = servers;
      const pages = await Promise.all(Array.from({ length: 20 }, async (_, index) => {
        // Half of them as an application without the option has them.
        const echo = await tab(a, { url: "http://127.0.0.1:9" }, "aoi", index % 2 ? {} : { enabledTransports: undefined });
        return { echo, news: await listening(echo.channel("news"), ".said") };
      }));
      const stopped = Date.now();
      await a.stop("SIGTERM");
      await a.start();
      await Promise.all(pages.map(async ({ echo }) => {
        await connected(echo);
        assert.ok(Date.now() - stopped < BACK_MS, "it met a refusal");
        assert.equal((await echo.errors.next("the close code")).code, 4100);
      }));
      await eventually(async () => {
        const { subscription_count: count } = await a.get("/channels/news", { info: "subscription_count" });
        assert.equal(count, pages.length);
      });
      await a.sdk().trigger("news", "said", { message: "back" });
      for (const { news } of pages) assert.equal((await news.next()).message, "back");
    });
  }
});

describe("when Redis restarts", () => {
  let servers, application;
  before(async () => {
    servers = await twoNodes();
    application = await Application.start(servers.a);
  });
  after(async () => {
    application?.stop();
    await servers?.stop();
  });
  afterEach(closeAll);

  test("delivery and presence continue on the same connections", async () => {
    const { a, b, redis } = servers;
    const [aoi, haru] = await Promise.all([tab(a, application, "aoi"), tab(b, application, "haru")]);
    const chat = await listening(haru.private("Chat.1"), "ChatMessageSent");
    const room = await present(haru, "Room.1");
    await present(aoi, "Room.1");
    await room.joining.until((name) => name === "Aoi", "Aoi");
    const [before, other] = [aoi.socketId(), haru.socketId()];
    await redis.stop("SIGKILL");
    await redis.start();
    const until = Date.now() + 30_000;
    for (let answered = false; !answered;) {
      answered = await a.sdk().trigger("private-Chat.1", "App\\Events\\ChatMessageSent", { message: "again" }).then(() => true, () => false);
      assert.ok(Date.now() < until, "the API is back");
      if (!answered) await new Promise((wake) => setTimeout(wake, 100));
    }
    // Node b may come back after a: what a publishes before is lost to b, as documented.
    const heard = new Inbox();
    const knocking = setInterval(() => a.sdk().trigger("private-Chat.1", "App\\Events\\ChatMessageSent", { message: "knock" }).catch(() => {}), 300);
    chat.next("delivery", 30_000).then(heard.put, heard.put);
    const first = await heard.next("delivery", 31_000);
    clearInterval(knocking);
    assert.ok(["again", "knock"].includes(first.message), String(first));
    assert.deepEqual([aoi.socketId(), haru.socketId()], [before, other]);
    const sora = await present(await tab(a, application, "sora"), "Room.1");
    assert.deepEqual(await sora.here.next(), ["Aoi", "Haru", "Sora"]);
    await room.joining.until((name) => name === "Sora", "Sora");
  });
});

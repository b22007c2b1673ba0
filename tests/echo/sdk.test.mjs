// The HTTP API, called by Pusher's SDKs for Node.js and for Python.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, afterEach, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { Application } from "./application.mjs";
import { closeAll, eventually, Inbox, listening, present, subscribed, tab } from "./client.mjs";
import { SETUPS } from "./servers.mjs";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const PYTHON = process.env.YAMABIKO_PUSHER_PYTHON ?? `${ROOT}target/tools/pusher-python/bin/python`;

const status = (promise) => promise.then(({ status }) => status, ({ status }) => status);

for (const [where, setUp] of SETUPS) {
  describe(where, () => {
    let servers, application, a, b;
    before(async () => {
      servers = await setUp();
      ({ a, b } = servers);
      application = await Application.start(a);
    });
    after(async () => {
      application?.stop();
      await servers?.stop();
    });
    afterEach(closeAll);

    test("channels and users are counted on all nodes", async () => {
      const [aoi, again, haru] = await Promise.all([tab(a, application, "aoi"), tab(b, application, "aoi"), tab(b, application, "haru")]);
      await Promise.all([aoi, again, haru].map((echo) => present(echo, "Room.1")));
      await Promise.all([subscribed(aoi.channel("news")), subscribed(haru.channel("news"))]);
      for (const node of [a, b]) {
        await eventually(async () => {
          assert.deepEqual(await node.get("/channels"), { channels: { news: {}, "presence-Room.1": {} } });
          assert.deepEqual(await node.get("/channels/news", { info: "subscription_count" }), { occupied: true, subscription_count: 2 });
          assert.equal((await node.get("/connections")).connections, 3);
        });
        assert.deepEqual(await node.get("/channels", { filter_by_prefix: "presence-", info: "user_count" }), {
          channels: { "presence-Room.1": { user_count: 2 } },
        });
        assert.deepEqual(await node.get("/channels/presence-Room.1", { info: "user_count,subscription_count" }), {
          occupied: true, user_count: 2, subscription_count: 3,
        });
        assert.deepEqual(await node.get("/channels/nobody"), { occupied: false });
        const { users } = await node.get("/channels/presence-Room.1/users");
        assert.deepEqual(users.map(({ id }) => id).sort((one, other) => one - other), ["7", "12"]);
      }
    });

    test("events to many channels and batches arrive, and return what was asked for", async () => {
      const echo = await tab(b, application, "aoi");
      const [one, two] = await Promise.all(["one", "two"].map((name) => listening(echo.channel(name), ".e")));
      await eventually(async () => assert.deepEqual(Object.keys((await a.get("/channels")).channels).sort(), ["one", "two"]));
      const told = await a.sdk().trigger(["one", "two", "three"], "e", { n: 1 }, { info: "subscription_count" });
      assert.deepEqual(await told.json(), {
        channels: { one: { subscription_count: 1 }, two: { subscription_count: 1 }, three: { subscription_count: 0 } },
      });
      const batch = [
        { channel: "one", name: "e", data: { n: 2 } },
        { channel: "two", name: "e", data: { n: 3 } },
        { channel: "one", name: "e", data: { n: 4 }, socket_id: echo.socketId() },
        { channel: "one", name: "e", data: { n: 5 } },
      ];
      await a.sdk().triggerBatch(batch);
      assert.deepEqual([await one.next(), await one.next(), await one.next()].map(({ n }) => n), [1, 2, 5]);
      assert.deepEqual([await two.next(), await two.next()].map(({ n }) => n), [1, 3]);
    });

    test("a refused call delivers nothing", async () => {
      const echo = await tab(b, application, "aoi");
      const inbox = new Inbox();
      await subscribed(echo.channel("strict").listenToAll((event) => inbox.put(event)));
      const event = (changes) => ({ name: "e", channels: ["strict"], data: "{}", ...changes });
      const post = (body, sdk = a.sdk(), path = "/events") => status(sdk.post({ path, body }));
      assert.equal(await post(event(), a.sdk({ secret: "not the secret" })), 401);
      assert.equal(await post(event(), a.sdk({ key: "not-the-key" })), 401);
      assert.equal(await post(event(), a.sdk({ appId: "9" })), 404);
      assert.equal(await post(event({ data: "x".repeat(10_241) })), 413);
      assert.equal(await post(event({ channels: Array.from({ length: 101 }, (_, n) => n ? `c${n}` : "strict") })), 400);
      assert.equal(await post(event({ channels: ["strict", "no spaces"] })), 400);
      assert.equal(await post(event({ name: "x".repeat(201) })), 400);
      assert.equal(await post(event({ data: { not: "a text" } })), 400);
      const batch = (...events) => ({ batch: events });
      const single = { name: "e", channel: "strict", data: "{}" };
      assert.equal(await post(batch(...Array(11).fill(single)), a.sdk(), "/batch_events"), 400);
      assert.equal(await post(batch(single, { ...single, data: "x".repeat(10_241) }), a.sdk(), "/batch_events"), 413);
      assert.equal(await status(a.sdk().get({ path: "/channels/strict/users" })), 400);
      assert.equal(await status(a.sdk().get({ path: "/channels", params: { info: "user_count" } })), 400);
      await a.sdk().trigger("strict", "the good one", {});
      assert.match(await inbox.next(), /the good one/);
    });

    test("the largest event that is allowed arrives whole", async () => {
      const echo = await tab(b, application, "aoi");
      const inbox = await listening(echo.channel("large"), ".e");
      const text = "山".repeat(3_413);
      await a.sdk().trigger("large", "e", text);
      assert.equal(await inbox.next(), text);
    });

    test("Laravel's chunks of a hundred channels arrive", async () => {
      const echo = await tab(b, application, "aoi");
      const names = Array.from({ length: 100 }, (_, n) => `many.${n}`);
      const inboxes = await Promise.all(names.map((name) => listening(echo.channel(name), ".e")));
      await a.sdk().trigger(names, "e", {});
      for (const inbox of inboxes) assert.deepEqual(await inbox.next(), {});
    });

    test("the Python SDK triggers, asks and signs", async () => {
      const echo = await tab(b, application, "aoi");
      const news = await listening(echo.channel("news"), ".e");
      await present(echo, "Room.1");
      await eventually(async () => assert.deepEqual(Object.keys((await a.get("/channels")).channels).sort(), ["news", "presence-Room.1"]));
      const { stdout } = await promisify(execFile)(PYTHON, [fileURLToPath(new URL("sdk.py", import.meta.url)), String(a.port)]);
      assert.deepEqual(await news.next(), { from: "Python", text: "山彦" });
      assert.deepEqual(await news.next(), { n: 1 });
      assert.deepEqual(JSON.parse(stdout), {
        channels: { channels: { news: {}, "presence-Room.1": {} } },
        channel: { occupied: true, user_count: 1 },
        users: { users: [{ id: "7" }] },
        refused: "PusherBadAuth",
        invalid: "PusherBadRequest",
      });
    });
  });
}

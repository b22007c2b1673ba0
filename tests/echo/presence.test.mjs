// Members: one per user however many tabs are open, the same on every node.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import { Application } from "./application.mjs";
import { closeAll, eventually, Inbox, present, tab } from "./client.mjs";
import { SETUPS, twoNodes } from "./servers.mjs";

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

    test("several tabs are one member: it comes with the first and goes with the last", async () => {
      const haru = await present(await tab(b, application, "haru"), "Room.1");
      assert.deepEqual(await haru.here.next(), ["Haru"]);
      const first = await tab(a, application, "aoi");
      assert.deepEqual(await (await present(first, "Room.1")).here.next(), ["Aoi", "Haru"]);
      assert.equal(await haru.joining.next(), "Aoi");
      const second = await tab(b, application, "aoi");
      assert.deepEqual(await (await present(second, "Room.1")).here.next(), ["Aoi", "Haru"]);
      first.disconnect();
      // Sora's coming and going stand between what must not be seen and what must.
      const sora = await tab(a, application, "sora");
      assert.deepEqual(await (await present(sora, "Room.1")).here.next(), ["Aoi", "Haru", "Sora"]);
      assert.equal(await haru.joining.next(), "Sora");
      sora.leave("Room.1");
      assert.equal(await haru.leaving.next(), "Sora");
      second.leave("Room.1");
      assert.equal(await haru.leaving.next(), "Aoi");
      assert.deepEqual([haru.joining.waiting, haru.leaving.waiting], [[], []]);
    });

    test("member ids are strings, and a member sees itself", async () => {
      const echo = await tab(a, application, "aoi");
      await present(echo, "Room.2");
      const { me, members, count } = echo.pusher.channel("presence-Room.2").members;
      const aoi = { id: 7, name: "Aoi" };
      assert.deepEqual([me, members, count], [{ id: 7, info: aoi }, { 7: aoi }, 1]);
      await eventually(async () => assert.deepEqual(await b.get("/channels/presence-Room.2/users"), { users: [{ id: "7" }] }));
      // As Pusher's SDKs for Go and Swift read them: they cannot read a number.
      const frames = new Inbox();
      echo.pusher.connection.bind("message", ({ event, channel, data }) => channel === "presence-Room.2" && frames.put([event, data]));
      const haru = await tab(b, application, "haru");
      const list = new Inbox();
      haru.pusher.connection.bind("message", ({ event, data }) => event === "pusher_internal:subscription_succeeded" && list.put(data));
      await present(haru, "Room.2");
      assert.deepEqual((await list.next()).presence.ids, ["12", "7"]);
      haru.disconnect();
      const [added, removed] = [await frames.next(), await frames.next()];
      assert.deepEqual([added[0], added[1].user_id], ["pusher_internal:member_added", "12"]);
      assert.deepEqual(removed, ["pusher_internal:member_removed", { user_id: "12" }]);
    });

    test("members that join at once see each other", async () => {
      const names = ["aoi", "haru", "sora"];
      const echoes = await Promise.all([...names, ...names].map((name, n) => tab(n % 2 ? a : b, application, name)));
      const rooms = await Promise.all(echoes.map((echo) => present(echo, "Room.3")));
      for (const [n, { here, joining }] of rooms.entries()) {
        const seen = new Set(await here.next());
        while (seen.size < 3) {
          const name = await joining.next(`all three, in tab ${n}: ${[...seen]}`);
          assert.ok(!seen.has(name), `${name} came twice`);
          seen.add(name);
        }
      }
      await eventually(async () => {
        assert.equal((await a.get("/channels/presence-Room.3", { info: "user_count" })).user_count, 3);
        const { users } = await b.get("/channels/presence-Room.3/users");
        assert.deepEqual(users.map(({ id }) => id).sort((one, other) => one - other), ["7", "12", "23"]);
      });
    });
  });
}

describe("when a node is lost", () => {
  let servers, application;
  before(async () => {
    servers = await twoNodes();
    application = await Application.start(servers.b);
  });
  after(async () => {
    application?.stop();
    await servers?.stop();
  });
  afterEach(closeAll);

  test("its members leave, and join once each on a new node", async () => {
    const { a, b } = servers;
    const haru = await present(await tab(b, application, "haru"), "Room.1");
    const aoi = await present(await tab(a, application, "aoi"), "Room.1");
    assert.equal(await haru.joining.next(), "Aoi");
    assert.deepEqual(await aoi.here.next(), ["Aoi", "Haru"]);
    await a.stop("SIGKILL");
    assert.equal(await haru.leaving.next("Aoi's leaving", 60_000), "Aoi");
    await eventually(async () => assert.deepEqual(await b.get("/channels/presence-Room.1/users"), { users: [{ id: "12" }] }));
    await a.start();
    assert.equal(await haru.joining.next("Aoi's return", 60_000), "Aoi");
    const here = await aoi.here.next("the members", 60_000);
    // A node that has just started learns of the others' members within a moment.
    if (here.length === 1) here.push(await aoi.joining.next("Haru, who is there already"));
    assert.deepEqual(here, ["Aoi", "Haru"]);
    assert.deepEqual([haru.joining.waiting, haru.leaving.waiting], [[], []]);
  });

  test("members of a node that shuts down leave at once", async () => {
    const { a, b } = servers;
    const haru = await present(await tab(b, application, "haru"), "Room.2");
    const echo = await tab(a, application, "aoi");
    await present(echo, "Room.2");
    assert.equal(await haru.joining.next(), "Aoi");
    await a.stop("SIGTERM");
    assert.equal(await haru.leaving.next("Aoi's leaving", 10_000), "Aoi");
    await a.start();
  });
});

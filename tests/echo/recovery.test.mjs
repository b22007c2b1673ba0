// Recovery with the real pusher-js and Echo, as they are with a token after the key, and with the plugin.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import Pusher from "pusher-js";

import recovery from "../../clients/js/dist/pusher-recovery.js";
import { Application } from "./application.mjs";
import { closeAll, connected, eventually, present, subscribed, tab } from "./client.mjs";
import { assertNothingLost, collect, HISTORY, INTERVAL_MS, Line, MESSAGES, publish, withToken } from "./recovery.mjs";
import { SETUPS } from "./servers.mjs";

/** Duplicates are of messages that were published at most this long before the connection ended. */
const DUPLICATE_MS = 2_500;

for (const [where, setUp] of SETUPS) {
  describe(`a page with a token, ${where}`, () => {
    let servers, application, line;
    before(async () => {
      servers = await setUp(HISTORY);
      application = await Application.start(servers.a);
      line = await Line.to(servers.a.port, servers.b.port);
    });
    after(async () => {
      line?.stop();
      application?.stop();
      await servers?.stop();
    });
    afterEach(closeAll);

    test("misses nothing although its connection is cut every two seconds", async () => {
      const watcher = await present(await tab(servers.b, application, "haru"), "Room.1");
      const echo = await tab(line, application, "aoi", withToken());
      const got = collect(echo.private("Numbers.1"));
      await subscribed(echo.private("Numbers.1"));
      const room = await present(echo, "Room.1");
      await watcher.joining.until((name) => name === "Aoi", "Aoi");
      const id = echo.socketId();
      let cuts = 0;
      const cutting = setInterval(() => {
        cuts++;
        line.ports.reverse(); // To the other node.
        line.cut();
      }, 2_000);
      await publish(() => servers.a.sdk(), "private-Numbers.1", MESSAGES);
      clearInterval(cutting);
      await connected(echo);
      await eventually(() => assert.ok(got.numbers.includes(MESSAGES - 1)));
      const doubled = assertNothingLost(got, MESSAGES);
      assert.ok(cuts >= 2, `${cuts} cuts`);
      assert.ok(doubled <= cuts * (DUPLICATE_MS / INTERVAL_MS), `${doubled} duplicates of ${cuts} cuts`);
      assert.equal(echo.socketId(), id);
      // Nobody has seen the page go.
      assert.deepEqual([watcher.leaving.waiting, watcher.joining.waiting], [[], []]);
      assert.deepEqual(room.leaving.waiting, []);
    });

    test("with the plugin gets everything exactly once, in order", async () => {
      const echo = await tab(line, application, "aoi", { Pusher: recovery(Pusher) });
      const got = collect(echo.private("Numbers.9"));
      await subscribed(echo.private("Numbers.9"));
      const id = echo.socketId();
      const cutting = setInterval(() => {
        line.ports.reverse();
        line.cut();
      }, 2_000);
      await publish(() => servers.a.sdk(), "private-Numbers.9", MESSAGES);
      clearInterval(cutting);
      await eventually(() => assert.ok(got.numbers.includes(MESSAGES - 1)));
      assert.deepEqual(got, { numbers: Array.from({ length: MESSAGES }, (_, number) => number), gaps: 0 });
      assert.equal(echo.socketId(), id);
    });
  });
}

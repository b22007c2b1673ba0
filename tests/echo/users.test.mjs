// Signed-in users: their own channel, the online users that they watch, and their termination.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, afterEach, before, describe, test } from "node:test";

import { Application } from "./application.mjs";
import { closeAll, eventually, Inbox, present, tab } from "./client.mjs";
import { SETUPS } from "./servers.mjs";

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

    /** A tab that has signed in and is on its own channel. */
    async function signedIn(node, user) {
      const echo = await tab(node, application, user);
      const done = new Inbox();
      echo.pusher.connection.bind("message", ({ event, channel }) => {
        if (event === "pusher_internal:subscription_succeeded" && channel?.startsWith("#server-to-user-")) done.put(event);
      });
      echo.changes = new Inbox();
      for (const change of ["online", "offline"]) {
        echo.pusher.user.watchlist.bind(change, ({ user_ids: ids }) => ids.forEach((id) => echo.changes.put(`${id} ${change}`)));
      }
      echo.connector.signin();
      await done.next("the user's channel");
      return echo;
    }

    test("an event for a user reaches all tabs of the user, and nobody else", async () => {
      const tabs = [await signedIn(a, "aoi"), await signedIn(b, "aoi"), await signedIn(b, "haru")];
      const inboxes = tabs.map((echo) => {
        const inbox = new Inbox();
        echo.pusher.user.bind("notice", inbox.put);
        return inbox;
      });
      await b.sdk().sendToUser("7", "notice", { for: "aoi" });
      await a.sdk().sendToUser("12", "notice", { for: "haru" });
      for (const inbox of inboxes.slice(0, 2)) assert.deepEqual(await inbox.next(), { for: "aoi" });
      assert.deepEqual(await inboxes[2].next(), { for: "haru" });
    });

    test("a user's channel is closed to those who have not signed in as this user", async () => {
      const echo = await signedIn(a, "haru");
      const refused = new Inbox();
      echo.pusher.connection.bind("message", ({ event, channel, data }) => event === "pusher:subscription_error" && refused.put([channel, data.status]));
      echo.pusher.send_event("pusher:subscribe", { channel: "#server-to-user-7" });
      assert.deepEqual(await refused.next(), ["#server-to-user-7", 403]);
    });

    test("a watched user comes online with the first tab and goes offline with the last", async () => {
      // Those of the tests before have gone.
      for (const node of [a, b]) await eventually(async () => assert.deepEqual(await node.get("/connections"), { connections: 0 }));
      const haru = await signedIn(b, "haru");
      const seen = (what) => haru.changes.until((change) => change === what, what);
      const first = await signedIn(a, "aoi");
      await seen("7 online");
      const second = await signedIn(b, "aoi");
      await second.changes.until((change) => change === "12 online", "who is there already");
      first.disconnect();
      const sora = await signedIn(a, "sora");
      assert.equal(await haru.changes.next(), "23 online");
      second.disconnect();
      await seen("7 offline");
      sora.disconnect();
    });

    test("terminating a user closes all of its connections with 4009, and no others", async () => {
      const tabs = [await signedIn(a, "aoi"), await signedIn(b, "aoi")];
      const haru = await signedIn(a, "haru");
      await b.sdk().terminateUserConnections("7");
      for (const echo of tabs) {
        assert.equal((await echo.errors.next("the end")).code, 4009);
      }
      await new Promise((wake) => setTimeout(wake, 1_500));
      for (const echo of tabs) assert.equal(echo.connectionStatus(), "disconnected");
      assert.equal(haru.connectionStatus(), "connected");
    });

    test("a numeric user id signs in, although pusher-js itself accepts only strings", async () => {
      const echo = await tab(a, application, "aoi", {
        userAuthentication: {
          headers: {},
          // PHP's library signs what it is given, Node's a text only.
          customHandler: ({ socketId }, done) => {
            const user_data = '{"id":7}';
            const signature = createHmac("sha256", "echo-secret-of-the-tests").update(`${socketId}::user::${user_data}`).digest("hex");
            done(null, { auth: `echo-key:${signature}`, user_data });
          },
        },
      });
      const notices = new Inbox();
      echo.pusher.user.bind("notice", notices.put);
      const on = new Inbox();
      echo.pusher.connection.bind("message", ({ event, channel }) => event === "pusher_internal:subscription_succeeded" && on.put(channel));
      echo.connector.signin();
      assert.equal(await on.next("the user's channel"), "#server-to-user-7");
      assert.deepEqual(echo.pusher.user.user_data, { id: "7" });
      await b.sdk().sendToUser("7", "notice", { for: "aoi" });
      assert.deepEqual(await notices.next(), { for: "aoi" });
    });

    test("only the first hundred users of a watchlist are watched", async () => {
      const watchlist = ["12", ...Array.from({ length: 149 }, (_, n) => `nobody-${n}`)];
      const echo = await tab(a, application, "aoi", {
        userAuthentication: {
          headers: {},
          customHandler: ({ socketId }, done) => done(null, a.sdk().authenticateUser(socketId, { id: "7", watchlist })),
        },
      });
      const online = new Inbox();
      echo.pusher.user.watchlist.bind("online", ({ user_ids: ids }) => ids.forEach(online.put));
      echo.connector.signin();
      assert.equal((await echo.errors.next("the error")).code, 4302);
      await signedIn(b, "haru");
      assert.equal(await online.next("Haru"), "12");
      assert.equal(echo.connectionStatus(), "connected");
    });

    test("a second sign-in as someone else is refused", async () => {
      const echo = await signedIn(a, "aoi");
      const { auth, user_data } = a.sdk().authenticateUser(echo.socketId(), { id: "12" });
      echo.pusher.send_event("pusher:signin", { auth, user_data });
      await echo.errors.next("the refusal");
      assert.equal(echo.connectionStatus(), "connected");
    });

    test("a signed-in user joins presence channels as this user, unless the application names another", async () => {
      const authorize = application.authorize;
      application.authorize = (_, socket, channel) => a.sdk().authorizeChannel(socket, channel);
      const haru = await signedIn(b, "haru");
      const room = await present(haru, "Room.1");
      assert.deepEqual(await room.here.next(), ["Haru"]);
      assert.equal(haru.pusher.channel("presence-Room.1").members.me.id, "12");
      application.authorize = authorize;
    });

    test("a sign-in with another secret ends the connection with 4009", async () => {
      const echo = await tab(b, application, "aoi", {
        userAuthentication: {
          headers: {},
          customHandler: ({ socketId }, done) => done(null, a.sdk({ secret: "not the secret" }).authenticateUser(socketId, { id: "7" })),
        },
      });
      echo.connector.signin();
      assert.equal((await echo.errors.next("the end")).code, 4009);
    });
  });
}

// A server with the settings that docs/migrate.md gives, and no others, does for the pages what the one before it did.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { after, afterEach, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { Application } from "./application.mjs";
import { closeAll, Inbox, listening, present, subscribed, tab } from "./client.mjs";
import { APP, Node, Redis } from "./servers.mjs";

const GUIDE = await readFile(new URL("../../docs/migrate.md", import.meta.url), "utf8");
const SCRIPTS = fileURLToPath(new URL("../laravel/", import.meta.url));
const OWN = { APP_ID: APP.appId, APP_KEY: APP.key, APP_SECRET: APP.secret };
const EVENT = "App\\Events\\ChatMessageSent";
const publish = promisify(execFile);

// Soketi has a limit of 100 members, the others have none.
for (const [server, broadcaster, largest, members, broadcast] of [
  ["Soketi", "pusher", 100_000, 100, overHttp],
  ["Reverb", "reverb", 9_000, 101, overHttp],
  ["laravel-echo-server", "pusher", 100_000, 101, overRedis],
]) {
  describe(`from ${server}`, () => {
    const settings = settingsOf(server);
    let redis, node, application;
    before(async () => {
      redis = await Redis.start();
      const environment = { ...settings, REDIS_PORT: String(redis.port) };
      delete environment.YAMABIKO__SERVER__PORT; // a free one in its place
      for (const [name, value] of Object.entries(OWN)) {
        for (const prefix of ["PUSHER", "REVERB"]) {
          environment[`${prefix}_${name}`] = `${prefix}_${name}` in settings ? value : undefined;
        }
      }
      environment.APP_WS_JWT_SECRET = undefined;
      environment.YAMABIKO__PUSHER__CLIENT_EVENTS ??= undefined;
      node = await Node.start(environment);
      application = await Application.start(node);
    });
    after(async () => {
      application?.stop();
      await node?.stop();
      await redis?.stop();
    });
    afterEach(closeAll);

    const open = (user, options) => tab(node, application, user, { broadcaster, ...options });

    test("events arrive, as large as they could be, and toOthers spares the sender's tab", async () => {
      const [aoi, haru] = await Promise.all(["aoi", "haru"].map((user) => open(user)));
      const [own, other] = await Promise.all([aoi, haru].map((echo) => listening(echo.private("Chat.1"), "ChatMessageSent")));
      const message = "x".repeat(largest);
      await broadcast(node, redis, settings, message, aoi.socketId());
      await broadcast(node, redis, settings, "to all", null);
      assert.equal((await other.next()).message, message);
      assert.equal((await other.next()).message, "to all");
      assert.equal((await own.next()).message, "to all");
    });

    test("a presence channel takes as many members as before, and as large ones", async () => {
      const member = (id, info) => open("aoi", {
        authorizer: ({ name }) => ({
          authorize: (socketId, done) => done(null, node.sdk().authorizeChannel(socketId, name, { user_id: id, user_info: info })),
        }),
      });
      for (let n = 1; n < members; n += 1) await subscribed((await member(`${n}`, { name: `${n}` })).join("Hall.1"));
      // With the id and the keys around it, this is the 2 KB that a member of Soketi's may have.
      const last = await member("last", { name: "Last", about: "x".repeat(1_900) });
      const { here } = await present(last, "Hall.1");
      assert.equal((await here.next()).length, members);
    });

    test("whispers are not counted, and members see each other", async () => {
      const [aoi, haru] = await Promise.all(["aoi", "haru"].map((user) => open(user)));
      const room = await present(aoi, "Room.1");
      assert.deepEqual(await room.here.next(), ["Aoi"]);
      const heard = new Inbox();
      await subscribed(haru.join("Room.1").listenForWhisper("moved", ({ n }) => heard.put(n)));
      assert.equal(await room.joining.next(), "Haru");
      for (let n = 0; n < 30; n += 1) room.channel.whisper("moved", { n });
      for (let n = 0; n < 30; n += 1) assert.equal(await heard.next(), n);
    });
  });
}

/** The lines of the server's environment in the section of this server, as a file of variables is read: to the end of the line. */
function settingsOf(server) {
  const section = GUIDE.split(/^## /m).find((part) => part.startsWith(`From ${server}\n`));
  const lines = [...section.matchAll(/^ {4}([A-Z_]+)=(.*)$/gm)].map(([, name, value]) => [name, value]);
  assert.ok(lines.length >= 6, section);
  return Object.fromEntries(lines);
}

/** As Laravel's pusher broadcaster does, by Pusher's SDK. */
async function overHttp(node, _redis, _settings, message, socket) {
  await node.sdk().trigger("private-Chat.1", EVENT, { message }, socket ? { socket_id: socket } : {});
}

/** As Laravel's redis broadcaster does, with the prefix of the application. */
async function overRedis(_node, redis, settings, message, socket) {
  const payload = JSON.stringify({ event: EVENT, data: { message, socket }, socket });
  const env = { PATH: process.env.PATH, REDIS_PORT: String(redis.port), REDIS_PREFIX: settings.YAMABIKO__REDIS__PREFIX };
  await publish("php", [`${SCRIPTS}publish_on.php`, "private-Chat.1", payload], { env });
}

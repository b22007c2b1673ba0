// Laravel's `redis` broadcaster, its own classes: no SDK and no HTTP call between the application and the server.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { after, afterEach, before, test } from "node:test";
import { promisify } from "node:util";

import { Application } from "./application.mjs";
import { closeAll, listening, subscribed, tab } from "./client.mjs";
import { PREFIX, twoNodes } from "./servers.mjs";

const SCRIPTS = fileURLToPath(new URL("../laravel/", import.meta.url));

let servers, application, a, b;
before(async () => {
  servers = await twoNodes();
  ({ a, b } = servers);
  application = await Application.start(a);
});
after(async () => {
  application?.stop();
  await servers?.stop();
});
afterEach(closeAll);

async function php(script, args, prefix = PREFIX) {
  const env = { PATH: process.env.PATH, REDIS_PORT: String(servers.redis.port), REDIS_PREFIX: prefix };
  return promisify(execFile)("php", [SCRIPTS + script, ...args], { env });
}

const broadcast = (event, channels, data, socket = [], prefix) =>
  php("broadcast.php", [event, JSON.stringify(channels), JSON.stringify(data), ...socket], prefix);

const said = (message) => ({ message, user: { id: 7, name: "Aoi" } });

test("an event reaches private, presence and public channels, on all nodes", async () => {
  const [aoi, haru] = await Promise.all([tab(a, application, "aoi"), tab(b, application, "haru")]);
  const inboxes = await Promise.all([aoi, haru].flatMap((echo) => [
    listening(echo.private("Chat.1"), "ChatMessageSent"),
    listening(echo.join("Room.1"), "ChatMessageSent"),
    listening(echo.channel("news"), "ChatMessageSent"),
  ]));
  await broadcast("ChatMessageSent", { private: ["Chat.1"], presence: ["Room.1"], public: ["news"] }, said("やっほー"));
  // Laravel leaves the tab's id in the data: pages have always got it.
  for (const inbox of inboxes) assert.deepEqual(await inbox.next(), { ...said("やっほー"), socket: null });
});

test("the user's own channel", async () => {
  const aoi = await tab(b, application, "aoi");
  const inbox = await listening(aoi.private("TestChannel.7"), "MessageSent");
  await broadcast("MessageSent", { private: ["TestChannel.7"] }, { message: "for you", id: 7 });
  const { message, id } = await inbox.next();
  assert.deepEqual([message, id], ["for you", 7]);
});

test("toOthers leaves out the tab that asked, on whichever node it is", async () => {
  const [aoi, haru] = await Promise.all([tab(a, application, "aoi"), tab(b, application, "haru")]);
  const inboxes = await Promise.all([aoi, haru].map((echo) => listening(echo.private("Chat.2"), "ChatMessageSent")));
  await broadcast("ChatMessageSent", { private: ["Chat.2"] }, said("not for haru"), [haru.socketId()]);
  await broadcast("ChatMessageSent", { private: ["Chat.2"] }, said("not for aoi"), [aoi.socketId()]);
  await broadcast("ChatMessageSent", { private: ["Chat.2"] }, said("for all"));
  for (const [inbox, expected] of [[inboxes[0], ["not for haru", "for all"]], [inboxes[1], ["not for aoi", "for all"]]]) {
    assert.deepEqual([(await inbox.next()).message, (await inbox.next()).message], expected);
  }
});

test("another application's prefix is another application", async () => {
  const aoi = await tab(a, application, "aoi");
  const inbox = await listening(aoi.private("Chat.3"), "ChatMessageSent");
  for (const prefix of ["", "other_database_", `${PREFIX}${PREFIX}`]) {
    await broadcast("ChatMessageSent", { private: ["Chat.3"] }, said(`prefix ${prefix}`), [], prefix);
  }
  await broadcast("ChatMessageSent", { private: ["Chat.3"] }, said("ours"));
  assert.equal((await inbox.next()).message, "ours");
});

test("a cache channel keeps what Laravel published", async () => {
  const aoi = await tab(a, application, "aoi");
  await subscribed(aoi.channel("cache-state"));
  await broadcast("ChatMessageSent", { public: ["cache-state"] }, said("kept"));
  const inbox = await listening((await tab(b, application, "haru")).channel("cache-state"), "ChatMessageSent");
  assert.equal((await inbox.next()).message, "kept");
});

test("what PHP could not encode, and junk, are survived", async () => {
  const aoi = await tab(a, application, "aoi");
  const inbox = await listening(aoi.private("Chat.4"), "ChatMessageSent");
  await php("publish_on.php", ["private-Chat.4", "", "null", "[]", "{", '{"event":7}', '{"data":{}}']);
  await broadcast("ChatMessageSent", { private: ["Chat.4"] }, said("still here"));
  assert.equal((await inbox.next()).message, "still here");
});

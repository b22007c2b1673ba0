// Laravel's `redis` broadcaster, its own classes, with the signatures of docs/migrate.md: no SDK and no HTTP call between
// the application and the server.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { after, afterEach, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { Application } from "./application.mjs";
import { closeAll, eventually, listening, present, subscribed, tab } from "./client.mjs";
import { APP, PREFIX, twoNodes } from "./servers.mjs";

const SCRIPTS = fileURLToPath(new URL("../laravel/", import.meta.url));

let servers, application, a, b;
before(async () => {
  servers = await twoNodes();
  ({ a, b } = servers);
  application = await Application.start(a);
  application.authorize = authorize;
});
after(async () => {
  application?.stop();
  await servers?.stop();
});
afterEach(closeAll);

async function php(script, args, prefix = PREFIX) {
  const env = {
    PATH: process.env.PATH,
    REDIS_PORT: String(servers.redis.port),
    REDIS_PREFIX: prefix,
    BROADCAST_CONNECTION: "yamabiko",
    PUSHER_APP_KEY: APP.key,
    PUSHER_APP_SECRET: APP.secret,
  };
  return promisify(execFile)("php", [SCRIPTS + script, ...args], { env });
}

/** /broadcasting/auth of Laravel's own broadcaster, which ends with 3 where the application refuses. */
async function authorize(user, socket, channel) {
  try {
    return JSON.parse((await php("authorize.php", [JSON.stringify(user), socket, channel])).stdout);
  } catch (error) {
    if (error.code === 3) return undefined;
    throw error;
  }
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

test("an event on a user's own channel reaches that user", async () => {
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

test("routes/channels.php authorises subscriptions and names members", async () => {
  const haru = await tab(b, application, "haru");
  await assert.rejects(subscribed(haru.private("TestChannel.7")), { type: "AuthError", status: 403 });
  await assert.rejects(subscribed(haru.private("Nowhere.1")), { type: "AuthError", status: 403 });
  const room = await present(haru, "Room.2");
  assert.deepEqual(await room.here.next(), ["Haru"]);
  await eventually(async () => assert.deepEqual(await a.get("/channels/presence-Room.2/users"), { users: [{ id: "12" }] }));
  // A signature is for one thing: with a colon in what is signed it could be for two.
  for (const [socket, channel] of [["1.2:private-Chat.1", "private-Chat.2"], ["1.2", "private-Chat.1:x"]]) {
    assert.equal(await authorize({ id: 7, name: "Aoi" }, socket, channel), undefined);
  }
});

test("an authorisation request without a socket id, as laravel-echo-server sends it, is answered as by Laravel's redis broadcaster", async () => {
  const haru = { id: 12, name: "Haru" };
  assert.equal(await authorize(haru, "", "private-Chat.1"), true);
  assert.deepEqual(await authorize(haru, "", "presence-Room.1"), { channel_data: { user_id: 12, user_info: haru } });
  assert.equal(await authorize(haru, "", "private-TestChannel.7"), undefined);
});

test("an event with a socket id of laravel-echo-server reaches every subscriber", async () => {
  const aoi = await tab(a, application, "aoi");
  const inbox = await listening(aoi.private("Chat.5"), "ChatMessageSent");
  await broadcast("ChatMessageSent", { private: ["Chat.5"] }, said("from an old page"), ["H7mpY38dogvFlajsAAAA"]);
  assert.equal((await inbox.next()).message, "from an old page");
});

test("docs/migrate.md shows the broadcaster to the letter", async () => {
  const [page, broadcaster] = await Promise.all(["migrate.md", "laravel/YamabikoBroadcaster.php"].map((file) => readFile(new URL(`../../docs/${file}`, import.meta.url), "utf8")));
  assert.ok(page.includes(`\n${broadcaster}\`\`\`\n`));
});

test("messages under another Redis prefix are ignored", async () => {
  const aoi = await tab(a, application, "aoi");
  const inbox = await listening(aoi.private("Chat.3"), "ChatMessageSent");
  for (const prefix of ["", "other_database_", `${PREFIX}${PREFIX}`]) {
    await broadcast("ChatMessageSent", { private: ["Chat.3"] }, said(`prefix ${prefix}`), [], prefix);
  }
  await broadcast("ChatMessageSent", { private: ["Chat.3"] }, said("ours"));
  assert.equal((await inbox.next()).message, "ours");
});

test("a cache channel keeps what Laravel published, on the nodes that had a subscriber", async () => {
  const aoi = await listening((await tab(a, application, "aoi")).channel("cache-state"), "ChatMessageSent");
  await broadcast("ChatMessageSent", { public: ["cache-state"] }, said("kept"));
  assert.equal((await aoi.next()).message, "kept");
  const haru = await listening((await tab(a, application, "haru")).channel("cache-state"), "ChatMessageSent");
  assert.equal((await haru.next()).message, "kept");
});

test("empty and invalid payloads are dropped", async () => {
  const aoi = await tab(a, application, "aoi");
  const inbox = await listening(aoi.private("Chat.4"), "ChatMessageSent");
  await php("publish_on.php", ["private-Chat.4", "", "null", "[]", "{", '{"event":7}', '{"data":{}}']);
  await broadcast("ChatMessageSent", { private: ["Chat.4"] }, said("still here"));
  assert.equal((await inbox.next()).message, "still here");
});

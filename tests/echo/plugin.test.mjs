// The plugin of clients/js with the real pusher-js 7 and 8 and Laravel Echo, and the client of Echo's connector, against a stand-in of the server.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { afterEach, beforeEach, test } from "node:test";

import Echo from "laravel-echo";
import Pusher8 from "pusher-js";
import Pusher7 from "pusher-js-7";
import nacl from "tweetnacl";

import recovery from "../../clients/js/dist/pusher-recovery.js";
import Connector from "../../clients/js/dist/pusher.js";
import { Inbox, eventually } from "./client.mjs";
import { StandIn } from "./standin.mjs";

const script = createRequire(import.meta.url)("../../clients/js/dist/umd/pusher-recovery.js");
/** Clients with recovery: the plugin, and the client of Echo's connector, which has it built in. */
const CLIENTS = [["pusher-js 7", recovery(Pusher7)], ["pusher-js 8", recovery(Pusher8)], ["the connector's client", Connector]];

let server;
const open = [];
beforeEach(async () => {
  server = await StandIn.start();
});
afterEach(() => {
  while (open.length) open.pop().disconnect();
  server.stop();
});

const options = () => ({
  cluster: "mt1",
  wsHost: "127.0.0.1",
  wsPort: server.port,
  forceTLS: false,
  enabledTransports: ["ws"],
  authEndpoint: `${server.url}/auth`,
  nacl,
  userAuthentication: { endpoint: `${server.url}/user`, transport: "ajax", headers: {} },
  auth: { headers: {} },
});

function connect(Pusher, key = "echo-key") {
  const pusher = new Pusher(key, options());
  open.push(pusher);
  return pusher;
}

/** Subscribes, and gives an inbox of everything on the channel but internal events. */
async function told(pusher, name) {
  const channel = pusher.subscribe(name);
  const inbox = new Inbox();
  const succeeded = new Inbox();
  channel.bind("pusher:subscription_succeeded", succeeded.put);
  channel.bind_global((event, data) => event.startsWith("pusher") || inbox.put(event === "told" ? data : { [event]: data }));
  await succeeded.next("the subscription");
  return inbox;
}

async function expect(inbox, ...expected) {
  for (const value of expected) assert.deepEqual(await inbox.next(JSON.stringify(value)), value);
}

const recovered = (channel, count) => ({ "yamabiko:recovered": { channel, count } });

for (const [name, Client] of CLIENTS) {
  test(`${name}: everything once and in order across reconnections, with the same session`, async () => {
    const pusher = connect(Client);
    const inbox = await told(pusher, "private-x");
    const first = await server.connections.next();
    assert.match(first.pathname, /^\/app\/echo-key~[0-9a-f-]{20,64}$/);
    assert.equal(first.searchParams.get("recovery"), "2");
    assert.equal(first.searchParams.get("protocol"), "7");
    assert.equal((await server.subscriptions.next()).since, undefined);

    server.publish("private-x", 1);
    server.repeat("private-x");
    server.publish("private-x", 2);
    await expect(inbox, 1, 2);
    for (const [round, end] of [[1, "close"], [2, "cut"]]) {
      server[end]();
      server.publish("private-x", `missed ${round}`, { toNobody: true });
      server.publish("private-x", `missed too ${round}`, { toNobody: true });
      assert.equal((await server.connections.next()).href, first.href);
      assert.equal((await server.subscriptions.next()).since, `9f3c20-${3 * round - 1}`);
      await expect(inbox, recovered("private-x", 2), `missed ${round}`, `missed too ${round}`);
      server.repeat("private-x");
      server.publish("private-x", `live ${round}`);
      await expect(inbox, `live ${round}`);
    }
  });

  test(`${name}: a reconnection asks for no signature while the socket id is the same`, async () => {
    const pusher = connect(Client);
    pusher.signin();
    await told(pusher, "private-x");
    await told(pusher, "presence-y");
    const signed = [await server.signatures.next(), await server.signatures.next(), await server.signatures.next()];
    const { socket_id } = pusher.connection;
    assert.deepEqual(signed.sort(), ["presence-y", "private-x", "user"].map((name) => `${socket_id}:${name}`));
    const byName = async () => {
      const found = [await server.subscriptions.next(), await server.subscriptions.next(), await server.subscriptions.next()];
      return found.map(({ since, ...rest }) => rest).sort((a, b) => (a.channel < b.channel ? -1 : 1));
    };
    const before = await byName();
    assert.deepEqual(before.map(({ channel }) => channel), ["#server-to-user-7", "presence-y", "private-x"]);
    for (let round = 0; round < 3; round++) {
      server.close();
      assert.deepEqual(await byName(), before);
    }
    assert.deepEqual(server.signatures.waiting, []);

    // Another socket id needs other signatures.
    server.forgetSessions();
    server.close();
    await byName();
    const again = [await server.signatures.next(), await server.signatures.next(), await server.signatures.next()];
    assert.ok(again.every((text) => !text.startsWith(socket_id)), again);
  });

  test(`${name}: a signature that is refused when it is used again is replaced`, async () => {
    const pusher = connect(Client);
    const inbox = await told(pusher, "private-x");
    const errors = new Inbox();
    pusher.channel("private-x").bind("pusher:subscription_error", errors.put);
    server.publish("private-x", 1);
    await expect(inbox, 1);
    const { auth } = await server.subscriptions.next();
    server.refused.add(auth);
    await server.signatures.next();
    server.close();
    assert.equal((await server.subscriptions.next()).auth, auth);
    const replaced = await server.subscriptions.next();
    assert.notEqual(replaced.auth, auth);
    assert.equal(replaced.since, "9f3c20-1");
    assert.equal((await server.signatures.next()).split(":")[1], "private-x");
    await expect(inbox, recovered("private-x", 0));
    assert.deepEqual(errors.waiting, []);
    // One that is new and refused is the page's to know.
    server.refused.add(replaced.auth);
    server.close();
    assert.equal((await server.subscriptions.next()).auth, replaced.auth);
    const last = await server.subscriptions.next();
    await expect(inbox, recovered("private-x", 0));
    server.send({ event: "pusher:subscription_error", channel: "private-x", data: JSON.stringify({ status: 401 }) });
    assert.equal((await errors.next("the error")).status, 401);
    assert.notEqual(last.auth, replaced.auth);
  });
}

for (const [client, Client] of CLIENTS.slice(1)) {
  test(`${client}: the page is told of a gap, and goes on from there`, async () => {
    const pusher = connect(Client);
    const inbox = await told(pusher, "news");
    server.publish("news", 1);
    await expect(inbox, 1);
    server.loseHistory();
    server.publish("news", 2, { toNobody: true });
    server.close();
    await expect(inbox, { "yamabiko:gap": { channel: "news" } });
    server.publish("news", 3);
    await expect(inbox, 3);
    server.publish("news", 4);
    await expect(inbox, 4);
  });
}

for (const [client, Client] of CLIENTS.slice(1)) {
  test(`${client}: the page is told of a gap that leaves its position as it is`, async () => {
    const pusher = connect(Client);
    const inbox = await told(pusher, "news");
    server.send({ event: "yamabiko:gap", channel: "news", id: "s9f3c20-17", data: JSON.stringify({ channel: "news" }) });
    await expect(inbox, { "yamabiko:gap": { channel: "news" } });
  });
}

for (const [client, Client] of CLIENTS.slice(1)) {
  test(`${client}: a channel without a message has a position too`, async () => {
    const pusher = connect(Client);
    await told(pusher, "news");
    await server.subscriptions.next();
    server.close();
    assert.equal((await server.subscriptions.next()).since, "s9f3c20-17");
  });
}

test("a page can start from a position", async () => {
  for (const data of [1, 2, 3]) server.publish("news", data);
  const pusher = connect(recovery(Pusher8, { news: "9f3c20-1" }));
  await expect(await told(pusher, "news"), recovered("news", 2), 2, 3);
  server.publish("private-x", 1);
  pusher.startFrom("private-x", "9f3c20-1");
  server.publish("private-x", 2, { toNobody: true });
  await expect(await told(pusher, "private-x"), recovered("private-x", 1), 2);
});

for (const [client, Client] of CLIENTS.slice(1)) {
  test(`${client}: a channel that the page has left is forgotten`, async () => {
    const pusher = connect(Client);
    const inbox = await told(pusher, "private-x");
    server.publish("private-x", 1);
    await expect(inbox, 1);
    pusher.unsubscribe("private-x");
    // On its way when the page has left.
    server.send({ event: "told", channel: "private-x", data: "2", id: "9f3c20-2" });
    await told(pusher, "private-x");
    const subscriptions = [await server.subscriptions.next(), await server.subscriptions.next()];
    assert.deepEqual(subscriptions.map(({ since }) => since), [undefined, undefined]);
    assert.notEqual(subscriptions[0].auth, subscriptions[1].auth);
  });
}

for (const [client, Client] of CLIENTS.slice(1)) {
  test(`${client}: a page that disconnects keeps its positions and asks for new signatures`, async () => {
    const pusher = connect(Client);
    const inbox = await told(pusher, "private-x");
    server.publish("private-x", 1);
    await expect(inbox, 1);
    const { auth } = await server.subscriptions.next();
    pusher.disconnect();
    server.publish("private-x", 2);
    pusher.connect();
    const again = await server.subscriptions.next();
    assert.equal(again.since, "9f3c20-1");
    assert.notEqual(again.auth, auth);
    await expect(inbox, recovered("private-x", 1), 2);
  });
}

for (const [client, Client] of CLIENTS.slice(1)) {
  test(`${client}: encrypted channels: kept keys decrypt what was missed, and a new key is asked for`, async () => {
    const name = "private-encrypted-x";
    const encrypt = (data, key) => {
      const nonce = nacl.randomBytes(24);
      const ciphertext = nacl.secretbox(Buffer.from(JSON.stringify(data)), nonce, key);
      return { nonce: Buffer.from(nonce).toString("base64"), ciphertext: Buffer.from(ciphertext).toString("base64") };
    };
    const useKey = (key) => (server.secrets[name] = { shared_secret: Buffer.from(key).toString("base64") });
    const [key, next] = [nacl.randomBytes(32), nacl.randomBytes(32)];
    useKey(key);
    const pusher = connect(Client);
    const inbox = await told(pusher, name);
    server.publish(name, encrypt(1, key));
    await expect(inbox, 1);
    await server.signatures.next();
    server.close();
    server.publish(name, encrypt(2, key), { toNobody: true });
    await expect(inbox, recovered(name, 1), 2);
    assert.deepEqual(server.signatures.waiting, []);
    useKey(next);
    server.publish(name, encrypt(3, next));
    await expect(inbox, 3);
    await server.signatures.next("the request for the new key");
  });
}

test("two pages in one window have two sessions, and other instances are left alone", async () => {
  const Recovering = recovery(Pusher8);
  const [one, two] = [connect(Recovering), connect(Recovering)];
  const inboxes = [await told(one, "news"), await told(two, "news")];
  const plain = connect(Pusher8);
  const seen = await told(plain, "news");
  const urls = await Promise.all([1, 2, 3].map(() => server.connections.next()));
  assert.equal(new Set(urls.map(({ pathname }) => pathname)).size, 3);
  assert.deepEqual(urls.map(({ searchParams }) => searchParams.get("recovery")).sort(), ["2", "2", null].sort());
  assert.ok(urls.some(({ pathname }) => pathname === "/app/echo-key"));
  server.publish("news", 1);
  for (const inbox of [...inboxes, seen]) await expect(inbox, 1);
});

test("a token of the page's own stays", async () => {
  connect(recovery(Pusher8), "echo-key~0123456789abcdef");
  assert.equal((await server.connections.next()).pathname, "/app/echo-key~0123456789abcdef");
});

for (const [name, plugin] of [["module", recovery], ["script", script]]) {
  test(`Laravel Echo with the ${name}`, async () => {
    const echo = new Echo({ broadcaster: "pusher", Pusher: plugin(Pusher8), key: "echo-key", ...options(), bearerToken: "aoi" });
    open.push(echo);
    const [inbox, notices] = [new Inbox(), new Inbox()];
    const channel = echo.private("orders.7").listen("OrderShipped", inbox.put);
    channel.listen(".yamabiko:recovered", notices.put).listen(".yamabiko:gap", notices.put);
    await new Promise((done) => channel.subscribed(done));
    const publish = (data, toNobody) => server.publish("private-orders.7", data, { event: "App\\Events\\OrderShipped", toNobody });
    publish(1);
    await expect(inbox, 1);
    await server.signatures.next();
    server.close();
    publish(2, true);
    await expect(inbox, 2);
    assert.deepEqual(await notices.next(), { channel: "private-orders.7", count: 1 });
    assert.deepEqual(server.signatures.waiting, []);
  });
}

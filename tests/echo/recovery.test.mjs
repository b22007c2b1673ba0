// Level 1 of recovery: pusher-js and Echo as they are, with a token after the key.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { connect, createServer } from "node:net";
import { once } from "node:events";
import { after, afterEach, before, describe, test } from "node:test";

import { Application } from "./application.mjs";
import { closeAll, connected, eventually, Inbox, listening, present, subscribed, tab } from "./client.mjs";
import { APP, oneNode, SETUPS, twoNodes } from "./servers.mjs";

const HISTORY = {
  YAMABIKO__PUSHER__HISTORY: '[{ channels = ["private-*", "presence-*"], messages = 1000, age = "2m" }]',
};
const MESSAGES = 400;
const INTERVAL_MS = 15; // 66 a second
/** Duplicates are of messages that were published at most this long before the connection ended. */
const DUPLICATE_MS = 2_500;

const withToken = () => ({ key: `${APP.key}~${randomUUID()}` });
const wait = (ms) => new Promise((wake) => setTimeout(wake, ms));

/** A proxy in front of nodes, whose connections the test cuts. */
class Line {
  #sockets = new Set();
  static async to(...ports) {
    const line = new Line();
    line.ports = ports;
    line.server = createServer((page) => line.#carry(page)).listen(0, "127.0.0.1");
    await once(line.server, "listening");
    line.port = line.server.address().port;
    return line;
  }

  /** To the first node that answers. */
  #carry(page, ports = [...this.ports]) {
    const port = ports.shift();
    if (port === undefined) return page.destroy();
    const node = connect(port, "127.0.0.1");
    const refused = () => this.#carry(page, ports);
    node.once("error", refused);
    node.once("connect", () => {
      node.off("error", refused);
      for (const [from, to] of [[node, page], [page, node]]) {
        this.#sockets.add(from);
        from.on("error", () => to.destroy());
        from.on("close", () => this.#sockets.delete(from) && to.destroy());
        from.pipe(to);
      }
    });
  }

  /** Resets every connection. */
  cut() {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  stop() {
    this.cut();
    this.server.close();
  }
}

/** Publishes numbered messages on a channel, at a steady rate. */
async function publish(sdk, channel, count) {
  const sent = [];
  for (let number = 0; number < count; number++) {
    const message = { number };
    for (let answered = false; !answered;) {
      sent[number] = Date.now();
      answered = await sdk().trigger(channel, "App\\Events\\Numbered", message).then(() => true, () => false);
      if (!answered) await wait(50);
    }
    await wait(INTERVAL_MS);
  }
  return sent;
}

/** Collects the numbers that a channel of Echo gets, and what it is told about recovery. */
function collect(channel) {
  const got = { numbers: [], gaps: 0 };
  channel.listen("Numbered", ({ number }) => got.numbers.push(number));
  channel.listen(".yamabiko:gap", () => got.gaps++);
  return got;
}

function assertNothingLost(got, count) {
  const seen = new Set(got.numbers);
  const lost = Array.from({ length: count }, (_, number) => number).filter((number) => !seen.has(number));
  assert.deepEqual(lost, [], `lost; ${got.gaps} gaps`);
  assert.equal(got.gaps, 0);
  return got.numbers.length - seen.size;
}

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
  });
}

describe("two nodes on Redis", () => {
  let servers, application, line;
  before(async () => {
    servers = await twoNodes(HISTORY);
    application = await Application.start(servers.b);
    line = await Line.to(servers.a.port, servers.b.port);
  });
  after(async () => {
    line?.stop();
    application?.stop();
    await servers?.stop();
  });
  afterEach(closeAll);

  test("a rolling restart loses nothing, and nobody sees the page go", async () => {
    const echo = await tab(line, application, "aoi", withToken());
    const got = collect(echo.private("Numbers.2"));
    await subscribed(echo.private("Numbers.2"));
    await present(echo, "Room.2");
    const watching = await tab(line, application, "haru", withToken());
    const watcher = await present(watching, "Room.2");
    const publishing = publish(() => (servers.b.stopping ? servers.a : servers.b).sdk(), "private-Numbers.2", MESSAGES);
    for (const node of [servers.a, servers.b]) {
      await wait(1_000);
      node.stopping = true;
      await node.stop("SIGTERM");
      await node.start();
      node.stopping = false;
    }
    await publishing;
    await connected(echo);
    await eventually(() => assert.ok(got.numbers.includes(MESSAGES - 1)));
    assertNothingLost(got, MESSAGES);
    assert.deepEqual([watcher.leaving.waiting, watcher.joining.waiting], [[], []]);
  });

  test("a node that is killed loses nothing", async () => {
    const echo = await tab(line, application, "aoi", withToken());
    const got = collect(echo.private("Numbers.3"));
    await subscribed(echo.private("Numbers.3"));
    const publishing = publish(() => servers.b.sdk(), "private-Numbers.3", MESSAGES);
    await wait(3_000);
    await servers.a.stop("SIGKILL");
    await publishing;
    await connected(echo);
    await eventually(() => assert.ok(got.numbers.includes(MESSAGES - 1)));
    assertNothingLost(got, MESSAGES);
    await servers.a.start();
  });
});

test("a single node with Redis that is restarted loses nothing", async (context) => {
  const servers = await twoNodes(HISTORY);
  context.after(() => servers.stop());
  context.after(closeAll);
  const application = await Application.start(servers.a);
  context.after(() => application.stop());
  await servers.b.stop();
  const echo = await tab(servers.a, application, "aoi", withToken());
  const got = collect(echo.private("Numbers.4"));
  await subscribed(echo.private("Numbers.4"));
  const publishing = publish(() => servers.a.sdk(), "private-Numbers.4", 200);
  await wait(1_000);
  await servers.a.stop("SIGTERM");
  await servers.a.start();
  await publishing;
  await connected(echo);
  await eventually(() => assert.ok(got.numbers.includes(199)));
  assertNothingLost(got, 200);
});

// Pages with a token of nodes that are restarted or killed.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import { Application } from "./application.mjs";
import { closeAll, connected, eventually, present, subscribed, tab } from "./client.mjs";
import { assertNothingLost, collect, HISTORY, Line, MESSAGES, publish, wait, withToken } from "./recovery.mjs";
import { twoNodes } from "./servers.mjs";

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
    for (const [node, other] of [[servers.a, servers.b], [servers.b, servers.a]]) {
      await wait(1_000);
      node.stopping = true;
      // As a load balancer does. pusher-js waits for 15 seconds after a refused handshake.
      line.ports = [other.port, node.port];
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

// A line that is cut again and again, by a seeded schedule: every message once, in order, in both directions.
// CUTS=1000 SEED=7 npm test -- test/cuts.test.mjs runs a longer one.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { connect } from "@yamabiko/client";
import { credentials, ENVIRONMENT, eventually, Line, Node, pageEvents, random, wait } from "./support.mjs";

const CUTS = Number(process.env.CUTS ?? 40);
const SEED = Number(process.env.SEED ?? 20_260_401);

let node;
before(async () => {
  node = await Node.start(ENVIRONMENT);
});
after(() => node?.stop());

test(`${CUTS} cuts lose nothing and double nothing, seed ${SEED}`, async (context) => {
  const next = random(SEED);
  const page = pageEvents();
  const line = await Line.to(node.port);
  const open = (port, id, options) => connect(() => credentials(port, "log:cuts", { id }), options);

  const received = [];
  let gaps = 0, late = 0, opened = 0;
  const clients = [1, 2].map((id) => open(line.port, id));
  const [reader, writer] = clients;
  reader.on("message", ({ data, recovered }) => {
    received.push(data.number);
    late += recovered;
  });
  for (const client of clients) {
    client.on("gap", () => gaps++);
    client.on("state", ({ state }) => {
      opened += state === "open";
    });
  }
  // It is never cut off: what it gets is what was stored.
  const stored = [];
  const witness = open(node.port, 3, { lifecycle: false });
  witness.on("message", ({ data }) => stored.push(data.number));
  await eventually(() => assert.ok([...clients, witness].every(({ state }) => state === "open")));

  let isOver = false, sent = 0;
  const sending = (async () => {
    const answers = [];
    for (; !isOver; sent++) {
      answers.push(writer.send({ number: sent }, { timeout: 120_000 }));
      await wait(next() * 8);
    }
    await Promise.all(answers);
  })();
  sending.catch(() => {});
  for (let cut = 0; cut < CUTS; cut++) {
    await wait(next() * 60);
    line.cut();
    await wait(next() * 10);
    // The network is back: without it, the back-off would make the test long.
    page.dispatchEvent(new Event("online"));
  }
  isOver = true;
  const poke = setInterval(() => page.dispatchEvent(new Event("online")), 200);
  await sending;
  await eventually(() => assert.deepEqual([received.length, stored.length], [sent, sent]));
  clearInterval(poke);

  const expected = Array.from({ length: sent }, (_, number) => number);
  assert.deepEqual(stored, expected);
  assert.deepEqual(received, expected);
  assert.equal(gaps, 0);
  assert.ok(late > 0);
  context.diagnostic(`${sent} messages, ${opened} connections, ${late} recovered`);
  for (const client of [...clients, witness]) client.close();
  line.stop();
});

// What the tests of recovery share.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { connect, createServer } from "node:net";

import { APP } from "./servers.mjs";

export const HISTORY = {
  YAMABIKO__PUSHER__HISTORY: '[{ channels = ["private-*", "presence-*"], messages = 1000, age = "2m" }]',
};
export const MESSAGES = 400;
export const INTERVAL_MS = 15; // 66 a second

export const withToken = () => ({ key: `${APP.key}~${randomUUID()}` });
export const wait = (ms) => new Promise((wake) => setTimeout(wake, ms));

/** A proxy in front of nodes, whose connections the test cuts. */
export class Line {
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
export async function publish(sdk, channel, count) {
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
export function collect(channel) {
  const got = { numbers: [], gaps: 0 };
  channel.listen("Numbered", ({ number }) => got.numbers.push(number));
  channel.listen(".yamabiko:gap", () => got.gaps++);
  return got;
}

export function assertNothingLost(got, count) {
  const seen = new Set(got.numbers);
  const lost = Array.from({ length: count }, (_, number) => number).filter((number) => !seen.has(number));
  assert.deepEqual(lost, [], `lost; ${got.gaps} gaps`);
  assert.equal(got.gaps, 0);
  return got.numbers.length - seen.size;
}

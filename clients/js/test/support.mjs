// What the tests of the client share: nodes, tokens, seeded randomness, and the events of a page in Node.js.

import { createHmac } from "node:crypto";

import { Inbox } from "../../../tests/echo/client.mjs";
import { Line } from "../../../tests/echo/line.mjs";
import { Node } from "../../../tests/echo/servers.mjs";

export { Inbox, Line, Node };
export { eventually } from "../../../tests/echo/client.mjs";

const SECRET = "a secret of 32 bytes for the tests";

/** `log` has a history, `room` has presence too, `plain` has neither. */
export const ENVIRONMENT = {
  YAMABIKO__CHANNELS__LOG__HISTORY: '{ messages = 20000, age = "5m" }',
  YAMABIKO__CHANNELS__ROOM__HISTORY: '{ messages = 100, age = "5m" }',
  YAMABIKO__CHANNELS__ROOM__PRESENCE: "true",
  YAMABIKO__LIMITS__MESSAGES_PER_SECOND: "100000",
  YAMABIKO__LIMITS__BURST: "100000",
};

const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A token of the application. */
export function token(channel, claims = {}) {
  const now = Math.floor(Date.now() / 1000);
  const body = `${part({ alg: "HS256", typ: "JWT" })}.${part({ id: 7, name: "葵", channel, iat: now, exp: now + 3600, ...claims })}`;
  return `${body}.${createHmac("sha256", SECRET).update(body).digest("base64url")}`;
}

/** What a token route answers. */
export const credentials = (port, channel, claims) => ({ url: `ws://127.0.0.1:${port}/ws`, token: token(channel, claims) });

/** Inboxes of a connection's events. */
export function follow(connection, ...events) {
  return events.map((event) => {
    const inbox = new Inbox();
    connection.on(event, inbox.put);
    return inbox;
  });
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
export function random(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export const wait = (ms) => new Promise((wake) => setTimeout(wake, ms));

/** Gives Node.js the events of a page, such as `online`. */
export function pageEvents() {
  const page = new EventTarget();
  globalThis.addEventListener = page.addEventListener.bind(page);
  return page;
}

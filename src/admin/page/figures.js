// The figures of all nodes over the last minutes, for as long as the page is open.

import { get } from "./api.js";
import { language, text } from "./texts.js";

export const WINDOW_MS = 5 * 60_000;
const EVERY_MS = 2_000;
/** Figures of which an alert tells for this long. */
const RECENT_MS = 60_000;

/** The rates, and the counts of `/nodes` from which they are computed. */
const RATES = {
  messages: (node) => node.messages_accepted,
  received: (node) => node.messages_received,
  copies: (node) => node.deliveries,
  refused: (node) => node.messages_refused + node.handshakes_refused,
  dropped: (node) => node.dropped,
  slow: (node) => node.slow_consumers,
  webhooks: (node) => node.webhooks_failed,
  gates: (node) => node.gate_failures,
  cpu: (node) => node.cpu_seconds,
};

/** Each with `at`, `nodes` by name with their rates, `missing`, and the sums of all nodes. */
let polls = [];
let failure = null;
let lastSeen = new Map();
const listeners = new Set();

/** Calls `listener` after each poll, until `signal` aborts. */
export function onFigures(listener, signal) {
  listeners.add(listener);
  signal.addEventListener("abort", () => listeners.delete(listener));
  if (polls.length || failure) listener();
}

export const latest = () => polls.at(-1);

/** The points of a figure: `[time, value]` of the last minutes. */
export const points = (figure) => polls.filter((poll) => poll.sums[figure] !== undefined).map((poll) => [poll.at, poll.sums[figure]]);

export function range() {
  const until = polls.at(-1)?.at ?? Date.now();
  return { since: until - WINDOW_MS, until };
}

/** Polls until `signal` aborts. */
export async function follow(signal) {
  polls = [];
  lastSeen = new Map();
  while (!signal.aborted) {
    const began = Date.now();
    try {
      take(await get("nodes", {}, signal));
      failure = null;
    } catch (error) {
      if (signal.aborted) return;
      failure = error;
    }
    for (const listener of listeners) listener();
    await new Promise((next) => setTimeout(next, Math.max(200, EVERY_MS - (Date.now() - began))));
  }
}

function take({ nodes, missing_nodes: missing = [] }) {
  const at = Date.now();
  const before = polls.at(-1);
  const seconds = before && (at - before.at) / 1000;
  const poll = { at, nodes: new Map(), missing, sums: {} };
  for (const node of nodes) {
    const earlier = before?.nodes.get(node.name)?.node;
    const rates = {};
    if (earlier) {
      for (const [name, count] of Object.entries(RATES)) rates[name] = Math.max(0, (count(node) - count(earlier)) / seconds);
    }
    poll.nodes.set(node.name, { node, rates });
    lastSeen.set(node.name, { at, host: node.host, draining: node.draining });
  }
  const all = [...poll.nodes.values()];
  const sum = (value) => all.reduce((total, entry) => total + (value(entry) ?? 0), 0);
  poll.sums.connections = sum(({ node }) => node.connections);
  poll.sums.limit = sum(({ node }) => node.connections_limit);
  if (all.some(({ rates }) => rates.copies !== undefined)) {
    for (const name of ["messages", "copies", "refused", "dropped", "slow", "webhooks", "gates"]) poll.sums[name] = sum(({ rates }) => rates[name]);
  }
  polls.push(poll);
  polls = polls.filter((kept) => kept.at > at - WINDOW_MS - EVERY_MS);
}

/** What needs attention: `[severity, words]`, the worst first. */
export function alerts() {
  const found = [];
  const poll = latest();
  if (failure) found.push(["bad", text("alertUnreachable", { detail: failure.message })]);
  if (!poll) return found;
  const name = (node) => (lastSeen.get(node)?.host ? `${lastSeen.get(node).host} (${short(node)})` : short(node));
  for (const node of poll.missing) found.push(["bad", text("alertMissing", { node: name(node) })]);
  for (const { node } of poll.nodes.values()) {
    if (node.broker !== "ready") found.push(["bad", text("alertBroker", { node: name(node.name), reason: node.broker })]);
    if (node.draining) found.push(["warn", text("alertDraining", { node: name(node.name) })]);
    if (node.connections_limit && node.connections >= 0.9 * node.connections_limit) {
      found.push(["warn", text("alertFull", { node: name(node.name), connections: number(node.connections), limit: number(node.connections_limit) })]);
    }
  }
  for (const [node, { at, draining }] of lastSeen) {
    const isGone = !poll.nodes.has(node) && !poll.missing.includes(node);
    if (isGone && poll.at - at < WINDOW_MS) found.push([draining ? "info" : "warn", text("alertGone", { node: name(node) })]);
  }
  for (const [figure, key] of [["dropped", "alertDropped"], ["webhooks", "alertWebhooks"], ["gates", "alertGates"], ["slow", "alertSlow"]]) {
    const count = recent(figure);
    if (count > 0) found.push(["warn", text(key, { count: number(count) })]);
  }
  const versions = new Set([...poll.nodes.values()].map(({ node }) => node.version));
  if (versions.size > 1) found.push(["info", text("alertVersions", { versions: [...versions].sort().join(", ") })]);
  const order = ["bad", "warn", "info"];
  return found.sort(([a], [b]) => order.indexOf(a) - order.indexOf(b));
}

/** How often something has happened in the last minute. */
function recent(figure) {
  let count = 0;
  for (let index = 1; index < polls.length; index += 1) {
    const [before, poll] = [polls[index - 1], polls[index]];
    if (poll.at > polls.at(-1).at - RECENT_MS) count += (poll.sums[figure] ?? 0) * ((poll.at - before.at) / 1000);
  }
  return Math.round(count);
}

/** The beginning of a node's name, which is enough for people. */
export const short = (node) => String(node).slice(0, 8);

const locale = () => (language() === "ja" ? "ja-JP" : "en-GB");

export function number(value) {
  const isLarge = Math.abs(value) >= 100_000;
  return new Intl.NumberFormat(locale(), isLarge ? { notation: "compact", maximumFractionDigits: 1 } : { maximumFractionDigits: 0 }).format(value);
}

export function rate(value) {
  if (value === undefined) return "–";
  return value > 0 && value < 10 ? value.toFixed(1) : number(value);
}

export function bytes(value) {
  for (const [unit, size] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (value >= size) return `${(value / size).toFixed(value / size < 10 ? 1 : 0)} ${unit}`;
  }
  return `${value} B`;
}

export function duration(seconds) {
  const units = [["days", 86_400], ["hours", 3_600], ["minutes", 60]];
  const [unit, size] = units.find(([, size]) => seconds >= size) ?? ["seconds", 1];
  return text(unit, { count: Math.floor(seconds / size) });
}

export function time(milliseconds) {
  return new Date(milliseconds).toLocaleTimeString(locale(), { hour12: false });
}

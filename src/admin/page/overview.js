// The overview: alerts, figures, nodes, and what is busiest.

import { get } from "./api.js";
import { bar, Chart, sparkline } from "./charts.js";
import { appTag, channelLink, h, heading, repeat, table, userLink } from "./elements.js";
import { alerts, bytes, duration, latest, number, onFigures, points, range, rate, short } from "./figures.js";
import { text } from "./texts.js";

const TRAFFIC_MS = 2_000;

export function overview({ main, signal }) {
  const alertList = h("div", { class: "alerts", role: "status" });
  const tiles = ["connections", "messages", "copies", "refused", "dropped", "slow"].map((figure) => new Tile(figure));
  const connections = new Chart({ title: text("connections"), format: number });
  const messages = new Chart({ title: text("perSecond"), format: rate });
  const nodes = h("section", { class: "panel", "aria-labelledby": "nodes" }, h("h2", { id: "nodes" }, text("nodes")));
  const nodeTable = h("div");
  nodes.append(nodeTable);
  const channels = busiest("busyChannels", text("subscribers"));
  const senders = busiest("busySenders");
  main.replaceChildren(
    heading(text("overview")),
    alertList,
    h("div", { class: "tiles" }, tiles.map(({ element }) => element)),
    h("div", { class: "pair" }, h("section", { class: "panel" }, connections.element), h("section", { class: "panel" }, messages.element)),
    nodes,
    h("div", { class: "pair" }, channels.element, senders.element),
  );

  let told;
  onFigures(() => {
    const found = alerts();
    // Replaced only when it has changed, because it is read aloud.
    if (JSON.stringify(found) !== told) {
      told = JSON.stringify(found);
      alertList.replaceChildren(...(found.length ? found : [["good", text("allWell")]]).map(([severity, words]) => h("p", { class: `alert ${severity}` }, words)));
    }
    if (!latest()) return;
    for (const tile of tiles) tile.update();
    connections.update({ series: [{ name: text("open"), points: points("connections") }], ...range() });
    messages.update({ series: ["copies", "messages"].map((figure) => ({ name: text(figure), points: points(figure) })), ...range() });
    nodeTable.replaceChildren(nodesTable());
  }, signal);

  repeat(signal, TRAFFIC_MS, async () => {
    const traffic = await get("traffic", { limit: 8 }, signal);
    channels.update(traffic.channels.map((channel) => ({
      name: [channelLink(channel.name, channel.app), " ", channel.app !== undefined && appTag(channel.app)],
      rate: channel.messages_per_second,
      beside: number(channel.subscribers),
    })));
    senders.update(traffic.senders.map((sender) => ({
      name: [userLink(sender.id, sender.app), " ", sender.app !== undefined && appTag(sender.app)],
      rate: sender.messages_per_second,
    })));
  });
}

class Tile {
  #value = h("strong", {}, "–");
  #beside = h("small");
  #line = h("div");

  constructor(figure) {
    this.figure = figure;
    this.element = h("div", { class: `tile ${figure}` }, h("h2", {}, text(figure === "connections" ? figure : `${figure}Rate`)), this.#value, this.#beside, this.#line);
  }

  update() {
    const { sums } = latest();
    const value = sums[this.figure];
    this.#value.textContent = this.figure === "connections" ? number(value) : rate(value);
    if (this.figure === "connections") this.#beside.textContent = text("ofLimit", { limit: number(sums.limit) });
    this.element.classList.toggle("raised", value > 0);
    const { since, until } = range();
    this.#line.replaceChildren(sparkline(points(this.figure), since, until));
  }
}

function nodesTable() {
  const rows = [...latest().nodes.values()].sort((a, b) => a.node.host.localeCompare(b.node.host) || a.node.name.localeCompare(b.node.name));
  const missing = latest().missing.map((name) => ({ node: { name, host: "", missing: true }, rates: {} }));
  const known = (value) => ({ node, rates }) => (node.missing ? "–" : value(node, rates));
  return table({
    caption: text("nodes"),
    rows: [...rows, ...missing],
    empty: text("noNodes"),
    columns: [
      { label: text("node"), wide: true, cell: ({ node }) => [h("b", {}, node.host || text("unknown")), " ", h("code", { title: node.name }, short(node.name))] },
      { label: text("state"), cell: ({ node }) => state(node) },
      { label: text("connections"), numeric: true, cell: known((node) => h("span", { class: "load" }, number(node.connections), bar(node.connections / node.connections_limit, { isLimit: true }))) },
      { label: text("channels"), numeric: true, cell: known((node) => number(node.channels)) },
      { label: text("inRate"), numeric: true, cell: known((_, rates) => rate(rates.received)) },
      { label: text("copiesRate"), numeric: true, cell: known((_, rates) => rate(rates.copies)) },
      { label: text("cpu"), numeric: true, cell: known((_, rates) => (rates.cpu === undefined ? "–" : `${Math.round(rates.cpu * 100)} %`)) },
      { label: text("memory"), numeric: true, cell: known((node) => bytes(node.resident_bytes)) },
      { label: text("uptime"), numeric: true, cell: known((node) => duration(Date.now() / 1000 - node.started_at)) },
      { label: text("version"), cell: known((node) => node.version) },
    ],
  });
}

function state(node) {
  const [kind, key] = node.missing ? ["bad", "silent"] : node.draining ? ["warn", "draining"] : node.broker === "ready" ? ["good", "ready"] : ["bad", "brokerAway"];
  return h("span", { class: `state ${kind}` }, text(key));
}

/** A list of what is busiest, with bars. */
function busiest(title, beside) {
  const list = h("div", {}, h("p", { class: "empty" }, text("counting")));
  const element = h("section", { class: "panel", "aria-labelledby": title }, h("h2", { id: title }, text(title)), list);
  let hasCounted = false;
  const update = (rows) => {
    const most = Math.max(0, ...rows.map((row) => row.rate));
    // The first answer turns the counting on.
    const empty = text(hasCounted ? "noTraffic" : "counting");
    hasCounted = true;
    const columns = [
      { label: text("name"), wide: true, cell: (row) => row.name },
      ...(beside ? [{ label: beside, numeric: true, cell: (row) => row.beside }] : []),
      { label: text("perSecondShort"), numeric: true, cell: (row) => h("span", { class: "load" }, rate(row.rate), bar(row.rate / most)) },
    ];
    const focused = list.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    list.replaceChildren(table({ caption: text(title), columns, rows, empty }));
    if (focused) [...list.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
  };
  return { element, update };
}

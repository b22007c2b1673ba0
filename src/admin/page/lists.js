// Lists in pages: channels, connections and users.

import { get, session } from "./api.js";
import { address, appChoice, appTag, channelLink, field, h, heading, table, userLink } from "./elements.js";
import { bytes, number, short } from "./figures.js";
import { text } from "./texts.js";

const LIMIT = 50;

export function channels({ main, query, signal, go }) {
  const prefix = h("input", { type: "search", name: "prefix", value: query.prefix ?? "", autocomplete: "off", spellcheck: "false" });
  const apps = appChoice(session.apps, query.app, { all: true });
  const filter = form([field(text("prefix"), prefix, { grow: true }), apps && field(text("app"), apps)], () => go("channels", undefined, {
    prefix: prefix.value,
    ...(apps && apps.value !== "*" ? { app: apps.value || "-" } : {}),
  }));
  // In the address of the page, the native channels are `-`, because an empty value is left out.
  const app = query.app === "-" ? "" : query.app;
  if (apps) apps.value = query.app === undefined ? "*" : app;
  list({
    main,
    signal,
    title: text("channels"),
    filter,
    load: async (cursor) => {
      const page = await get("channels", { prefix: query.prefix, app, cursor, limit: LIMIT }, signal);
      return { ...page, rows: page.channels };
    },
    empty: text(query.prefix ? "nothingFound" : "noChannels"),
    columns: [
      { label: text("channel"), wide: true, cell: (channel) => channelLink(channel.name, channel.app) },
      { label: text("app"), cell: (channel) => appTag(channel.app) },
      { label: text("subscribers"), numeric: true, cell: (channel) => number(channel.subscribers) },
      { label: text("members"), numeric: true, cell: (channel) => (channel.members === undefined ? "–" : number(channel.members)) },
    ],
  });
}

export function connections({ main, query, signal, go }) {
  const channel = h("input", { type: "search", name: "channel", value: query.channel ?? "", autocomplete: "off", spellcheck: "false" });
  const apps = appChoice(session.apps, query.app);
  const filter = form(
    [field(text("onChannel"), channel, { grow: true }), apps && field(text("app"), apps)],
    () => go("connections", undefined, channel.value ? { channel: channel.value, app: apps?.value } : {}),
  );
  list({
    main,
    signal,
    title: text("connections"),
    filter,
    load: async (cursor) => {
      const page = await get("connections", { channel: query.channel, app: query.app, cursor, limit: LIMIT }, signal);
      return { ...page, rows: page.connections };
    },
    empty: text(query.channel ? "nothingFound" : "noConnections"),
    columns: connectionColumns(),
  });
}

export function users({ main, query, signal, go }) {
  const prefix = h("input", { type: "search", name: "prefix", value: query.prefix ?? "", autocomplete: "off", spellcheck: "false" });
  const filter = form([field(text("userPrefix"), prefix, { grow: true })], () => go("users", undefined, { prefix: prefix.value }));
  list({
    main,
    signal,
    title: text("users"),
    filter,
    load: async (cursor) => {
      const page = await get("users", { prefix: query.prefix, cursor, limit: LIMIT }, signal);
      return { ...page, rows: page.users };
    },
    empty: text(query.prefix ? "nothingFound" : "noUsers"),
    columns: [
      { label: text("user"), wide: true, cell: (user) => userLink(user.id, user.app) },
      { label: text("app"), cell: (user) => appTag(user.app) },
      { label: text("connections"), numeric: true, cell: (user) => number(user.connections) },
    ],
  });
}

/** The columns of a table of connections. `actions` makes what stands at the end of a row. */
export function connectionColumns({ withUser = true, actions } = {}) {
  return [
    { label: text("connection"), cell: (connection) => h("code", {}, connection.id) },
    ...(withUser ? [{
      label: text("user"),
      cell: ({ user, app }) => (user ? [userLink(user.id, app), user.name ? ` ${user.name}` : ""] : "–"),
    }] : []),
    {
      label: text("channels"),
      wide: true,
      cell: ({ channels, app }) => (channels.length ? h("span", { class: "many" }, channels.slice(0, 8).map((name) => channelLink(name, app)), channels.length > 8 && text("andMore", { count: channels.length - 8 })) : "–"),
    },
    { label: text("app"), cell: ({ app }) => appTag(app) },
    { label: text("node"), cell: ({ node }) => h("code", { title: node }, short(node)) },
    { label: text("unread"), numeric: true, cell: ({ queued_bytes: queued }) => bytes(queued) },
    ...(actions ? [{ label: text("actions"), cell: actions }] : []),
  ];
}

/** Tells which nodes have not answered. */
export function incomplete({ missing_nodes: nodes = [] }) {
  return nodes.length ? h("p", { class: "alert warn", role: "status" }, text("incomplete", { nodes: nodes.map(short).join(", ") })) : null;
}

export function failed(error) {
  return h("p", { class: "alert bad", role: "alert" }, text("failed", { detail: error.message }));
}

function form(fields, submit) {
  return h(
    "form",
    { class: "filter", role: "search", onsubmit: (event) => { event.preventDefault(); submit(); } },
    fields,
    h("button", {}, text("filter")),
  );
}

/** A list of pages. `load` gets the page after a cursor: its `rows`, `next` and `missing_nodes`. */
function list({ main, signal, title, filter, load, columns, empty }) {
  const count = h("p", { class: "count", role: "status" });
  const content = h("div", {}, h("p", { class: "empty" }, text("loading")));
  const previous = h("button", { type: "button" }, text("previousPage"));
  const next = h("button", { type: "button" }, text("nextPage"));
  const refresh = h("button", { type: "button", class: "quiet" }, text("refresh"));
  const pages = h("nav", { class: "pages", "aria-label": text("pages") }, previous, next);
  main.replaceChildren(heading(title, refresh), filter, count, h("section", { class: "panel flush" }, content), pages);
  // The cursors of the pages so far; the first page has none.
  let cursors = [undefined];
  let following;
  const show = async () => {
    for (const button of [previous, next, refresh]) button.disabled = true;
    try {
      const page = await load(cursors.at(-1));
      following = page.next;
      const number = text("pageNumber", { page: cursors.length });
      count.textContent = cursors.length > 1 || following ? `${number} · ${text("entries", { count: page.rows.length })}` : text("entries", { count: page.rows.length });
      content.replaceChildren(...[incomplete(page), table({ caption: title, columns, rows: page.rows, empty })].filter(Boolean));
    } catch (error) {
      if (signal.aborted) return;
      count.textContent = "";
      content.replaceChildren(failed(error));
    }
    refresh.disabled = false;
    previous.disabled = cursors.length < 2;
    next.disabled = following === undefined;
    pages.hidden = previous.disabled && next.disabled;
  };
  previous.addEventListener("click", () => { cursors = cursors.slice(0, -1); show(); });
  next.addEventListener("click", () => { cursors = [...cursors, following]; show(); });
  refresh.addEventListener("click", show);
  pages.hidden = true;
  show();
}

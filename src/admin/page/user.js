// One user, on all nodes.

import { get, may, path } from "./api.js";
import { disconnectButton, revokeButton } from "./closing.js";
import { address, appTag, h, heading, repeat, table } from "./elements.js";
import { bytes, number } from "./figures.js";
import { connectionColumns, failed, incomplete } from "./lists.js";
import { text } from "./texts.js";

const EVERY_MS = 3_000;
const LIMIT = 500;

export function user({ main, name: id, query: { app }, signal }) {
  const summary = h("dl", { class: "facts" });
  const problem = h("div");
  const content = h("div", {}, h("p", { class: "empty" }, text("loading")));
  // A user of native channels has the ID as its token has it: the number 7 and the text "7" are the same.
  const target = { user: id, ...(app === undefined ? {} : { app }) };
  const show = async () => {
    const page = await get(path("users", id), { app, limit: LIMIT }, signal);
    const { connections } = page;
    const sum = (value) => connections.reduce((total, connection) => total + value(connection), 0);
    const facts = [
      [text("connections"), number(connections.length) + (page.next ? "+" : "")],
      [text("nodes"), number(new Set(connections.map(({ node }) => node)).size)],
      [text("channels"), number(new Set(connections.flatMap(({ channels }) => channels)).size)],
      [text("unread"), bytes(sum(({ queued_bytes: queued }) => queued))],
    ];
    const shown = connections.find(({ user }) => user?.name)?.user.name;
    if (shown) facts.unshift([text("userName"), shown]);
    summary.replaceChildren(...facts.map(([label, value]) => h("div", {}, h("dt", {}, label), h("dd", {}, value))));
    const columns = connectionColumns({
      withUser: false,
      actions: may("disconnect") && ((connection) => disconnectButton(text("disconnect"), text("disconnectConnection", { connection: connection.id }), { connection: connection.id }, refresh)),
    });
    // A row that has the focus stays.
    const state = JSON.stringify(page);
    if (state === content.dataset.state) return;
    content.dataset.state = state;
    const focused = [...content.querySelectorAll("a, button")].indexOf(document.activeElement);
    content.replaceChildren(...[incomplete(page), table({ caption: text("connections"), columns, rows: connections, empty: text("userHasNone") })].filter(Boolean));
    if (focused >= 0) content.querySelectorAll("a, button")[focused]?.focus();
  };
  const refresh = () => show().catch(() => {});
  main.replaceChildren(
    heading(id, appTag(app)),
    h(
      "div",
      { class: "row actions" },
      disconnectButton(text("disconnectUser"), text("disconnectUserQuestion", { user: id }), target, refresh),
      app === undefined && revokeButton(id, refresh),
      h("a", { class: "button", href: address("tail", undefined, { user: id, app }) }, text("followInTail")),
    ),
    problem,
    summary,
    h("section", { class: "panel flush", "aria-labelledby": "of-user" }, h("h2", { id: "of-user" }, text("connections")), content),
  );
  repeat(signal, EVERY_MS, show, (error) => problem.replaceChildren(...(error ? [failed(error)] : [])));
}

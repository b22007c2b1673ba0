// One channel: who is on it, and what it remembers.

import { get, may, path } from "./api.js";
import { disconnectButton } from "./closing.js";
import { address, appTag, h, heading, repeat, table, userLink } from "./elements.js";
import { number, time } from "./figures.js";
import { connectionColumns, failed, incomplete } from "./lists.js";
import { text } from "./texts.js";

const EVERY_MS = 3_000;
const CONNECTIONS = 50;
const MEMBERS = 100;
const MESSAGES = 50;

export function channel({ main, name, query: { app }, signal }) {
  const facts = h("dl", { class: "facts" });
  const problem = h("div");
  const parts = Object.fromEntries(["members", "history", "subscribers"].map((part) => [part, new Part(part)]));
  main.replaceChildren(
    heading(name, appTag(app)),
    h(
      "div",
      { class: "row actions" },
      may("publish") && h("a", { class: "button", href: address("publish", undefined, { channel: name, app }) }, text("publishHere")),
      h("a", { class: "button", href: address("tail", undefined, { channel: name, app }) }, text("followInTail")),
      disconnectButton(text("disconnectAll"), text("disconnectChannelQuestion", { channel: name }), { channel: name, ...(app === undefined ? {} : { app }) }),
    ),
    problem,
    facts,
    parts.members.element,
    parts.history.element,
    parts.subscribers.element,
  );
  const of = path("channels", name);
  repeat(signal, EVERY_MS, async () => {
    const detail = await get(of, { app }, signal);
    const shown = [[text("subscribers"), number(detail.subscribers)]];
    if (detail.members !== undefined) shown.push([text("members"), number(detail.members)]);
    shown.push([text("history"), detail.history ? detail.history.position ?? text("noMessageYet") : text("noHistory")]);
    facts.replaceChildren(...shown.map(([label, value]) => h("div", {}, h("dt", {}, label), h("dd", {}, value))));

    const page = await get("connections", { channel: name, app, limit: CONNECTIONS }, signal);
    parts.subscribers.show(page, () => [
      incomplete(page),
      table({ caption: text("subscribers"), columns: connectionColumns(), rows: page.connections, empty: text("nobodyHere") }),
      page.next && h("p", { class: "more" }, h("a", { href: address("connections", undefined, { channel: name, app }) }, text("allConnections"))),
    ]);
    if (detail.members !== undefined) {
      const { members, count } = await get(`${of}/members`, { app, limit: MEMBERS }, signal);
      parts.members.show(members, () => [
        members.length ? h("ul", { class: "chips" }, members.map(({ id, info }) => h("li", { title: info === undefined ? undefined : JSON.stringify(info) }, userLink(id, undefined), ` ${nameIn(info)}`))) : h("p", { class: "empty" }, text("nobodyHere")),
        count > members.length && h("p", { class: "more" }, text("andMore", { count: count - members.length })),
      ]);
    }
    if (detail.history) {
      const history = await get(`${of}/history`, { app, limit: MESSAGES }, signal);
      parts.history.show(history, () => [messages(history.messages)]);
    }
  }, (error) => problem.replaceChildren(...(error ? [failed(error)] : [])));
}

/** A part of the page, which is there as soon as there is something to show. */
class Part {
  #content = h("div");
  #state;

  constructor(name) {
    this.element = h("section", { class: "panel flush", "aria-labelledby": `of-${name}`, hidden: true }, h("h2", { id: `of-${name}` }, text(name)), this.#content);
  }

  /** Replaces the content if `state` has changed. */
  show(state, content) {
    const written = JSON.stringify(state);
    if (written === this.#state) return;
    this.#state = written;
    this.element.hidden = false;
    this.#content.replaceChildren(...content().filter(Boolean));
  }
}

/** The latest messages, the newest first. */
function messages(all) {
  if (!all.length) return h("p", { class: "empty" }, text("noMessageYet"));
  return h("ol", { class: "stored", tabindex: "0", "aria-label": text("history") }, all.toReversed().map((message) => h(
    "li",
    {},
    h(
      "p",
      {},
      h("time", { datetime: new Date(message.time).toISOString() }, time(message.time)),
      h("b", {}, message.event ?? message.sender?.name ?? ""),
      (message.sender ?? message.user_id) !== undefined && h("span", {}, `${text("user")} ${message.sender?.id ?? message.user_id}`),
      h("code", {}, message.id),
    ),
    h("pre", {}, typeof message.data === "string" ? message.data : JSON.stringify(message.data)),
  )));
}

/** The name of a native user is all that is said of them; applications say what they like. */
function nameIn(info) {
  const name = typeof info === "string" ? info : info?.name;
  return typeof name === "string" ? name : "";
}

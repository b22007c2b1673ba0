// The live tail: what happens on all nodes, as it happens.

import { open, may, session } from "./api.js";
import { address, appChoice, appTag, channelLink, field, h, heading, userLink } from "./elements.js";
import { bytes, number, short } from "./figures.js";
import { text } from "./texts.js";

const TYPES = ["connected", "disconnected", "subscribed", "unsubscribed", "published", "refused", "throttled", "dropped"];
/** The lines that are kept. */
const LIMIT = 500;
const RETRY_MS = 2_000;

export function tail({ main, query, signal }) {
  const chosen = query.types ? query.types.split(",") : TYPES;
  const boxes = TYPES.map((type) => {
    const box = h("input", { type: "checkbox", name: "types", value: type });
    box.checked = chosen.includes(type);
    return box;
  });
  const apps = appChoice(session.apps, query.app === "-" ? "" : query.app, { all: true });
  const channel = h("input", { type: "search", name: "channel", value: query.channel ?? "", placeholder: "chat:*", autocomplete: "off", spellcheck: "false" });
  const user = h("input", { type: "search", name: "user", value: query.user ?? "", autocomplete: "off", spellcheck: "false" });
  const pause = h("button", { type: "button", "aria-pressed": "false" }, text("pause"));
  const clear = h("button", { type: "button" }, text("clear"));
  const follows = h("p", { class: "count", role: "status" }, text("connecting"));
  const list = h("ol", { class: "tail", tabindex: "0", "aria-label": text("tail") });
  const empty = h("p", { class: "empty" }, text("nothingYet"));
  const filter = h(
    "form",
    { class: "filter", role: "search", onsubmit: (event) => { event.preventDefault(); apply(); }, onchange: () => apply() },
    h("fieldset", { class: "types" }, h("legend", { class: "visually-hidden" }, text("types")), TYPES.map((type, index) => h("label", { class: type }, boxes[index], h("span", {}, text(type))))),
    apps && field(text("app"), apps),
    field(text("channelPattern"), channel, { grow: true }),
    field(text("userId"), user),
    h("button", {}, text("filter")),
  );
  main.replaceChildren(
    heading(text("tail"), h("div", { class: "row buttons" }, pause, clear)),
    filter,
    follows,
    h("section", { class: "panel flush dark" }, empty, list),
    !may("tail") ? h("p", { class: "hint" }, text("noData")) : "",
    h("p", { class: "hint" }, text("tailNote")),
  );

  let waiting = [];
  let isPaused = false;
  let state = null;
  let arrived = [];
  const label = () => {
    pause.textContent = text(isPaused ? "resume" : "pause");
    pause.setAttribute("aria-pressed", String(isPaused));
    follows.textContent = [state ?? text("connecting"), isPaused && text("tailPaused", { count: number(waiting.length) })].filter(Boolean).join(" · ");
  };
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    if (!isPaused) {
      add(waiting);
      waiting = [];
    }
    label();
  });
  const empties = () => {
    waiting = [];
    arrived = [];
    list.replaceChildren();
    empty.hidden = false;
    label();
  };
  clear.addEventListener("click", empties);

  // Lines come in bursts: they are drawn once per frame.
  const draw = () => {
    const lines = arrived;
    arrived = [];
    if (isPaused) {
      waiting = [...waiting, ...lines].slice(-LIMIT);
      label();
    } else {
      add(lines);
    }
  };
  const add = (lines) => {
    if (!lines.length) return;
    empty.hidden = true;
    const atTop = list.scrollTop < 8;
    const before = list.scrollHeight;
    list.prepend(...lines.slice(-LIMIT).map(line).reverse());
    while (list.childElementCount > LIMIT) list.lastElementChild.remove();
    // Who has scrolled down goes on reading there.
    if (!atTop) list.scrollTop += list.scrollHeight - before;
  };
  let reading = new AbortController();
  signal.addEventListener("abort", () => reading.abort());
  read(reading.signal);

  /** What is asked for. In the address of the page, what is native is `-`, because an empty value is left out. */
  function wanted() {
    const types = boxes.filter((box) => box.checked).map((box) => box.value);
    const app = !apps || apps.value === "*" ? undefined : apps.value || "-";
    return { types: types.length === TYPES.length ? undefined : types.join(","), app, channel: channel.value || undefined, user: user.value || undefined };
  }

  function apply() {
    // None would be nothing to see.
    if (!boxes.some((box) => box.checked)) boxes.forEach((box) => { box.checked = true; });
    history.replaceState(null, "", address("tail", undefined, wanted()));
    reading.abort();
    reading = new AbortController();
    state = null;
    empties();
    read(reading.signal);
  }

  async function read(signal) {
    while (!signal.aborted) {
      try {
        const { app, ...query } = wanted();
        const response = await open("tail", { query: { ...query, app: app === "-" ? "" : app }, signal });
        for await (const event of lines(response.body)) {
          if (event.type === "nodes") {
            state = text("follows", { count: event.nodes.length, nodes: event.nodes.map(short).join(", ") });
            if (event.missing.length) state += ` · ${text("tailMissing", { nodes: event.missing.map(short).join(", ") })}`;
            label();
          } else {
            if (!arrived.length) requestAnimationFrame(draw);
            arrived.push({ ...event, at: event.at || Date.now() });
            if (arrived.length > 2 * LIMIT) arrived = arrived.slice(-LIMIT);
          }
        }
        state = text("tailEnded");
      } catch (error) {
        if (signal.aborted) return;
        state = text("failed", { detail: error.message });
      }
      if (signal.aborted) return;
      label();
      await new Promise((next) => setTimeout(next, RETRY_MS));
    }
  }
}

/** The JSON objects of a response, one a line. */
async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) if (part) yield JSON.parse(part);
  }
}

function line(event) {
  if (event.type === "skipped") return h("li", { class: "skipped" }, text("skipped", { count: number(event.count), node: short(event.node) }));
  if (event.type === "ended") return h("li", { class: "skipped" }, text("tailEnded"));
  const at = new Date(event.at);
  const clock = `${at.toTimeString().slice(0, 8)}.${String(at.getMilliseconds()).padStart(3, "0")}`;
  const about = [
    event.user !== undefined && h("span", { class: "about" }, `${text("user")} `, userLink(event.user, event.app)),
    event.channel !== undefined && h("span", { class: "about" }, channelLink(event.channel, event.app)),
    event.app !== undefined && appTag(event.app),
    event.event !== undefined && h("b", {}, event.event),
    event.reason !== undefined && h("span", { class: "why" }, event.code === undefined ? event.reason : `${event.reason} (${event.code})`),
    event.bytes !== undefined && h("span", { class: "size" }, bytes(event.bytes)),
    event.connection !== undefined && h("code", {}, event.connection),
    event.address !== undefined && h("code", {}, event.address),
    h("code", { class: "node", title: event.node }, short(event.node)),
  ];
  return h(
    "li",
    { class: event.type },
    h("time", { datetime: at.toISOString() }, clock),
    h("span", { class: "type" }, text(event.type)),
    h("div", {}, h("p", {}, about), event.data !== undefined && h("pre", {}, event.data.length < event.bytes ? `${event.data}…` : event.data)),
  );
}

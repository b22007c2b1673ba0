// Log levels, and reloading the settings.

import { get, may, post, put, remove, session } from "./api.js";
import { field, h, heading, notify, repeat, table } from "./elements.js";
import { duration, short } from "./figures.js";
import { failed, incomplete } from "./lists.js";
import { text } from "./texts.js";

const EVERY_MS = 3_000;
const LEVELS = ["error", "warn", "info", "debug", "trace", "off"];
const MINUTES = [5, 15, 60, 24 * 60];

export function logs({ main, signal }) {
  const problem = h("div");
  const nodes = h("div", {}, h("p", { class: "empty" }, text("loading")));
  const show = (levels) => nodes.replaceChildren(...[
    incomplete(levels),
    table({
      caption: text("logLevels"),
      rows: levels.nodes,
      empty: text("noNodes"),
      columns: [
        { label: text("node"), cell: ({ node }) => h("code", { title: node }, short(node)) },
        { label: text("level"), wide: true, cell: ({ level }) => h("b", {}, level) },
        { label: text("inForce"), cell: ({ until }) => (until === undefined ? text("asConfigured") : text("returnsIn", { time: duration(Math.max(0, until - Date.now() / 1000)) })) },
      ],
    }),
  ].filter(Boolean));
  main.replaceChildren(
    heading(text("logs")),
    problem,
    h("section", { class: "panel flush", "aria-labelledby": "levels" }, h("h2", { id: "levels" }, text("logLevels")), nodes),
    ...(may("reload") ? [h("div", { class: "pair" }, change(show), reload())] : []),
  );
  repeat(signal, EVERY_MS, async () => show(await get("log-level", {}, signal)), (error) => problem.replaceChildren(...(error ? [failed(error)] : [])));
}

function change(show) {
  const level = h("input", { type: "text", name: "level", list: "log-levels", required: true, value: "debug", autocomplete: "off", spellcheck: "false" });
  const minutes = h("select", { name: "minutes" }, MINUTES.map((count) => h("option", { value: String(count) }, duration(count * 60))));
  minutes.value = "15";
  const act = async (work, words) => {
    try {
      show(await work());
      notify(words);
    } catch (error) {
      notify(text("failed", { detail: error.message }), false);
    }
  };
  const restore = h("button", { type: "button", onclick: () => act(() => remove("log-level"), text("levelRestored")) }, text("restoreLevel"));
  return h(
    "form",
    {
      class: "panel fields",
      onsubmit: (event) => {
        event.preventDefault();
        act(() => put("log-level", { level: level.value, seconds: Number(minutes.value) * 60 }), text("levelChanged"));
      },
    },
    h("h2", {}, text("changeLevel")),
    field(text("level"), level, { hint: text("levelHint") }),
    h("datalist", { id: "log-levels" }, LEVELS.map((known) => h("option", { value: known }))),
    field(text("forHowLong"), minutes),
    h("div", { class: "row" }, h("button", { class: "primary" }, text("changeLevel")), restore),
  );
}

function reload() {
  const result = h("div", { role: "status" });
  const button = h("button", { type: "button" }, text("reload"));
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const { reloaded, pending } = await post("reload");
      result.replaceChildren(
        h("p", {}, reloaded.length ? text("reloaded", { settings: reloaded.join(", ") }) : text("nothingReloaded")),
        ...pending.map(({ setting, reason }) => h("p", { class: "alert warn" }, h("code", {}, setting), `: ${reason}`)),
      );
    } catch (error) {
      result.replaceChildren(failed(error));
    } finally {
      button.disabled = false;
    }
  });
  return h(
    "section",
    { class: "panel fields", "aria-labelledby": "reload" },
    h("h2", { id: "reload" }, text("settings")),
    h("p", {}, text("reloadNote", { node: short(session.node) })),
    h("div", { class: "row" }, button),
    result,
  );
}

// Small helpers to build elements.

import { text } from "./texts.js";

/** An element with attributes, listeners (`onclick`) and children. What is `null`, `undefined` or `false` is left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(2).filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/** An element of an SVG. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** The address of a view of this page. */
export function address(view, name, query = {}) {
  const path = ["#", view, ...(name === undefined ? [] : [name])].map((part, index) => (index ? encodeURIComponent(part) : part)).join("/");
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
  return pairs.length ? `${path}?${new URLSearchParams(pairs)}` : path;
}

export const channelLink = (name, app) => h("a", { href: address("channels", name, { app }), class: "name" }, name);
export const userLink = (id, app) => h("a", { href: address("users", String(id), { app }), class: "name" }, String(id));
export const appTag = (app) => (app === undefined ? h("span", { class: "tag" }, text("native")) : h("span", { class: "tag app" }, app));

/** The heading of a view, and what stands beside it. It takes the focus when the view is opened. */
export function heading(words, ...beside) {
  return h("header", { class: "heading" }, h("h1", { tabindex: "-1" }, words), ...beside);
}

/**
 * A table. `columns` have a `label`, `cell(row)`, and `numeric` for figures. On a narrow screen, each row is a card.
 * `empty` stands where there are no rows.
 */
export function table({ caption, columns, rows, empty }) {
  if (!rows.length) return h("p", { class: "empty" }, empty);
  const kind = ({ numeric, wide }) => [numeric && "numeric", wide && "wide"].filter(Boolean).join(" ") || undefined;
  return h(
    "table",
    {},
    h("caption", { class: "visually-hidden" }, caption),
    h("thead", {}, h("tr", {}, columns.map((column) => h("th", { scope: "col", class: kind(column) }, column.label)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, columns.map((column) => h("td", { class: kind(column), "data-label": column.label }, column.cell(row)))))),
  );
}

/** A labelled field. */
export function field(label, control, { hint, grow } = {}) {
  return h("label", { class: grow ? "field grow" : "field" }, h("span", {}, label), control, hint && h("small", {}, hint));
}

/** The choice of an app; nothing where there is none. */
export function appChoice(apps, chosen, { all } = {}) {
  if (!apps.length) return null;
  const option = (value, words) => {
    const element = h("option", { value }, words);
    element.selected = value === (chosen ?? (all ? "*" : ""));
    return element;
  };
  return h(
    "select",
    { name: "app" },
    all && option("*", text("all")),
    option("", text("native")),
    apps.map((app) => option(app, app)),
  );
}

/** Says what has happened, for a while. */
export function notify(words, isGood = true) {
  const notice = h("p", { class: isGood ? "notice" : "notice bad" }, words);
  document.getElementById("notices").replaceChildren(notice);
  setTimeout(() => notice.remove(), 8_000);
}

/** Calls `work` now and then again and again, until the view is left. A failure is handed to `failed`, and the work goes on. */
export async function repeat(signal, milliseconds, work, failed) {
  while (!signal.aborted) {
    try {
      await work();
      failed?.(null);
    } catch (error) {
      if (signal.aborted) return;
      failed?.(error);
    }
    await new Promise((next) => {
      const timer = setTimeout(next, milliseconds);
      signal.addEventListener("abort", () => { clearTimeout(timer); next(); }, { once: true });
    });
  }
}

// The wire: the newest frames of all connections, as they were.

import { onLanguage, text } from "./texts.js";

const LIMIT = 400;
const WAITING_LIMIT = 400;
const SHOWN_CHARACTERS = 4_000;
const encoder = new TextEncoder();
const $ = (id) => document.getElementById(id);

let entries = [];
let waiting = [];
let missed = 0;
let paused = false;

export function startWire() {
  for (const id of ["wire-who", "wire-way", "wire-text"]) $(id).addEventListener("input", redraw);
  $("wire-pause").addEventListener("click", () => {
    paused = !paused;
    if (!paused) {
      const late = waiting;
      waiting = [];
      missed = 0;
      late.forEach(add);
    }
    label();
  });
  $("wire-clear").addEventListener("click", () => {
    entries = [];
    waiting = [];
    missed = 0;
    redraw();
  });
  onLanguage(() => {
    label();
    redraw();
  });
}

/** Follows a connection: its frames are logged under its name. */
export function watch(connection, hue) {
  const option = new Option(connection.name, connection.name);
  $("wire-who").append(option);
  connection.addEventListener("frame", ({ detail }) => {
    const entry = { at: new Date(), who: connection.name, hue, ...detail };
    if (!paused) return add(entry);
    missed += 1;
    waiting.push(entry);
    if (waiting.length > WAITING_LIMIT) waiting.shift();
    count();
  });
  return () => {
    if (option.selected) $("wire-who").value = "";
    option.remove();
    redraw();
  };
}

function add(entry) {
  entries.push(entry);
  const box = $("wire");
  const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  if (matches(entry)) box.append(line(entry));
  if (entries.length > LIMIT) {
    const old = entries.shift();
    if (old.line?.isConnected) old.line.remove();
  }
  if (atEnd) box.scrollTop = box.scrollHeight;
  count();
}

function redraw() {
  const box = $("wire");
  box.replaceChildren(...entries.filter(matches).map(line));
  box.scrollTop = box.scrollHeight;
  count();
}

function matches({ who, way, text: frame }) {
  const [wantedWho, wantedWay, wantedText] = ["wire-who", "wire-way", "wire-text"].map((id) => $(id).value);
  return (
    (!wantedWho || who === wantedWho) &&
    (!wantedWay || way === wantedWay) &&
    (!wantedText || frame.toLowerCase().includes(wantedText.toLowerCase()))
  );
}

function line(entry) {
  const row = document.createElement("div");
  row.className = `frame ${entry.way}`;
  row.style.setProperty("--hue", entry.hue);
  const part = (name, content) => {
    const span = document.createElement("span");
    span.className = name;
    span.textContent = content;
    row.append(span);
    return span;
  };
  const time = entry.at.toTimeString().slice(0, 8) + "." + String(entry.at.getMilliseconds()).padStart(3, "0");
  part("time", time);
  part("name", entry.who);
  const arrow = part("arrow", { in: "↓", out: "↑", note: "·" }[entry.way]);
  arrow.title = text({ in: "received", out: "sent", note: "events" }[entry.way]);
  const size = entry.way === "note" ? "" : text("bytes", { count: encoder.encode(entry.text).length });
  part("size", size);
  const long = entry.text.length > SHOWN_CHARACTERS;
  part("bytes", long ? `${entry.text.slice(0, SHOWN_CHARACTERS)}…` : entry.text);
  entry.line = row;
  return row;
}

function label() {
  const button = $("wire-pause");
  button.textContent = text(paused ? "resume" : "pause");
  button.setAttribute("aria-pressed", String(paused));
  count();
}

function count() {
  const shown = $("wire").childElementCount;
  $("wire-count").textContent = paused
    ? text("wirePaused", { missed })
    : text("wireCount", { shown, kept: entries.length, limit: LIMIT });
}

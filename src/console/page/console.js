// The console: users side by side on one channel, and everything around them.

import { post } from "./api.js";
import { startCheck } from "./check.js";
import { startEcho } from "./echo.js";
import { startJob } from "./job.js";
import { propose, startPublish } from "./publish.js";
import { messageFor, plainText } from "./kinds.js";
import { startSnippets } from "./snippets.js";
import { language, onLanguage, setLanguage, text } from "./texts.js";
import { User } from "./user.js";
import { startWire, watch } from "./wire.js";

const MOST_USERS = 8;
const MEANWHILE_MS = 700;
const HUES = [195, 28, 330, 140, 265, 60, 0, 230];
const $ = (id) => document.getElementById(id);
const calm = matchMedia("(prefers-reduced-motion: reduce)");

let users = [];
let channel = "chat:default";
let nextId = 7;

function addUser(name) {
  if (users.length >= MOST_USERS) return;
  const id = nextId++;
  const hue = HUES[(id - 7) % HUES.length];
  const user = new User({ id, name, hue, channel, lifetime, others: () => users, onCut: publishMeanwhile });
  const forget = watch(user.connection, hue);
  user.element.querySelector(".remove").addEventListener("click", () => {
    users = users.filter((other) => other !== user);
    user.remove();
    forget();
    usersChanged();
    $("users").focus();
  });
  user.connection.addEventListener("message", ({ detail }) => {
    if (user !== users[0]) return;
    echo();
    $("live").textContent = `${detail.sender?.name ?? "?"}: ${plainText(detail.data).slice(0, 200)}`;
  });
  users.push(user);
  $("users").append(user.element);
  user.connection.connect();
  usersChanged();
}

// While a user's line is cut, Laravel speaks, so that there is something to miss.
async function publishMeanwhile(user) {
  for (let number = 1; ; number++) {
    await new Promise((next) => setTimeout(next, MEANWHILE_MS));
    if (user.connection.state !== "cut") return;
    const words = text("meanwhile", { name: user.name, number });
    const data = messageFor(channel, { id: 0, name: "Laravel" }, words);
    await post("publish", { channel, data }).then(() => user.pass(words), () => {});
  }
}

function usersChanged() {
  for (const user of users) user.updateTargets(users);
  $("add-user").querySelector("button").disabled = users.length >= MOST_USERS;
}

function join(next) {
  if (!next || next === channel) return;
  channel = next;
  for (const user of users) user.join(channel);
  propose(channel);
}

function lifetime() {
  return Number($("lifetime").value);
}

// A ring leaves the sun for each message, a few at a time.
function echo() {
  const voices = $("voices");
  if (calm.matches || voices.childElementCount >= 4) return;
  const ring = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  for (const [key, value] of Object.entries({ cx: 1010, cy: 150, r: 46 })) ring.setAttribute(key, value);
  ring.addEventListener("animationend", () => ring.remove());
  voices.append(ring);
}

function remember(key, value) {
  try {
    localStorage.setItem(`yamabiko.${key}`, value);
  } catch {
    // Storage is a convenience: without it the choice lasts for this page.
  }
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function labelTools() {
  $("language").textContent = text("otherLanguage");
  $("language").lang = language() === "ja" ? "en" : "ja";
  $("theme").textContent = text(isDark() ? "light" : "dark");
}

$("language").addEventListener("click", () => {
  const next = language() === "ja" ? "en" : "ja";
  remember("language", next);
  setLanguage(next);
});
$("theme").addEventListener("click", () => {
  const next = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  remember("theme", next);
  labelTools();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", labelTools);
// Who walks through the channels with the arrow keys must not be caught in the text field: Tab leads there.
let byPointer = false;
$("channels").addEventListener("pointerdown", () => { byPointer = true; });
$("channels").addEventListener("keydown", () => { byPointer = false; });
$("channels").addEventListener("change", ({ target }) => {
  if (target.name !== "channel") return;
  $("custom-channel").hidden = target.value !== "";
  if (target.value) join(target.value);
  else if (byPointer) $("custom-name").focus();
});
$("custom-channel").addEventListener("submit", (event) => {
  event.preventDefault();
  join($("custom-name").value);
});
$("lifetime").addEventListener("change", () => {
  for (const { connection } of users) connection.join(channel);
});
$("add-user").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = $("new-name");
  const name = field.value.trim();
  if (!name) return field.focus();
  if (users.some((user) => user.name === name)) {
    field.setCustomValidity(text("nameTaken", { name }));
    return field.reportValidity();
  }
  addUser(name);
  field.value = "";
});
$("new-name").addEventListener("input", ({ target }) => target.setCustomValidity(""));

setLanguage(language());
onLanguage(labelTools);
startWire();
for (const name of ["Aoi", "Haru", "Sora"]) addUser(name);
startPublish(channel);
startJob(lifetime);
startCheck();
startSnippets();
startEcho();

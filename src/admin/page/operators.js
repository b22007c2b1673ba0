// The page: who has signed in, and which view is shown.

import { may, session, signIn, signOut } from "./api.js";
import { channel } from "./channel.js";
import { address, h, heading, svg } from "./elements.js";
import { follow, short } from "./figures.js";
import { channels, connections, users } from "./lists.js";
import { logs } from "./logs.js";
import { overview } from "./overview.js";
import { publish } from "./publish.js";
import { tail } from "./tail.js";
import { applyTexts, language, remember, text } from "./texts.js";
import { user } from "./user.js";

/** The views by their name in the address, and the view of one thing. */
const VIEWS = {
  "": { view: overview, title: "overview", nav: "overview" },
  channels: { view: channels, one: channel, title: "channels" },
  connections: { view: connections, title: "connections" },
  users: { view: users, one: user, title: "users" },
  tail: { view: tail, title: "tail" },
  publish: { view: publish, title: "publish", scope: "publish" },
  logs: { view: logs, title: "logs" },
};

const $ = (id) => document.getElementById(id);
const main = $("main");
/** Ends what the view that is shown does. */
let leave = new AbortController();
/** Ends what goes on while somebody is signed in. */
let stop = new AbortController();

function show({ takesFocus = true } = {}) {
  leave.abort();
  leave = new AbortController();
  if (!session) return askForKey();
  const { view, name, query } = place();
  const known = VIEWS[view] ?? VIEWS[""];
  for (const link of $("nav").querySelectorAll("a")) {
    if (link.dataset.view === (known.nav ?? view)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const title = name === undefined || !known.one ? text(known.title) : name;
  document.title = `${title} · Yamabiko`;
  if (!may("read") || (known.scope && !may(known.scope))) {
    main.replaceChildren(heading(text(known.title)), h("p", { class: "alert warn" }, text("lacksScope", { scope: may("read") ? known.scope : "read" })));
  } else {
    (name !== undefined && known.one ? known.one : known.view)({ main, name, query, signal: leave.signal, go });
  }
  if (takesFocus) {
    scrollTo(0, 0);
    main.querySelector("h1")?.focus({ preventScroll: true });
  }
}

function place() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [view, name] = path.split("/").map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return { view, name: name || undefined, query: Object.fromEntries(new URLSearchParams(query)) };
}

function go(view, name, query) {
  const next = address(view, name, query);
  if (location.hash === next) show();
  else location.hash = next;
}

function signedIn() {
  stop.abort();
  stop = new AbortController();
  if (may("read")) follow(stop.signal);
  frame();
  show({ takesFocus: false });
}

function frame() {
  for (const id of ["nav", "who"]) $(id).hidden = !session;
  $("sign-out").hidden = !session?.name;
  for (const link of $("nav").querySelectorAll("a[data-scope]")) link.parentElement.hidden = !may(link.dataset.scope);
  if (session) {
    const isReading = !["publish", "disconnect", "revoke", "reload"].some(may);
    $("who").replaceChildren(
      session.name ? h("b", {}, session.name) : h("b", {}, text("noKeyNeeded")),
      " ",
      h("span", {}, isReading ? text("readOnly") : ""),
      h("span", { class: "via" }, `${text("via")} ${short(session.node)}`),
    );
  }
}

/** Asks for a key. `problem` says why the one of before is not good. */
function askForKey(problem) {
  document.title = `${text("signIn")} · Yamabiko`;
  const key = h("input", { type: "password", id: "key", required: true, autocomplete: "off", spellcheck: "false", "aria-describedby": "key-note" });
  const failure = h("p", { class: "alert bad", role: "alert", hidden: !problem }, problem ?? "");
  const button = h("button", { class: "primary" }, text("signIn"));
  const form = h(
    "form",
    { class: "panel sign-in", onsubmit: submit },
    h("h1", { tabindex: "-1" }, text("signInTitle")),
    h("p", { id: "key-note" }, text("keyNote")),
    h("label", { class: "field" }, h("span", {}, text("key")), key),
    failure,
    button,
  );
  main.replaceChildren(h("div", { class: "gate" }, mountains(), form));
  frame();
  key.focus();

  async function submit(event) {
    event.preventDefault();
    button.disabled = true;
    // Anything else does not fit into a header, and no key has it.
    const isKey = /^[\x21-\x7e]+$/.test(key.value.trim());
    try {
      if (!isKey) throw new Error(text("notAKey"));
      await signIn(key.value.trim());
      signedIn();
    } catch (error) {
      failure.hidden = false;
      failure.textContent = error.code === "unknown_key" ? text("unknownKey") : text("failed", { detail: error.message });
      button.disabled = false;
      key.select();
    }
  }
}

function mountains() {
  const picture = svg("svg", { class: "mountains", viewBox: "0 0 1440 360", preserveAspectRatio: "xMidYMax slice", "aria-hidden": "true", focusable: "false" });
  picture.append(svg("circle", { class: "sun", cx: 1010, cy: 120, r: 46 }));
  for (const r of [86, 140, 208, 290, 386]) picture.append(svg("circle", { class: "ring", cx: 1010, cy: 120, r }));
  const ridges = [
    "M0 236C70 226 112 196 170 186S262 214 330 198 430 142 506 150 600 204 676 196 778 128 842 116 930 176 1000 188 1110 138 1180 134 1280 186 1340 182 1410 160 1440 156V360H0Z",
    "M0 268C60 262 118 240 186 244S310 274 384 258 486 200 556 198 668 262 742 262 858 198 924 204 1016 262 1094 262 1210 206 1284 204 1390 240 1440 242V360H0Z",
    "M0 298C92 294 150 272 240 276S392 310 480 300 606 250 694 252 830 308 924 304 1070 258 1150 262 1278 298 1350 296 1412 288 1440 284V360H0Z",
  ];
  ridges.forEach((d, index) => picture.append(svg("path", { class: `r${index + 1}`, d })));
  return picture;
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function labels() {
  applyTexts();
  $("language").textContent = text("otherLanguage");
  $("language").lang = language() === "ja" ? "en" : "ja";
  $("theme").textContent = text(isDark() ? "light" : "dark");
}

$("language").addEventListener("click", () => {
  document.documentElement.lang = language() === "ja" ? "en" : "ja";
  remember("language", document.documentElement.lang);
  labels();
  frame();
  show({ takesFocus: false });
});
$("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  remember("theme", document.documentElement.dataset.theme);
  labels();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", labels);
$("sign-out").addEventListener("click", () => {
  stop.abort();
  leave.abort();
  signOut();
  askForKey();
});
$("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", () => show());
addEventListener("key-refused", ({ detail }) => {
  stop.abort();
  leave.abort();
  signOut();
  askForKey(text("failed", { detail: detail.message }));
});

labels();
try {
  await signIn();
  signedIn();
} catch (error) {
  askForKey(["no_key", "unknown_key"].includes(error.code) ? undefined : text("failed", { detail: error.message }));
}

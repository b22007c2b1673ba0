// Tabs of a page that uses Laravel Echo, side by side: several tabs of a user are one member.

import { explain, post } from "./api.js";
import { EchoTab } from "./echo-tab.js";
import { applyTexts, onLanguage, text } from "./texts.js";
import { watch } from "./wire.js";

const CHANNEL = "presence-Room.1";
const USERS = { Aoi: [7, 195], Haru: [8, 28], Sora: [9, 330] };
const MOST_TABS = 6;
const REMEMBERED = 4;
const $ = (id) => document.getElementById(id);

let key;
let count = 0;

export async function startEcho() {
  ({ key } = await post("echo", {}).catch(() => ({})));
  if (!key) return;
  $("echo-channel").textContent = CHANNEL;
  $("echo").hidden = false;
  $("echo-add").addEventListener("submit", (event) => {
    event.preventDefault();
    open($("echo-who").value);
  });
  for (const user of ["Aoi", "Haru"]) open(user);
}

function open(user) {
  const [id, hue] = USERS[user];
  const name = `${user} (Echo ${++count})`;
  const tab = new EchoTab({ id, user, channel: CHANNEL, key, name });
  const element = document.getElementById("echo-tab").content.firstElementChild.cloneNode(true);
  const part = (selector) => element.querySelector(selector);
  element.style.setProperty("--hue", hue);
  part("h3").textContent = name;

  const happened = [];
  const show = () => {
    part(".state").textContent = text(tab.state);
    part(".state").dataset.state = element.dataset.state = tab.state;
    part(".why").hidden = !tab.refusal;
    part(".why").textContent = tab.refusal ? text("subscriptionRefused", { message: explain(tab.refusal) }) : "";
    part(".wave").disabled = tab.state !== "open";
    part(".close").setAttribute("aria-label", text("closeTab", { name }));
    part(".close").title = text("closeTab", { name });
    part(".here").replaceChildren(...[...tab.members.entries()].map(([id, info]) => {
      const item = document.createElement("li");
      item.textContent = info?.name ?? id;
      item.style.setProperty("--hue", USERS[info?.name]?.[1] ?? 200);
      return item;
    }));
    part(".happened").replaceChildren(...happened.map(({ what, name }) => {
      const item = document.createElement("li");
      item.textContent = text(`echo-${what}`, { name });
      return item;
    }));
  };
  tab.addEventListener("state", show);
  tab.addEventListener("happened", ({ detail }) => {
    happened.push(detail);
    if (happened.length > REMEMBERED) happened.shift();
    show();
  });
  const forget = watch(tab, hue);
  const stopLanguage = onLanguage(() => {
    applyTexts(element);
    show();
  });
  part(".wave").addEventListener("click", () => tab.whisper({ name: user }));
  part(".close").addEventListener("click", () => {
    tab.leave();
    forget();
    stopLanguage();
    element.remove();
    limit();
    $("echo-who").focus();
  });
  $("echo-tabs").append(element);
  limit();
  tab.open();
}

function limit() {
  $("echo-add").querySelector("button").disabled = $("echo-tabs").childElementCount >= MOST_TABS;
}

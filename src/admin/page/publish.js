// Publishing a message.

import { post, session } from "./api.js";
import { address, appChoice, field, h, heading } from "./elements.js";
import { text } from "./texts.js";

export function publish({ main, query }) {
  const apps = appChoice(session.apps, query.app);
  const channel = h("input", { type: "text", name: "channel", required: true, value: query.channel ?? "", autocomplete: "off", spellcheck: "false" });
  const event = h("input", { type: "text", name: "event", required: true, value: "App\\Events\\Notice", autocomplete: "off", spellcheck: "false" });
  const data = h("textarea", { name: "data", rows: "7", required: true, spellcheck: "false" });
  data.value = JSON.stringify({ message: text("sampleMessage") }, null, 2);
  const result = h("p", { class: "result", role: "status" });
  const send = h("button", { class: "primary" }, text("publish"));
  const eventField = field(text("eventName"), event);
  const form = h(
    "form",
    { class: "panel fields", onsubmit: submit },
    apps && field(text("app"), apps),
    field(text("channel"), channel),
    eventField,
    field(text("data"), data),
    h("div", { class: "row" }, send, result),
  );
  const follow = () => {
    const isApp = Boolean(apps?.value);
    eventField.hidden = !isApp;
    event.disabled = !isApp;
  };
  apps?.addEventListener("change", follow);
  follow();
  main.replaceChildren(heading(text("publish")), h("p", { class: "lead" }, text("publishNote")), form);

  async function submit(submission) {
    submission.preventDefault();
    let value;
    try {
      value = JSON.parse(data.value);
    } catch (error) {
      return say(text("notJson", { detail: error.message }), false);
    }
    send.disabled = true;
    try {
      const app = apps?.value ? { app: apps.value, event: event.value } : {};
      const { position, omitted = [] } = await post("publish", { ...app, channel: channel.value, data: value });
      const words = omitted.length ? text("publishedWithout", { keys: omitted.join(", ") }) : text("publishedNow");
      say(position ? `${words} ${position}` : words, true);
      const link = h("a", { href: address("channels", channel.value, { app: apps?.value }) }, text("showChannel"));
      result.append(" ", link);
    } catch (error) {
      say(text("failed", { detail: error.message }), false);
    } finally {
      send.disabled = false;
    }
  }

  function say(words, isGood) {
    result.dataset.ok = String(isGood);
    result.textContent = words;
  }
}

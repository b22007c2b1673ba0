// The form that publishes as the application does.

import { explain, post } from "./api.js";
import { sampleFor } from "./kinds.js";
import { text, write } from "./texts.js";

const form = document.getElementById("publish");
const result = document.getElementById("published");
const field = (name) => form.elements.namedItem(name);

export function startPublish(channel) {
  propose(channel);
  field("speak").addEventListener("change", () => {
    for (const name of ["name", "id"]) field(name).disabled = !field("speak").checked;
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    show(() => "", true);
    try {
      const { left_out: leftOut } = await post("publish", body());
      if (leftOut) show(() => withoutKeys(leftOut), "partly");
      else show(() => text("published"), true);
    } catch (error) {
      show(() => (error instanceof Unsendable ? error.words() : explain(error)), false);
    }
  });
}

/** Fills the form for a channel, except for a field that someone has written into. */
export function propose(channel) {
  fill(field("channel"), channel);
  fill(field("data"), sampleFor(channel));
}

function fill(field, value) {
  if (field.value && field.value !== field.dataset.proposed) return;
  field.value = value;
  // A text area may give line breaks back in another form.
  field.dataset.proposed = field.value;
}

/** Published, but without keys that the channel's kind does not deliver. */
function withoutKeys({ kind, fields, keys }) {
  const list = (names) => names.map((name) => `\`${name}\``).join(", ") || "–";
  return text("leftOut", { kind: list([kind]), fields: list(fields), keys: list(keys) });
}

/** The form cannot be sent. `words` gives the reason in the language of the page. */
class Unsendable extends Error {
  constructor(words) {
    super();
    this.words = words;
  }
}

// `data` goes out as it was typed: parsing it here would round large integers.
function body() {
  const data = field("data").value;
  let parsed;
  try {
    parsed = JSON.parse(data);
  } catch (error) {
    throw new Unsendable(() => text("notJson", { message: error.message }));
  }
  if (parsed === null || typeof parsed !== "object" || Array.isArray(parsed)) {
    throw new Unsendable(() => text("notObject"));
  }
  return `{"channel":${JSON.stringify(field("channel").value)}${sender()},"data":${data}}`;
}

// An id of digits is a number, and goes out digit by digit; any other is a text, as a UUID is.
function sender() {
  if (!field("speak").checked) return "";
  const id = field("id").value.trim();
  const written = /^-?\d+$/.test(id) ? BigInt(id) : JSON.stringify(id);
  return `,"sender":{"name":${JSON.stringify(field("name").value)},"id":${written}}`;
}

function show(words, ok) {
  result.dataset.ok = String(ok);
  write(result, words);
}

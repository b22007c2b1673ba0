// The form that publishes as the application does.

import { post } from "./api.js";
import { sampleFor } from "./kinds.js";
import { onLanguage, text } from "./texts.js";

const form = document.getElementById("publish");
const result = document.getElementById("published");
const field = (name) => form.elements.namedItem(name);

export function startPublish(channel) {
  propose(channel);
  onLanguage(() => show("", true));
  field("speak").addEventListener("change", () => {
    for (const name of ["name", "id"]) field(name).disabled = !field("speak").checked;
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await post("publish", body());
      show(text("published"), true);
    } catch (error) {
      show(error.message, false);
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

// `data` goes out as it was typed: parsing it here would round large integers.
function body() {
  const data = field("data").value;
  let parsed;
  try {
    parsed = JSON.parse(data);
  } catch (error) {
    throw new Error(`data: ${error.message}`);
  }
  if (parsed === null || typeof parsed !== "object" || Array.isArray(parsed)) throw new Error(text("notObject"));
  const sender = field("speak").checked ? { name: field("name").value, id: Number(field("id").value) } : undefined;
  const rest = JSON.stringify({ channel: field("channel").value, sender });
  return `${rest.slice(0, -1)},"data":${data}}`;
}

function show(words, ok) {
  result.dataset.ok = String(ok);
  result.textContent = words;
}

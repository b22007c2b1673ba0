// Closing connections and revoking tokens, each after a question.

import { may, post } from "./api.js";
import { h, notify } from "./elements.js";
import { text } from "./texts.js";

/** A button that closes what `target` names; nothing if the key may not. `target`: see `POST /disconnect`. */
export function disconnectButton(label, question, target, done) {
  return may("disconnect") && button(label, question, text("disconnectNote"), async () => {
    await post("disconnect", target);
    notify(text("closing"));
    done?.();
  });
}

/** A button that revokes the tokens of a native user. */
export function revokeButton(user, done) {
  return may("revoke") && button(text("revoke"), text("revokeQuestion", { user }), text("revokeNote"), async () => {
    const { until } = await post("revocations", { user });
    notify(text("revoked", { user, until: new Date(until * 1000).toLocaleString() }));
    done?.();
  });
}

function button(label, question, note, act) {
  return h("button", { type: "button", class: "danger", onclick: () => confirm(label, question, note, act) }, label);
}

function confirm(label, question, note, act) {
  const failure = h("p", { class: "alert bad", role: "alert", hidden: true });
  const cancel = h("button", { type: "button", onclick: () => dialog.close() }, text("cancel"));
  const go = h("button", { type: "button", class: "danger strong" }, label);
  const title = h("h2", { id: "question" }, question);
  const dialog = h("dialog", { "aria-labelledby": "question" }, title, h("p", {}, note), failure, h("div", { class: "row end" }, cancel, go));
  go.addEventListener("click", async () => {
    go.disabled = true;
    try {
      await act();
      dialog.close();
    } catch (error) {
      failure.hidden = false;
      failure.textContent = text("failed", { detail: error.message });
      go.disabled = false;
    }
  });
  const before = document.activeElement;
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (before?.isConnected) before.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
  cancel.focus();
}

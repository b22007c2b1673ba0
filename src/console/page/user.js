// One user: a connection and the card that shows it.

import { Connection } from "./connection.js";
import { messageFor, plainText } from "./kinds.js";
import { explain } from "./api.js";
import { applyTexts, closeText, language, onLanguage, text, write } from "./texts.js";

const MESSAGE_LIMIT = 100;
const TEXT_LIMIT = 2_000;
const CUT_MS = 5_000;

export class User {
  // Messages without an answer so far.
  #unanswered = 0;
  #receiptKey = "";
  #ticker;
  // The composer's automatic contents, as a raw frame.
  #proposed = "";
  // What was published while the line was cut and has not arrived yet, and how many messages the server says were missed.
  #passed = new Set();
  #count = 0;
  // The newest message is in view, and stays there.
  #atEnd = true;

  constructor({ id, name, hue, channel, lifetime, others, onCut }) {
    this.id = id;
    this.name = name;
    this.hue = hue;
    this.connection = new Connection({ id, name, channel, lifetime });
    this.element = document.getElementById("user-card").content.firstElementChild.cloneNode(true);
    this.#fill();
    this.#listen(others, onCut);
    this.stopLanguage = onLanguage(() => {
      applyTexts(this.element);
      this.#label();
      this.#state();
      this.updateTargets(others());
    });
  }

  #part(selector) {
    return this.element.querySelector(selector);
  }

  #fill() {
    this.element.dataset.user = this.name;
    this.element.style.setProperty("--hue", this.hue);
    this.#part("h3").textContent = this.#part("h3").title = this.name;
    this.#part(".avatar").textContent = [...this.name][0]?.toUpperCase() ?? "?";
    this.#part(".id").textContent = `id ${this.id}`;
    const list = this.#part(".messages");
    list.addEventListener("scroll", () => { this.#atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 60; });
    // The line above another user's messages comes and goes, and all cards of a row have one height.
    new ResizeObserver(() => { if (this.#atEnd) list.scrollTop = list.scrollHeight; }).observe(list);
  }

  #listen(others, onCut) {
    const { connection } = this;
    connection.addEventListener("state", () => {
      this.#settleReceipt();
      this.#state();
    });
    connection.addEventListener("users", () => this.#here(others()));
    connection.addEventListener("message", ({ detail }) => this.#message(detail, others()));
    connection.addEventListener("recovering", ({ detail }) => { this.#count = detail; });
    connection.addEventListener("recovered", () => this.#recovered());
    connection.addEventListener("gap", () => this.#mark("gap", () => text("gap")));
    this.#part(".cut").addEventListener("click", () => {
      this.#passed.clear();
      this.#mark("cut", () => text("lineCut"));
      connection.cut(CUT_MS);
      onCut(this);
    });
    connection.addEventListener("receipt", ({ detail }) => this.#receipt(detail));
    this.#part(".toggle").addEventListener("click", () => {
      if (connection.wanted) connection.disconnect();
      else connection.connect();
    });
    this.#part(".raw input").addEventListener("change", ({ target }) => this.#raw(target.checked));
    this.#part(".send").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
  }

  /** Lists the users that a message can be narrowed to, the sender too. */
  updateTargets(users) {
    const select = this.#part(".to select");
    const chosen = select.value;
    select.replaceChildren(
      new Option(text("everyone"), ""),
      ...users.map(({ id, name }) => new Option(`${name} (${id})`, String(id))),
    );
    select.value = users.some(({ id }) => String(id) === chosen) ? chosen : "";
  }

  /** This has been published. It must arrive when the line is back, if it is still cut now. */
  pass(words) {
    if (this.connection.state !== "cut") return;
    this.#passed.add(words);
    this.#why();
  }

  /** A new channel: messages of the previous one are not shown under it. */
  join(channel) {
    this.#part(".messages").replaceChildren();
    this.#unanswered = 0;
    this.connection.join(channel);
    this.#showReceipt();
    const input = this.#part(".text");
    // Replaces an automatic frame for the previous channel, and keeps what the user typed.
    if (this.#part(".raw input").checked && input.value === this.#proposed) input.value = this.#proposed = this.#frame("Hello");
    this.#state();
  }

  remove() {
    this.connection.disconnect();
    clearInterval(this.#ticker);
    this.stopLanguage();
    this.element.remove();
  }

  #frame(words) {
    const target = Number(this.#part(".to select").value) || undefined;
    return JSON.stringify({ data: messageFor(this.connection.channel, this, words, target) });
  }

  #raw(on) {
    const input = this.#part(".text");
    input.classList.toggle("code", on);
    if (on) {
      input.dataset.words = input.value;
      input.value = this.#proposed = this.#frame(input.value || "Hello");
    } else {
      input.value = input.dataset.words ?? "";
    }
    this.#part(".to select").disabled = on;
    this.#label();
  }

  #send() {
    const input = this.#part(".text");
    const raw = this.#part(".raw input").checked;
    if (!raw && !input.value.trim()) return;
    if (!this.connection.send(raw ? input.value : this.#frame(input.value))) {
      this.#showReceipt("notConnected", false);
      return;
    }
    this.#unanswered += 1;
    this.#showReceipt();
    if (!raw) input.value = "";
  }

  #receipt({ ok, error }) {
    this.#unanswered -= 1;
    if (ok) this.#showReceipt("accepted", true);
    else this.#showReceipt(`${error?.code ?? "?"}: ${error?.message ?? ""}`, false);
  }

  // A receipt belongs to the connection that it arrived on, not to the next one.
  #settleReceipt() {
    const { state } = this.connection;
    if (state !== "open" && this.#unanswered > 0) this.#showReceipt("unanswered", false);
    else if (state === "open" || !["unanswered", "notConnected"].includes(this.#receiptKey)) this.#showReceipt();
    this.#unanswered = 0;
  }

  #showReceipt(key = "", ok = true) {
    const receipt = this.#part(".receipt");
    this.#receiptKey = key;
    receipt.dataset.ok = String(ok);
    write(receipt, () => {
      receipt.title = key ? text(key) : "";
      return receipt.title;
    });
  }

  // The missed messages are all there, or it is said how many are not.
  #recovered() {
    const [count, missing] = [this.#count, this.#passed.size];
    if (missing > 0) this.#mark("gap", () => text("missing", { missing }));
    else this.#mark("whole", () => text(count > 0 ? "recovered" : "nothingMissed", { count }));
  }

  /** A line across the messages. */
  #mark(kind, words) {
    const item = document.createElement("li");
    item.className = `mark ${kind}`;
    write(item, words);
    this.#append(item);
  }

  /** Shows who is on the channel, if the server says so. */
  #here(known) {
    const { users } = this.connection;
    const items = [...users].map(([id, name]) => {
      const item = document.createElement("li");
      item.textContent = item.title = name;
      const hue = known.find((user) => user.id === id)?.hue;
      if (hue === undefined) item.className = "unknown";
      else item.style.setProperty("--hue", hue);
      return item;
    });
    const list = this.#part(".here");
    list.replaceChildren(...items);
    list.hidden = users.size === 0;
  }

  #message({ sender, data, missed }, users) {
    const item = document.createElement("li");
    const own = sender?.id === this.id;
    const known = users.find(({ id }) => id === sender?.id);
    item.className = own ? "own" : known ? "other" : "system";
    item.classList.toggle("missed", missed);
    if (known) item.style.setProperty("--hue", known.hue);
    const name = document.createElement("b");
    name.textContent = String(sender?.name ?? "?");
    const words = document.createElement("p");
    const full = plainText(data);
    this.#passed.delete(full);
    words.textContent = full.length > TEXT_LIMIT ? `${full.slice(0, TEXT_LIMIT)}…` : full;
    const time = document.createElement("time");
    time.textContent = new Date().toTimeString().slice(0, 5);
    item.append(name, time, words);
    this.#append(item);
  }

  #append(item) {
    const list = this.#part(".messages");
    list.append(item);
    while (list.childElementCount > MESSAGE_LIMIT) list.firstElementChild.remove();
    if (this.#atEnd) list.scrollTop = list.scrollHeight;
  }

  #label() {
    const raw = this.#part(".raw input").checked;
    const input = this.#part(".text");
    input.placeholder = text(raw ? "frame" : "message");
    input.setAttribute("aria-label", input.placeholder);
    this.#part(".remove").setAttribute("aria-label", text("remove", this));
    this.#part(".remove").title = text("remove", this);
    this.#part(".messages").setAttribute("aria-label", text("messagesOf", this));
    this.#part(".messages").dataset.empty = text("nothingYet");
  }

  #state() {
    const { state, wanted } = this.connection;
    const pill = this.#part(".state");
    pill.textContent = text(state);
    pill.dataset.state = state;
    pill.lang = language();
    this.element.dataset.state = state;
    const toggle = this.#part(".toggle");
    const label = text(wanted ? "disconnect" : "connect", this);
    toggle.setAttribute("aria-label", label);
    toggle.title = label;
    toggle.dataset.on = String(wanted);
    const cut = this.#part(".cut");
    cut.title = text("cutLine", this);
    cut.setAttribute("aria-label", cut.title);
    cut.disabled = state !== "open";
    this.#why();
    clearInterval(this.#ticker);
    if (["waiting", "cut"].includes(state)) this.#ticker = setInterval(() => this.#why(), 250);
  }

  // The close code and its reason in words, and when the next attempt is.
  #why() {
    const { state, detail } = this.connection;
    const line = this.#part(".closed");
    const parts = [];
    if (detail.code) {
      const words = detail.early ? text("neverOpened") : closeText(detail.code);
      parts.push(`${detail.code}${detail.reason ? ` “${detail.reason}”` : ""}`, words);
    }
    if (detail.refused) parts.push(text("noToken", { message: explain(detail.refused) }));
    if (detail.unreachable) parts.push(text("noServer"));
    if (state === "cut") parts.push(text("passed", { count: this.#passed.size }));
    if (detail.until) {
      const seconds = Math.max(0, (detail.until - Date.now()) / 1000).toFixed(1);
      parts.push(text("comesBack", { seconds }));
    }
    line.hidden = state === "open" || parts.length === 0;
    line.textContent = parts.join(" ");
  }
}

// One user's WebSocket: asks for a token, connects, and comes back unless the close code says not to.

import { post, Refused } from "./api.js";

const FOR_GOOD = new Set([1000, 1002, 1003, 1007, 1009, 4403]);
const FIRST_WAIT = 500;
const LONGEST_WAIT = 15_000;
// A connection that held for so long was a good one: over capacity, it opens too, and closes at once.
const GOOD = 10_000;

export class Connection extends EventTarget {
  #socket;
  #timer;
  #failures = 0;
  #opened = Infinity;
  #wanted = false;
  #attempt = 0;
  // The id of the last message, and how many of those that come next were missed before.
  #since = "";
  #missed = 0;
  /** The users on the channel by their ids, this one included. Empty where clients are not told of others. */
  users = new Map();

  constructor({ id, name, channel, lifetime }) {
    super();
    Object.assign(this, { id, name, channel, lifetime, state: "closed", detail: {} });
  }

  get wanted() {
    return this.#wanted;
  }

  connect() {
    this.#wanted = true;
    this.#failures = 0;
    this.#open();
  }

  disconnect() {
    this.#wanted = false;
    this.#drop();
    // A connection that is already closed keeps its reason.
    if (this.state !== "closed") this.#enter("closed", { code: 1000, reason: "" });
  }

  /** Moves to another channel: a token is for one channel, so this is a new connection. Another channel may be one that
   * tokens are given out for. */
  join(channel) {
    this.channel = channel;
    this.#since = "";
    if (!this.#wanted && !this.detail.refused) return;
    this.#drop();
    this.connect();
  }

  /** Loses the line, as a phone does in a tunnel, and comes back after this many milliseconds. */
  cut(wait) {
    if (this.state !== "open") return;
    this.#drop("the line is cut");
    this.#enter("cut", { until: Date.now() + wait });
    this.#timer = setTimeout(() => this.#open(), wait);
  }

  send(frame) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(frame);
    this.#emit("frame", { way: "out", text: frame });
    return true;
  }

  #drop(note = "close 1000") {
    this.#attempt += 1;
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = undefined;
    if (!socket) return;
    this.#emit("frame", { way: "note", text: note });
    socket.close(1000);
  }

  async #open() {
    clearTimeout(this.#timer);
    const attempt = ++this.#attempt;
    this.#opened = Infinity;
    this.#missed = 0;
    const current = () => attempt === this.#attempt;
    this.#enter("connecting");
    let token;
    try {
      const { id, name, channel } = this;
      token = (await post("token", { id, name, channel, ttl: this.lifetime() })).token;
    } catch (error) {
      if (!current()) return;
      const { code, reason, early } = this.detail;
      if (error instanceof Refused && error.temporary) return this.#again({ code, reason, early, refused: error });
      if (!(error instanceof Refused)) return this.#again({ code, reason, early, unreachable: true });
      this.#wanted = false;
      return this.#enter("closed", { refused: error });
    }
    if (!current()) return;
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/ws?token=${encodeURIComponent(token)}&since=${this.#since}`);
    this.#socket = socket;
    socket.onopen = () => {
      if (!current()) return;
      this.#opened = Date.now();
      this.#emit("frame", { way: "note", text: `open ${this.channel}` });
      this.#enter("open");
    };
    socket.onmessage = ({ data }) => {
      if (!current()) return;
      this.#emit("frame", { way: "in", text: data });
      let frame;
      try {
        frame = JSON.parse(data);
      } catch {
        return;
      }
      if (frame?.type === "message") this.#message(frame);
      if (frame?.type === "sended") this.#emit("receipt", frame);
      if (["connected", "connectOther", "disconnectOther"].includes(frame?.type)) this.#presence(frame);
      // The first answer on a channel only says where it starts.
      if (frame?.type === "gap" && this.#since) this.#emit("gap");
      if (frame?.type === "recovered" && this.#since) this.#recovered(frame.count);
      this.#since = frame?.id ?? this.#since;
    };
    socket.onclose = ({ code, reason }) => {
      if (!current()) return;
      this.#socket = undefined;
      if (Date.now() - this.#opened > GOOD) this.#failures = 0;
      this.#emit("frame", { way: "note", text: `close ${code}${reason ? ` ${reason}` : ""}` });
      if (FOR_GOOD.has(code)) {
        this.#wanted = false;
        this.#enter("closed", { code, reason });
      } else {
        this.#again({ code, reason, early: code === 1006 && this.#opened === Infinity });
      }
    };
  }

  #presence({ type, users, data }) {
    if (type === "connected") this.users = new Map([this, ...users].map(({ id, name }) => [id, name]));
    if (type === "connectOther") this.users.set(data.user.id, data.user.name);
    if (type === "disconnectOther") this.users.delete(data.user.id);
    this.#emit("users");
  }

  #recovered(count) {
    this.#missed = count;
    this.#emit("recovering", count);
    if (count === 0) this.#emit("recovered");
  }

  #message(frame) {
    this.#emit("message", { ...frame, missed: this.#missed > 0 });
    if (this.#missed > 0 && --this.#missed === 0) this.#emit("recovered");
  }

  // Doubles with each failure and is spread by chance, so that many browsers do not come back at once.
  #again(detail) {
    const longest = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.#failures++);
    const wait = longest * (0.5 + Math.random() / 2);
    this.#enter("waiting", { ...detail, until: Date.now() + wait });
    this.#timer = setTimeout(() => this.#open(), wait);
  }

  #enter(state, detail = {}) {
    this.state = state;
    // Keeps showing the reason for the last failure while it retries.
    this.detail = state === "connecting" ? { ...this.detail, until: undefined } : detail;
    this.users = new Map();
    this.#emit("users");
    this.#emit("state");
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

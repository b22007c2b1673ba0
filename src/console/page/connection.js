// One user's connection: the client of clients/js, with its frames in the log.

import { post, Refused, Unreachable } from "./api.js";
import { connect } from "./client.js";

export class Connection extends EventTarget {
  #client;
  // The socket in use, to send frames as they are.
  #socket;
  #timer;
  // Ends what an earlier client still has to say.
  #generation = 0;
  #early = false;
  /** The users on the channel by their ids, this one included. Empty where clients are not told of others. */
  users = new Map();

  constructor({ id, name, channel, lifetime }) {
    super();
    Object.assign(this, { id, name, channel, lifetime, state: "closed", detail: {} });
  }

  get wanted() {
    return this.state !== "closed";
  }

  connect() {
    clearTimeout(this.#timer);
    if (this.#client) return this.#client.connect();
    const generation = ++this.#generation;
    const guarded = (handler) => (value) => generation === this.#generation && handler(value);
    const tap = () => this.#tap();
    const client = connect(() => this.#token(), { get WebSocket() { return tap(); } });
    this.#client = client;
    let missed = 0;
    const recovered = () => this.#emit("recovered");
    client.on("state", guarded((detail) => this.#changed(detail)));
    client.on("users", guarded((users) => this.#show(users)));
    client.on("gap", guarded(() => this.#emit("gap")));
    client.on("recovered", guarded((count) => {
      missed = count;
      this.#emit("recovering", count);
      if (count === 0) recovered();
    }));
    client.on("message", guarded(({ recovered: isMissed, ...message }) => {
      this.#emit("message", { ...message, missed: isMissed });
      if (isMissed && --missed === 0) recovered();
    }));
    this.#changed({ state: client.state });
  }

  disconnect() {
    clearTimeout(this.#timer);
    const { state } = this;
    // A connection that is already closed keeps its reason.
    if (state === "cut") this.#enter("closed", { code: 1000, reason: "" });
    else this.#client?.close();
  }

  /** Moves to another channel: a token is for one channel, so this is a new connection. Another channel may be one that
   * tokens are given out for. */
  join(channel) {
    this.channel = channel;
    const again = this.wanted || this.detail.refused;
    this.#generation++;
    clearTimeout(this.#timer);
    this.#client?.close();
    this.#client = undefined;
    if (again) this.connect();
  }

  /** Loses the line, as a phone does in a tunnel, and comes back after this many milliseconds. */
  cut(wait) {
    if (this.state !== "open") return;
    this.state = "cut";
    this.#client.close();
    this.#enter("cut", { until: Date.now() + wait });
    this.#timer = setTimeout(() => this.#client.connect(), wait);
  }

  /** Sends a frame as it is. */
  send(frame) {
    if (this.state !== "open" || this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(frame);
    return true;
  }

  async #token() {
    const { id, name, channel } = this;
    try {
      return await post("token", { id, name, channel, ttl: this.lifetime() });
    } catch (error) {
      // What the server refuses for good ends the attempts.
      throw Object.assign(error, { status: error instanceof Refused && !error.temporary ? 403 : undefined });
    }
  }

  /** A WebSocket class that shows its frames. */
  #tap() {
    const connection = this;
    return class extends WebSocket {
      constructor(url) {
        super(url);
        connection.#socket = this;
        connection.#early = true;
        const { channel } = connection;
        const listen = (event, listener) => this.addEventListener(event, (value) => this.left || listener(value));
        listen("open", () => {
          connection.#early = false;
          connection.#note(`open ${channel}`);
        });
        listen("message", ({ data }) => connection.#received(data));
        listen("close", ({ code, reason }) => connection.#note(`close ${code}${reason ? ` ${reason}` : ""}`));
      }

      send(text) {
        super.send(text);
        // A token is not shown.
        const shown = text.startsWith('{"type":"auth",') ? '{"type":"auth","token":"…"}' : text;
        connection.#emit("frame", { way: "out", text: shown });
      }

      close(code) {
        if (!this.left && this.readyState <= WebSocket.OPEN) connection.#note(connection.state === "cut" ? "the line is cut" : `close ${code}`);
        this.left = true;
        super.close(code);
      }
    };
  }

  #received(text) {
    this.#emit("frame", { way: "in", text });
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return;
    }
    if (frame?.type === "sended") this.#emit("receipt", frame);
  }

  #changed({ state, code, reason, error, until }) {
    // A line that is cut on purpose closes too.
    if (state === "closed" && this.state === "cut") return;
    const before = this.detail;
    // Keeps showing the reason for the last failure while it retries.
    if (state === "connecting") return this.#enter(state, { ...before, until: undefined });
    if (state === "open") return this.#enter(state);
    if (!error) return this.#enter(state, { code, reason, until, early: code === 1006 && this.#early });
    const failure = error instanceof Unreachable ? { unreachable: true } : { refused: error };
    if (state === "closed") return this.#enter(state, failure);
    this.#enter(state, { code: before.code, reason: before.reason, early: before.early, until, ...failure });
  }

  #show(users) {
    this.users = new Map(users.map(({ id, name }) => [id, name]));
    this.#emit("users");
  }

  #enter(state, detail = {}) {
    this.state = state;
    this.detail = detail;
    this.#show([]);
    this.#emit("state");
  }

  #note(text) {
    this.#emit("frame", { way: "note", text });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

// One tab of a page that uses Laravel Echo, in the frames of the Pusher protocol: on one presence channel.

import { post, Refused } from "./api.js";

const FIRST_WAIT = 1_000;
const LONGEST_WAIT = 15_000;

export class EchoTab extends EventTarget {
  #socket;
  #timer;
  #failures = 0;
  #left = false;

  constructor({ id, user, channel, key, name }) {
    super();
    Object.assign(this, { id, user, channel, key, name, state: "connecting", members: new Map(), refusal: undefined });
  }

  open() {
    this.#enter("connecting");
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/app/${this.key}?protocol=7&client=console&version=1`);
    this.#socket = socket;
    socket.onmessage = ({ data }) => {
      this.#emit("frame", { way: "in", text: data });
      const frame = parse(data);
      // The server sends `data` as a string; a client event of another page may contain any value.
      const content = typeof frame?.data === "string" ? parse(frame.data) : frame?.data;
      this.#receive(socket, frame?.event, content ?? {});
    };
    socket.onclose = ({ code, reason }) => {
      this.#emit("frame", { way: "note", text: `close ${code}${reason ? ` ${reason}` : ""}` });
      this.members.clear();
      // Below 4100 and from 4300 on, the protocol forbids reconnecting.
      const forGood = this.#left || (code >= 4000 && code < 4100) || (code >= 4300 && code < 5000);
      if (forGood) return this.#enter("closed");
      this.#enter("waiting");
      const longest = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.#failures++);
      this.#timer = setTimeout(() => this.open(), longest * (0.5 + Math.random() / 2));
    };
  }

  leave() {
    this.#left = true;
    clearTimeout(this.#timer);
    this.#socket.close(1000);
  }

  /** Tells the others on the channel. */
  whisper(data) {
    if (this.state === "open") this.#send(this.#socket, { event: "client-wave", channel: this.channel, data });
  }

  async #receive(socket, event, data) {
    switch (event) {
      case "pusher:connection_established":
        return this.#join(socket, data.socket_id);
      case "pusher:ping":
        return this.#send(socket, { event: "pusher:pong", data: {} });
      case "pusher_internal:subscription_succeeded":
        this.#failures = 0;
        this.refusal = undefined;
        for (const id of data.presence.ids) this.members.set(String(id), data.presence.hash[id]);
        return this.#enter("open");
      case "pusher_internal:member_added":
        this.members.set(String(data.user_id), data.user_info);
        return this.#emit("happened", { what: "joined", name: data.user_info?.name ?? data.user_id });
      case "pusher_internal:member_removed": {
        const name = this.members.get(String(data.user_id))?.name ?? data.user_id;
        this.members.delete(String(data.user_id));
        return this.#emit("happened", { what: "left", name });
      }
      case "client-wave":
        return this.#emit("happened", { what: "waved", name: data.name });
      case "pusher:subscription_error":
        return this.#refuse(new Error(`${data.type} ${data.status}: ${data.error}`));
      case "pusher:error":
        return this.#refuse(new Error(`${data.code}: ${data.message}`));
    }
  }

  async #join(socket, socketId) {
    const { channel, user } = this;
    try {
      const permit = await post("echo/auth", { socket_id: socketId, channel, id: this.id, name: user });
      this.#send(socket, { event: "pusher:subscribe", data: { channel, ...permit } });
    } catch (error) {
      // The server that refused will refuse again; one that is gone closes the socket.
      if (!(error instanceof Refused)) return;
      this.#refuse(error);
      if (!error.temporary) this.leave();
    }
  }

  // What the server refused, to be shown.
  #refuse(error) {
    this.refusal = error;
    this.#emit("state");
  }

  #send(socket, frame) {
    if (socket.readyState !== WebSocket.OPEN) return;
    const text = JSON.stringify(frame);
    socket.send(text);
    this.#emit("frame", { way: "out", text });
  }

  #enter(state) {
    this.state = state;
    this.#emit("state");
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

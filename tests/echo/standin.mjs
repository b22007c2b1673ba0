// A server of the wire of recovery, small and on one node, which shows what a client has sent and can be made to misbehave.

import { createHash, randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";

import { Inbox } from "./client.mjs";

const TEXT = 1;
const CLOSE = 8;
const PING = 9;

export class StandIn {
  /** The upgrade requests, as URLs. */
  connections = new Inbox();
  /** The data of `pusher:subscribe`. */
  subscriptions = new Inbox();
  /** The requests for signatures, as the text of what was signed. */
  signatures = new Inbox();
  /** What a request for a signature is answered with besides `auth`. */
  secrets = {};
  /** Signatures that are refused. */
  refused = new Set();
  #clients = new Set();
  #sockets = new Map();
  #history = new Map();
  #epoch = "9f3c20";

  static async start() {
    const standIn = new StandIn();
    standIn.server = createServer((request, answer) => standIn.#sign(request, answer)).listen(0, "127.0.0.1");
    standIn.server.on("upgrade", (request, socket) => standIn.#accept(request, socket));
    await once(standIn.server, "listening");
    standIn.port = standIn.server.address().port;
    standIn.url = `http://127.0.0.1:${standIn.port}`;
    return standIn;
  }

  stop() {
    this.cut();
    this.server.close();
    this.server.closeAllConnections();
  }

  /** Closes the connections so that pages come back at once. */
  close() {
    for (const client of this.#clients) client.close(4200);
  }

  /** Cuts the connections. */
  cut() {
    for (const client of this.#clients) client.socket.destroy();
  }

  /** Stores an event, and sends it to who is subscribed. */
  publish(channel, data, { event = "told", toNobody = false } = {}) {
    const history = this.#of(channel);
    const frame = { event, channel, data: JSON.stringify(data), id: `${this.#epoch}-${history.length + 1}` };
    history.push(frame);
    if (!toNobody) for (const client of this.#clients) if (client.channels.has(channel)) client.send(frame);
  }

  /** Sends the last event once more. */
  repeat(channel) {
    for (const client of this.#clients) client.send(this.#of(channel).at(-1));
  }

  /** Sends anything. */
  send(frame) {
    for (const client of this.#clients) client.send(frame);
  }

  /** Forgets the sessions, so that the next connections have other socket ids. */
  forgetSessions() {
    this.#sockets.clear();
  }

  /** Loses what is stored. */
  loseHistory() {
    this.#epoch = "77";
    this.#history.clear();
  }

  #of(channel) {
    if (!this.#history.has(channel)) this.#history.set(channel, []);
    return this.#history.get(channel);
  }

  async #sign(request, answer) {
    let body = "";
    for await (const text of request.setEncoding("utf8")) body += text;
    const { socket_id, channel_name } = Object.fromEntries(new URLSearchParams(body));
    const signed = [socket_id, channel_name ?? "user"].join(":");
    this.signatures.put(signed);
    const auth = `echo-key:${signed}:${randomUUID()}`;
    const user = { channel_data: undefined, user_data: undefined };
    if (channel_name?.startsWith("presence-")) user.channel_data = JSON.stringify({ user_id: "7", user_info: {} });
    if (!channel_name) user.user_data = JSON.stringify({ id: "7" });
    answer.writeHead(200, { "Content-Type": "application/json" });
    answer.end(JSON.stringify({ auth, ...user, ...this.secrets[channel_name] }));
  }

  #accept(request, socket) {
    const client = new Client(socket, request.headers["sec-websocket-key"]);
    const url = new URL(request.url, this.url);
    this.connections.put(url);
    this.#clients.add(client);
    socket.on("close", () => this.#clients.delete(client));
    const session = url.pathname.split("~")[1] ?? randomUUID();
    if (!this.#sockets.has(session)) this.#sockets.set(session, `${this.#sockets.size + 1}.${Date.now()}`);
    client.hasIds = url.searchParams.get("recovery") === "2";
    client.onframe = (frame) => this.#handle(client, frame);
    const socket_id = this.#sockets.get(session);
    client.send({ event: "pusher:connection_established", data: JSON.stringify({ socket_id, activity_timeout: 30 }) });
  }

  #handle(client, { event, data }) {
    if (event === "pusher:ping") return client.send({ event: "pusher:pong", data: "{}" });
    if (event === "pusher:signin") return client.send({ event: "pusher:signin_success", data: JSON.stringify({ user_data: data.user_data }) });
    if (event === "pusher:unsubscribe") return client.channels.delete(data.channel);
    if (event !== "pusher:subscribe") return;
    this.subscriptions.put(data);
    const { channel, auth, since } = data;
    if (this.refused.has(auth)) {
      const error = JSON.stringify({ type: "AuthError", error: "the signature is wrong", status: 401 });
      return client.send({ event: "pusher:subscription_error", channel, data: error });
    }
    client.channels.add(channel);
    const history = this.#of(channel);
    const head = history.length ? `${this.#epoch}-${history.length}` : "s9f3c20-17";
    const [epoch, offset] = since?.split("-") ?? [];
    const isProven = epoch === this.#epoch && Number(offset) <= history.length;
    const presence = channel.startsWith("presence-") ? { presence: { ids: ["7"], hash: { 7: {} }, count: 1 } } : {};
    client.send({
      event: "pusher_internal:subscription_succeeded",
      channel,
      data: JSON.stringify(presence),
      id: isProven ? since : head,
    });
    if (!since) return;
    const missed = isProven ? history.slice(Number(offset)) : [];
    const named = channel.startsWith("private-encrypted-") ? {} : { channel };
    const told = isProven ? { channel, count: missed.length } : { channel };
    client.send({ event: isProven ? "yamabiko:recovered" : "yamabiko:gap", ...named, data: JSON.stringify(told) });
    missed.forEach((frame) => client.send(frame));
  }
}

class Client {
  channels = new Set();
  #received = Buffer.alloc(0);

  constructor(socket, key) {
    this.socket = socket;
    const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    socket.on("error", () => {});
    socket.on("data", (bytes) => this.#read(bytes));
  }

  send(frame) {
    const { id, ...rest } = frame;
    this.#write(TEXT, Buffer.from(JSON.stringify(this.hasIds && id ? { ...rest, id } : rest)));
  }

  close(code) {
    this.#write(CLOSE, Buffer.from([code >> 8, code & 255]));
    this.socket.end();
  }

  #write(opcode, payload) {
    const { length } = payload;
    const head = length < 126 ? [length] : [126, length >> 8, length & 255];
    this.socket.write(Buffer.concat([Buffer.from([128 | opcode, ...head]), payload]));
  }

  #read(bytes) {
    this.#received = Buffer.concat([this.#received, bytes]);
    for (;;) {
      const short = this.#received[1] & 127;
      const start = short === 126 ? 8 : 6;
      if (this.#received.length < start) return;
      const length = short === 126 ? this.#received.readUInt16BE(2) : short;
      if (this.#received.length < start + length) return;
      const opcode = this.#received[0] & 15;
      const mask = this.#received.subarray(start - 4, start);
      const payload = Buffer.from(this.#received.subarray(start, start + length)).map((byte, at) => byte ^ mask[at % 4]);
      this.#received = this.#received.subarray(start + length);
      if (opcode === TEXT) this.onframe(JSON.parse(payload));
      else if (opcode === PING) this.#write(10, payload);
      else if (opcode === CLOSE) this.socket.end();
    }
  }
}

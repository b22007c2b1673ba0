// The Pusher protocol with the interface of pusher-js, as far as Laravel Echo and its hooks use it, and with recovery: every event once
// and in order across reconnections, on channels with a history.

import { Dispatcher } from "./dispatcher.js";
import { parsed } from "./json.js";
import { createLink, type Link, type StateDetail } from "./link.js";
import { createPositions, type PusherFrame } from "./positions.js";
import { askForSignature, described, type AuthOptions, type Signature } from "./pusher-auth.js";
import { Channel, EncryptedChannel, isEncrypted, PresenceChannel, PrivateChannel, type Nacl } from "./pusher-channels.js";

export interface PusherOptions extends AuthOptions {
  /** Default: the host of the page. */
  wsHost?: string;
  wsPort?: number | string;
  wssPort?: number | string;
  wsPath?: string;
  forceTLS?: boolean;
  /** After so many milliseconds of silence, the connection is checked. Default: what the server says. */
  activityTimeout?: number;
  /** How long to wait for the answer to a check. */
  pongTimeout?: number;
  /** tweetnacl, for encrypted channels. */
  nacl?: Nacl;
  WebSocket?: new (url: string) => WebSocket;
  /** Other options of pusher-js and Echo have no effect. */
  [option: string]: unknown;
}

const PONG_TIMEOUT = 10_000;
/** How long a client without a connection is said to be connecting. */
const UNAVAILABLE = 10_000;

interface User {
  signin_requested: boolean;
  user_data: { id: string; [key: string]: unknown } | null;
  signinDonePromise?: Promise<void>;
  readonly watchlist: Dispatcher;
  /** Events for the user. */
  channel?: Channel | undefined;
}

interface KeptSignature {
  data: Signature;
  /** The connection that it was used on last. */
  connection: number;
  isReused: boolean;
}

/** A session of its own keeps the `socket_id`, and with it signatures and presence, across reconnections. */
const randomToken = () =>
  crypto.getRandomValues(new Uint32Array(4)).join("-");

/** The events of all channels, as a dispatcher. */
export class Pusher extends Dispatcher {
  readonly connection: Dispatcher & { state: string; socket_id?: string } = Object.assign(new Dispatcher(), { state: "initialized" });
  readonly channels: { channels: Record<string, Channel> } = { channels: {} };
  readonly user: Dispatcher & User = Object.assign(new Dispatcher(), {
    signin_requested: false,
    user_data: null,
    watchlist: new Dispatcher(),
  });
  readonly config: PusherOptions;
  readonly key: string;
  /** The positions of the channels. */
  readonly session = createPositions();
  private readonly _link: Link;
  private _signatures = new Map<string | undefined, KeptSignature>();
  private _connections = 0;
  private _idle: ReturnType<typeof setTimeout> | undefined;
  private _activityTimeout = 120_000;
  private _lostAt = 0;
  private _lastError: unknown;
  private _signedIn?: () => void;

  constructor(key: string, options: PusherOptions = {}) {
    super();
    this.key = key.includes("~") ? key : `${key}~${randomToken()}`;
    this.config = options;
    this._link = createLink(
      {
        address: () => this._address(),
        receive: (text) => this._receive(text),
        failures: (code) => {
          if (code < 4000 || code >= 5000) return 1;
          if (code < 4100 || code >= 4300) return -1;
          return code < 4200 ? 2 : 0;
        },
        probe: () => this.send_event("pusher:ping", {}),
        changed: (state, detail) => this._changed(state, detail),
      },
      options as { WebSocket?: new (url: string) => WebSocket },
    );
    this.connect();
  }

  connect(): void {
    this._link.connect();
  }

  disconnect(): void {
    this._link.close();
    this._signatures.clear();
  }

  subscribe(name: string): Channel {
    const { channels } = this.channels;
    const channel = (channels[name] ??= this._create(name));
    if (!channel.subscriptionPending && this.connection.state === "connected") void channel.subscribe();
    return channel;
  }

  unsubscribe(name: string): void {
    const channel = this.channel(name);
    if (!channel) return;
    delete this.channels.channels[name];
    delete this.session.last[name];
    this._signatures.delete(name);
    if (channel.subscribed || channel.subscriptionPending) this.send_event("pusher:unsubscribe", { channel: name });
    channel.disconnect();
  }

  channel(name: string): Channel | undefined {
    return this.channels.channels[name];
  }

  allChannels(): Channel[] {
    return Object.values(this.channels.channels);
  }

  /** The next subscription to the channel starts after this position. */
  startFrom(channel: string, position: string): void {
    this.session.last[channel] = position;
  }

  signin(): void {
    if (this.user.signin_requested) return;
    this.user.signin_requested = true;
    void this._signin();
  }

  /** False: there is no connection. */
  send_event(event: string, data: unknown, channel?: string): boolean {
    return this._link.send(JSON.stringify({ event, data, channel }));
  }

  /**
   * The signature of a channel, or of the user. It is used again while the `socket_id` is the same, once on each connection: a second
   * request is for another one, such as the new key of an encrypted channel.
   */
  async sign(channel?: Channel): Promise<Signature> {
    const name = channel?.name;
    const kept = this._signatures.get(name);
    if (kept && kept.connection < this._connections) {
      kept.connection = this._connections;
      kept.isReused = true;
      return kept.data;
    }
    const socketId = this.connection.socket_id!;
    const data = await askForSignature(this.config, socketId, channel);
    if (socketId === this.connection.socket_id)
      this._signatures.set(name, { data, connection: this._connections, isReused: false });
    return data;
  }

  /** Whether the channel is still wanted, on the same connection. */
  connectionGuard(channel: Channel): () => boolean {
    const connection = this._connections;
    return () => connection === this._connections && this._link.state === "open" && channel === this._channel(channel.name);
  }

  /** A channel of the page, or the one of the user. */
  private _channel(name: string): Channel | undefined {
    return this.user.channel?.name === name ? this.user.channel : this.channel(name);
  }

  private _create(name: string): Channel {
    if (name.startsWith("#")) throw new Error(`"${name}" is not a channel name`);
    if (name.startsWith("presence-")) return new PresenceChannel(name, this);
    if (!name.startsWith("private-")) return new Channel(name, this);
    if (!isEncrypted(name)) return new PrivateChannel(name, this);
    if (!this.config.nacl) throw new Error("Encrypted channels need the option `nacl`: tweetnacl");
    return new EncryptedChannel(name, this);
  }

  private _address(): string {
    const { wsHost, wsPort = 80, wssPort = 443, wsPath = "", forceTLS } = this.config;
    const { location } = globalThis;
    const isSecure = location?.protocol === "https:" || forceTLS !== false;
    const host = wsHost || location?.hostname;
    return `${isSecure ? "wss" : "ws"}://${host}:${isSecure ? wssPort : wsPort}${wsPath}/app/${this.key}?protocol=7&client=yamabiko&recovery=2`;
  }

  private _enter(current: string): void {
    const { connection } = this;
    const previous = connection.state;
    if (previous === current) return;
    connection.state = current;
    connection.emit("state_change", { previous, current });
    connection.emit(current);
  }

  private _changed(state: Link["state"], { code = 1000, reason = "" }: StateDetail): void {
    if (state === "open") {
      this._lostAt = 0;
      this._lastError = undefined;
      this._enter("connected");
      for (const channel of this.allChannels()) this.subscribe(channel.name);
      void this._signin();
      return;
    }
    clearTimeout(this._idle);
    if (this.connection.state === "connected") {
      for (const channel of this.allChannels()) channel.disconnect();
      this.user.user_data = null;
      this.user.channel = undefined;
      this._signedIn?.();
    }
    this._lostAt ||= Date.now();
    if (![1000, 1001, this._lastError].includes(code)) this._fail({ code, message: reason });
    if (state === "closed") this._enter("disconnected");
    else this._enter(Date.now() - this._lostAt > UNAVAILABLE ? "unavailable" : "connecting");
  }

  private _fail(data: { code: number; message: string }): void {
    this._lastError = data.code;
    this.connection.emit("error", { type: "PusherError", data });
  }

  private _receive(text: string): void {
    this._awaitActivity();
    const frame = JSON.parse(text) as PusherFrame;
    const { event } = frame;
    // JSON in a text, or a text.
    const data = (frame.data = parsed(frame.data));
    if (event === "pusher:connection_established") {
      if (this.connection.socket_id !== data.socket_id) this._signatures.clear();
      this.connection.socket_id = data.socket_id;
      this._connections++;
      this._activityTimeout = Math.min(data.activity_timeout * 1000, this.config.activityTimeout ?? Infinity);
      this._awaitActivity();
      this._link.ready();
      return;
    }
    if (event === "pusher:error") this._fail(data);
    if (event === "pusher:ping") this.send_event("pusher:pong", {});
    if (event === "pusher:signin_success") this._onSignedIn(data);
    if (event === "pusher_internal:watchlist_events")
      for (const change of data.events) this.user.watchlist.emit(change.name, change);
    if (!this.session.isNew(frame)) return;
    this.connection.emit("message", frame);
    // For an encrypted channel, these do not name the channel at the top: pusher-js would try to decrypt them.
    const name = frame.channel ?? (event.startsWith("yamabiko:") ? data?.channel : undefined);
    const channel = name && this._channel(name);
    if (channel && !this._signAgain(channel, event)) channel.handle(frame);
    if (!event.startsWith("pusher_internal:")) this.emit(event, data);
  }

  /** A signature that was refused when it was used again is replaced. */
  private _signAgain(channel: Channel, event: string): boolean {
    if (event !== "pusher:subscription_error") return false;
    channel.subscriptionPending = false;
    const kept = this._signatures.get(channel.name);
    this._signatures.delete(channel.name);
    if (!kept?.isReused) return false;
    void channel.subscribe();
    return true;
  }

  private _awaitActivity(): void {
    clearTimeout(this._idle);
    this._idle = setTimeout(() => this._link.check(this.config.pongTimeout ?? PONG_TIMEOUT), this._activityTimeout);
  }

  private async _signin(): Promise<void> {
    const { user } = this;
    if (!user.signin_requested) return;
    this._signedIn?.();
    user.signinDonePromise = new Promise((done) => (this._signedIn = done));
    if (this._link.state !== "open") return;
    const connection = this._connections;
    try {
      const { auth, user_data } = await this.sign();
      if (connection === this._connections) this.send_event("pusher:signin", { auth, user_data });
    } catch (error) {
      user.emit("pusher:signin_error", described(error));
      this._signedIn?.();
    }
  }

  private _onSignedIn({ user_data }: { user_data: string }): void {
    const { user } = this;
    user.user_data = JSON.parse(user_data);
    user.channel = new Channel(`#server-to-user-${user.user_data?.id}`, this);
    user.channel.bind_global((event, data) => event.startsWith("pusher:") || user.emit(event, data));
    this._signedIn?.();
    void user.channel.subscribe();
  }
}

export default Pusher;

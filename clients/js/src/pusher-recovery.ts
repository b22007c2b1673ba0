// A plugin for pusher-js 7 and 8.

/** A position of a channel, from a frame or from the HTTP API. */
export type Position = string;

export interface Recovering {
  /** The next subscription to the channel starts after this position. */
  startFrom(channel: string, position: Position): void;
}

const { parse } = JSON;

// Positions of one epoch are compared by their offsets.
const isOld = (id: Position, last: Position) => {
  const [epoch, offset] = id.split("-");
  return last.startsWith(epoch + "-") && +offset! <= +last.split("-")[1]!;
};

// What a page keeps from one connection to the next.
class Session {
  pusher: any;
  /** The position of each channel. */
  last: Record<string, Position>;
  /** The signature of each channel, and that of the user under "". */
  auth: Record<string, { data: object; connection: number; isReused?: boolean }> = {};
  connections = 0;
  socketId: string | undefined;

  constructor(positions?: Record<string, Position>) {
    this.last = { ...positions };
  }

  // A signature is valid for as long as the connections have the same socket_id. It is used once on each of them: a second request is
  // for another one, such as the new key of an encrypted channel.
  remember(authorize: any) {
    return (params: any, callback: any) => {
      const name = params.channelName || "";
      const kept = this.auth[name];
      if (kept && kept.connection < this.connections) {
        kept.connection = this.connections;
        kept.isReused = true;
        return callback(null, { ...kept.data });
      }
      authorize(params, (error: unknown, data: object) => {
        if (!error && params.socketId === this.socketId)
          this.auth[name] = { data: { ...data }, connection: this.connections };
        callback(error, data);
      });
    };
  }

  attach(socket: any, url: string) {
    const send = socket.send;
    socket.send = (text: string) => send.call(socket, this.withPosition(text));
    const intercept = (name: string, change: (event: any) => any) => {
      let handle: any;
      Object.defineProperty(socket, "on" + name, { get() {}, set: (handler) => (handle = handler) });
      socket.addEventListener(name, (event: any) => (event = change(event)) && handle && handle(event));
    };
    intercept("message", (message) => this.isNew(parse(message.data)) && message);
    // pusher-js 7 gives up WebSocket when two connections break within minutes.
    if (url.includes("version=7"))
      intercept("close", ({ code, reason }) => ({ code, reason, wasClean: true }));
    return socket;
  }

  withPosition(text: string) {
    const frame = parse(text);
    const since = frame.event === "pusher:subscribe" && this.last[frame.data.channel];
    if (!since) return text;
    frame.data.since = since;
    return JSON.stringify(frame);
  }

  isNew({ event = "", channel, data, id }: any) {
    if (event === "pusher:connection_established") {
      const { socket_id } = parse(data);
      if (this.socketId !== socket_id) this.auth = {};
      this.socketId = socket_id;
      this.connections++;
    } else if (event === "pusher:subscription_error") {
      const kept = this.auth[channel];
      delete this.auth[channel];
      const subscription = this.pusher.channel(channel);
      if (kept && kept.isReused && subscription) {
        // With a new signature.
        subscription.subscribe();
        return false;
      }
    } else if (event.startsWith("yamabiko:") && !channel) {
      // Of an encrypted channel: if the frame named it, pusher-js would try to decrypt the event.
      data = parse(data);
      const encrypted = this.pusher.channel(data.channel);
      if (encrypted) encrypted.emit(event, data);
    } else if (id) {
      const last = this.last[channel];
      // The server's own, such as yamabiko:gap, say where to go on. They are never old.
      if (/^(pusher_internal|yamabiko):/.test(event)) this.last[channel] = id;
      else if (last) {
        if (isOld(id, last)) return false;
        this.last[channel] = id;
      }
    }
    return true;
  }
}

// By the key of the app, which ends with the token of the session.
const sessions: Record<string, Session> = {};
const runtimes = new Set<unknown>();

const install = (runtime: any) => {
  if (runtimes.has(runtime)) return;
  runtimes.add(runtime);
  const create = runtime.createWebSocket;
  runtime.createWebSocket = function (url: string) {
    const session = sessions[url.replace(/.*\/app\/|\?.*/g, "")];
    return session ? session.attach(create.call(this, url + "&recovery=2"), url) : create.call(this, url);
  };
};

const token = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => (byte + 256).toString(16).slice(1)).join("");

/** A Pusher class whose instances get every message of channels with a history exactly once. */
export default function recovery<P extends new (...options: any[]) => any>(
  Pusher: P,
  positions?: Record<string, Position>,
): (new (...options: ConstructorParameters<P>) => InstanceType<P> & Recovering) & P {
  const Base = Pusher as any;
  install(Base.Runtime);
  return class extends Base {
    constructor(key: string, options: object) {
      if (!key.includes("~")) key += "~" + token();
      // It connects at once, or later.
      const session = (sessions[key] = new Session(positions));
      super(key, options);
      this.session = session;
      session.pusher = this;
      for (const name of ["channelAuthorizer", "userAuthenticator"])
        if (this.config[name]) this.config[name] = session.remember(this.config[name]);
    }

    startFrom(channel: string, position: Position) {
      this.session.last[channel] = position;
    }

    unsubscribe(channel: string) {
      super.unsubscribe(channel);
      delete this.session.last[channel];
      delete this.session.auth[channel];
    }

    disconnect() {
      super.disconnect();
      this.session.auth = {};
    }
  } as any;
}

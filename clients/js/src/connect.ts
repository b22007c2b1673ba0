import { createEmitter } from "./events.js";
import { createLink } from "./link.js";
import { createOutbox, SendError, type Answer } from "./outbox.js";
import { createPresence } from "./presence.js";
import { askForToken, claimsOf, renewalDelay, TokenError, type Claims } from "./token.js";
import type { Connection, ConnectionEvents, ConnectOptions, DataOf, Message, TokenSource, User } from "./types.js";

interface Frame {
  type: string;
  id?: string;
  sender: User;
  data: unknown;
  count: number;
  ok: boolean;
  error?: { code: string; message: string };
}

/** The position on a channel without a history. */
const NOWHERE = "0-0";
const CLOSED = "the connection is closed";
const FOR_GOOD = [1000, 1002, 1003, 1007, 1009, 4403];

/** An expired token is replaced at once. A server that is full, or finds the client too slow, is given some time. */
const FAILURES: Record<number, number> = { 4401: 0, 1013: 3 };

const failures = (code: number) => (FOR_GOOD.includes(code) ? -1 : (FAILURES[code] ?? 1));

/** Joins the channel of the token, and stays on it. */
export function connect<K = Record<string, unknown>>(source: TokenSource, options: ConnectOptions = {}): Connection<DataOf<K>> {
  type Data = DataOf<K>;
  const { on, emit } = createEmitter<ConnectionEvents<Data>>();
  let since = options.since ?? "";
  let token = "";
  let claims: Claims = {};
  let expiring: ReturnType<typeof setTimeout> | undefined;
  // The connection has not been told yet what it has missed.
  let isAsking = true;
  let wasOpen = false;
  let missed = 0;
  let attempts = 0;

  async function ask() {
    const answer = await askForToken(source);
    token = answer.token;
    claims = claimsOf(token);
    return answer.url;
  }

  const link = createLink(
    {
      async address() {
        const url = new URL((await ask()) ?? options.url ?? "/ws", globalThis.location?.href);
        url.protocol = url.protocol.replace("http", "ws");
        url.searchParams.set("token", token);
        url.searchParams.set("since", since);
        return url.href;
      },
      receive,
      failures,
      probe: authenticate,
      changed(state, detail) {
        if (state === "connecting") {
          isAsking = true;
          attempts++;
        }
        if (state === "closed") outbox.close(detail.reason || CLOSED);
        if (state !== "open") clearTimeout(expiring);
        if (detail.error) emit("error", detail.error);
        emit("state", { state, ...detail });
      },
    },
    options,
  );
  const outbox = createOutbox(link.send);
  const user = () => (claims.id === undefined ? undefined : { id: claims.id, name: claims.name ?? "" });
  const presence = createPresence(user, (event, user) => {
    if (event === "users") emit(event, presence.list());
    else emit(event, user!);
  });

  function authenticate() {
    link.send(JSON.stringify({ type: "auth", token }));
  }

  /** Asks for the next token in time, so that the connection outlives this one. */
  function awaitExpiry() {
    clearTimeout(expiring);
    const delay = renewalDelay(claims);
    if (delay !== undefined && delay < 2 ** 31) expiring = setTimeout(renew, delay);
  }

  async function renew() {
    const own = attempts;
    try {
      await ask();
      if (own !== attempts || link.state !== "open") return;
      link.check();
    } catch (error) {
      // Without a new token, the server closes with 4401 in time, and the application is asked again.
      if (own === attempts) emit("error", error);
    }
  }

  function receive(text: string) {
    const frame = JSON.parse(text) as Frame;
    const { type, id } = frame;
    const before = since;
    since = id ?? since;
    if (type === "recovered" || type === "gap") {
      const isAnswer = isAsking;
      isAsking = false;
      missed = type === "recovered" ? frame.count : 0;
      // The first answer only says where the channel is.
      const isFirst = isAnswer && !wasOpen && !before;
      const isGap = type === "gap" || !before;
      if (isAnswer) {
        wasOpen = true;
        link.ready();
        awaitExpiry();
      }
      if (!isFirst) {
        if (isGap) emit("gap", undefined);
        else emit("recovered", missed);
      }
      if (isAnswer) outbox.resume(id !== NOWHERE);
    } else if (type === "sended") {
      outbox.answer(frame as unknown as Answer);
    } else if (type === "auth") {
      if (frame.ok) awaitExpiry();
      else if (frame.error?.code === "other_identity") link.drop(4401, "other identity");
      else emit("error", new TokenError(frame.error?.message ?? "the token was not renewed"));
    } else if (!presence.receive(frame as never)) {
      const recovered = missed > 0;
      if (recovered && id) missed--;
      emit(type === "message" ? type : "event", { ...(frame as unknown as Message<never>), recovered });
    }
  }

  link.connect();
  return {
    get state() {
      return link.state;
    },
    get user() {
      return user();
    },
    get channel() {
      return claims.channel;
    },
    get since() {
      return since;
    },
    users: presence.list,
    on,
    send: (data, options = {}) =>
      link.state === "closed"
        ? Promise.reject(new SendError("closed", CLOSED, options.ref ?? "", false))
        : outbox.send(data, options),
    connect: link.connect,
    close: link.close,
  };
}

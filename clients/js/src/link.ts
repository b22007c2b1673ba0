// The one reconnect logic: a WebSocket that comes back, whatever protocol it speaks.

export type State = "connecting" | "open" | "waiting" | "closed";

/** What led to a state. */
export interface StateDetail {
  /** The close code of the last connection, or the HTTP status with which the application refused a token. */
  code?: number | undefined;
  reason?: string;
  /** What went wrong before there was a connection. */
  error?: unknown;
  /** In `waiting`: when the next attempt is due, as `Date.now()` counts. */
  until?: number;
}

export interface Protocol {
  /** The address of the next connection. An error with a `status` of 401 or 403 ends the attempts. */
  address(): string | Promise<string>;
  receive(text: string): void;
  /**
   * How many failures in a row a close code counts as at least: with 0, the client comes back at once, and later with each more. Negative: it
   * does not come back.
   */
  failures(code: number): number;
  /** Sends something that the server answers: `Link.check()` waits for it. */
  probe(): void;
  changed(state: State, detail: StateDetail): void;
}

export interface LinkOptions {
  /** The WebSocket class, where there is no global one. */
  WebSocket?: new (url: string) => WebSocket;
  /** Listens to events of the page, such as `online`, to come back sooner. Default: true. */
  lifecycle?: boolean;
}

export interface Link {
  readonly state: State;
  /** False: the connection is not open. */
  send(text: string): boolean;
  connect(): void;
  close(): void;
  /** The protocol has got its first answer: the connection counts as open. */
  ready(): void;
  /** Sends a probe, and reconnects unless the server sends something soon. */
  check(within?: number): void;
  /** Gives up this connection as if it had broken. */
  drop(code: number | undefined, reason: string, error?: unknown): void;
}

const FIRST_WAIT = 500;
const LONGEST_WAIT = 30_000;
/** A full server opens and closes at once, so only a connection that lasts resets the back-off. */
const STEADY = 10_000;
/** How long an attempt may take, the token included. */
const ATTEMPT = 20_000;
const ANSWER = 5_000;
/** A connection that has heard from the server so recently needs no check. */
const FRESH = 30_000;

type Timer = ReturnType<typeof setTimeout>;

export function createLink(protocol: Protocol, options: LinkOptions): Link {
  let socket: WebSocket | undefined;
  // Of a running attempt, or until the next one.
  let timer: Timer | undefined;
  let checking: Timer | undefined;
  let attempt = 0;
  let failures = 0;
  let openedAt = 0;
  let heardAt = 0;
  let listeners: AbortController | undefined;

  const link = {
    state: "closed" as State,
    send(text: string) {
      if (link.state !== "open" || socket?.readyState !== 1) return false;
      socket.send(text);
      return true;
    },
    connect() {
      if (link.state !== "closed") return;
      failures = 0;
      listen();
      open();
    },
    close() {
      if (link.state !== "closed") stop({ code: 1000, reason: "" });
    },
    ready() {
      clearTimeout(timer);
      openedAt = Date.now();
      enter("open");
    },
    check(within = ANSWER) {
      protocol.probe();
      clearTimeout(checking);
      checking = setTimeout(() => link.drop(1006, "no answer"), within);
    },
    drop(code: number | undefined, reason: string, error?: unknown) {
      const detail = { code, reason, error };
      const least = !error ? protocol.failures(code ?? 0) : code === 401 || code === 403 ? -1 : 1;
      if (least < 0) return stop(detail);
      if (openedAt && Date.now() - openedAt > STEADY) failures = 0;
      failures = Math.max(failures, least);
      // Exponential, with jitter so that clients do not all come back at the same time.
      const longest = failures && Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** (failures - 1));
      const wait = longest * (0.5 + Math.random() / 2);
      failures++;
      abandon();
      timer = setTimeout(open, wait);
      enter("waiting", { ...detail, until: Date.now() + wait });
    },
  };

  function enter(state: State, detail: StateDetail = {}) {
    link.state = state;
    protocol.changed(state, detail);
  }

  /** What the old connection still has to say is ignored from here on. */
  function abandon() {
    attempt++;
    openedAt = 0;
    clearTimeout(timer);
    clearTimeout(checking);
    socket?.close(1000);
    socket = undefined;
  }

  function stop(detail: StateDetail) {
    abandon();
    listeners?.abort();
    enter("closed", detail);
  }

  async function open() {
    abandon();
    const own = attempt;
    const isCurrent = () => own === attempt;
    timer = setTimeout(() => link.drop(1006, "timeout"), ATTEMPT);
    enter("connecting");
    try {
      if (!isCurrent()) return;
      const url = await protocol.address();
      if (!isCurrent()) return;
      const current = (socket = new (options.WebSocket ?? WebSocket)(url));
      current.onmessage = ({ data }) => {
        if (!isCurrent()) return;
        heardAt = Date.now();
        clearTimeout(checking);
        protocol.receive(data);
      };
      // Browsers close with 1006 after an error. Not every other WebSocket class says that it has closed.
      current.onclose = current.onerror = ({ code = 1006, reason = "" }: Partial<CloseEvent>) => {
        if (isCurrent()) link.drop(code, reason);
      };
    } catch (error) {
      const { status, message } = error as { status?: number; message?: string };
      if (isCurrent()) link.drop(status, String(message ?? error), error);
    }
  }

  /** Something has changed for the better: the network is back, or the page is visible again. */
  function nudge() {
    if (link.state === "waiting") open();
    else if (link.state === "open" && Date.now() - heardAt > FRESH) link.check();
  }

  function listen() {
    const { addEventListener: add, document } = globalThis;
    if (options.lifecycle === false || !add) return;
    listeners = new AbortController();
    const untilClosed = { signal: listeners.signal };
    add("online", nudge, untilClosed);
    document?.addEventListener("visibilitychange", () => document.hidden || nudge(), untilClosed);
    // The back/forward cache keeps a page without its connections.
    add("pagehide", ({ persisted }) => {
      if (!persisted || link.state === "closed") return;
      abandon();
      enter("waiting", { code: 1000, reason: "page hidden" });
    }, untilClosed);
    add("pageshow", ({ persisted }) => persisted && nudge(), untilClosed);
  }

  return link;
}

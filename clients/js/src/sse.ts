// The native protocol over server-sent events, in the place of a WebSocket, for networks that block WebSocket.

export interface FallbackOptions {
  /** The WebSocket class, where there is no global one. */
  WebSocket?: new (url: string) => WebSocket;
  /** Server-sent events are tried after this many WebSockets in a row that have brought nothing. Default: 2. */
  attempts?: number;
  /** WebSocket is tried again with the first connection after this time, in milliseconds. Default: ten minutes. */
  retry?: number;
}

interface Events {
  opened(): void;
  heard(text: string): void;
  ended(code: number, reason: string): void;
}

interface Transport {
  send(text: string): void;
  close(code?: number): void;
}

const RETRY = 600_000;
/** How long a WebSocket may take to open. */
const OPENS = 8_000;
/** How long before `close` a WebSocket must have been opened for its silence to say something. */
const SILENT = 5_000;
/** How late a comment may be that the server sends when it has nothing else to send. */
const LATE = 10_000;
const LOST = 1006;
const TOKEN = 4401;

/** A class for the option `WebSocket` of `connect`. Connections that share it share what they know of the network. */
export function withSse({ WebSocket: Socket, attempts = 2, retry = RETRY }: FallbackOptions = {}): new (url: string) => WebSocket {
  // WebSockets in a row that have brought nothing.
  let failures = 0;
  let blockedUntil = 0;
  // The server does not serve them.
  let isMissing = false;

  function socket(url: string, events: Events): Transport {
    const current = new (Socket ?? WebSocket)(url);
    const started = Date.now();
    let isOver = false, isSilent = true;
    const timer = setTimeout(() => {
      end(LOST, "timeout");
      current.close();
    }, OPENS);
    function end(code: number, reason: string) {
      clearTimeout(timer);
      if (isOver) return;
      isOver = true;
      if (isSilent) failures++;
      events.ended(code, reason);
    }
    current.onopen = () => {
      clearTimeout(timer);
      events.opened();
    };
    current.onmessage = ({ data }) => {
      isSilent = false;
      failures = blockedUntil = 0;
      events.heard(data);
    };
    current.onclose = ({ code, reason }) => end(code, reason);
    current.onerror = () => end(LOST, "");
    return {
      send: (text) => current.send(text),
      close(code) {
        clearTimeout(timer);
        if (isSilent && !isOver && Date.now() - started > SILENT) failures++;
        isOver = true;
        current.close(code);
      },
    };
  }

  function stream(url: string, events: Events): Transport {
    // From here on, WebSocket has one attempt.
    failures = attempts - 1;
    blockedUntil = 0;
    return openStream(url, {
      ...events,
      heard(text) {
        blockedUntil ||= Date.now() + retry;
        events.heard(text);
      },
    }, (status) => {
      isMissing = status === 404 || status === 405;
    });
  }

  class FallbackSocket {
    readyState = 0;
    onmessage: ((event: { data: string }) => void) | null = null;
    onclose: ((event: { code: number; reason: string }) => void) | null = null;
    onerror: (() => void) | null = null;
    #transport: Transport;
    constructor(url: string) {
      const isBlocked = !isMissing && (failures >= attempts || Date.now() < blockedUntil);
      this.#transport = (isBlocked ? stream : socket)(url, {
        opened: () => {
          this.readyState = 1;
        },
        heard: (data) => this.onmessage?.({ data }),
        ended: (code, reason) => {
          this.readyState = 3;
          this.onclose?.({ code, reason });
        },
      });
    }
    send(text: string) {
      this.#transport.send(text);
    }
    close(code?: number) {
      this.readyState = 3;
      this.#transport.close(code);
    }
  }
  return FallbackSocket as never;
}

function openStream(address: string, { opened, heard, ended }: Events, refused: (status: number) => void): Transport {
  const url = new URL(address);
  url.protocol = url.protocol.replace("ws", "http");
  url.pathname = url.pathname.replace(/\/(ws)?$/, "/sse");
  const headers = { Authorization: `Bearer ${url.searchParams.get("token")}` };
  // A header is in no access log.
  url.searchParams.delete("token");
  const target = new URL(url);
  target.searchParams.delete("since");
  const reading = new AbortController();
  /** The first one is on its way. */
  const waiting: string[] = [];
  let isOver = false;
  // How long the server may be silent: it says so.
  let silence = 30_000 + LATE;
  let timer: ReturnType<typeof setTimeout> | undefined;

  function stop() {
    isOver = true;
    clearTimeout(timer);
    reading.abort();
  }

  function end(code: number, reason: string) {
    if (isOver) return;
    stop();
    ended(code, reason);
  }

  /** The request was refused: a new token may help. */
  async function refuse(response: Response) {
    const { error } = (await response.json().catch(() => ({}))) as { error?: { code: string } };
    refused(response.status);
    end(response.status === 401 ? TOKEN : LOST, error?.code ?? `HTTP ${response.status}`);
  }

  function alive() {
    clearTimeout(timer);
    timer = setTimeout(() => end(LOST, "no heartbeat"), silence);
  }

  async function read() {
    const response = await fetch(url, { headers, cache: "no-store", credentials: "omit", signal: reading.signal });
    if (!response.ok || !response.body) return refuse(response);
    opened();
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    let rest = "", name = "", data: string[] = [];
    for (;;) {
      alive();
      const { done, value } = await reader.read();
      if (done) return end(LOST, "");
      const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = lines.pop()!;
      for (const line of lines) {
        if (isOver) return;
        const [, field, text = ""] = /^(\w*): ?([^]*?)\r?$/.exec(line) ?? [];
        if (field === "data") data.push(text);
        else if (field === "event") name = text;
        else if (field === "") {
          const seconds = Number(/^heartbeat (\d+)/.exec(text)?.[1]);
          if (seconds) silence = seconds * 1_000 + LATE;
        } else if (!field) {
          const text = data.join("\n");
          if (name) {
            const { id, code, reason } = JSON.parse(text) as { id?: string; code: number; reason: string };
            if (name === "connection") target.searchParams.set(name, id!);
            else if (name === "close") end(code, reason);
          } else if (text) heard(text);
          name = "";
          data = [];
        }
      }
    }
  }

  /** Whether it was answered, and the stream goes on. */
  async function post(body: string) {
    while (!isOver) {
      const response = await fetch(target, {
        method: "POST",
        headers: { ...headers, "Content-Type": "application/json" },
        credentials: "omit",
        body,
      });
      if (response.status === 429) {
        // It was not sent.
        await new Promise((wake) => setTimeout(wake, Number(response.headers.get("Retry-After") || 1) * 1_000));
        continue;
      }
      const text = await response.clone().text();
      if (isOver) break;
      // A good token, which the stream itself answers.
      if (response.status === 202) headers.Authorization = `Bearer ${(JSON.parse(body) as { token: string }).token}`;
      else if (text.startsWith('{"type"')) heard(text);
      else return refuse(response);
      return true;
    }
  }

  /** One after another, because requests overtake each other. */
  async function write() {
    while (waiting.length && (await post(waiting[0]!))) waiting.shift();
  }

  const lost = (error: unknown) => end(LOST, `${error}`);
  alive();
  read().catch(lost);
  return {
    send(text) {
      // A new token waits for no message.
      if ((JSON.parse(text) as { type?: string }).type === "auth") post(text).catch(lost);
      else if (waiting.push(text) === 1) write().catch(lost);
    },
    close: stop,
  };
}

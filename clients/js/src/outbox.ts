// Messages that wait for a connection, or for the server's answer.

import type { SendOptions } from "./types.js";

export type SendErrorCode =
  | "invalid_json"
  | "invalid_message"
  | "not_allowed"
  | "refused"
  | "message_too_large"
  | "unavailable"
  | "internal"
  | "timeout"
  | "disconnected"
  | "closed";

export class SendError extends Error {
  override name = "SendError";
  /** The server's code, or `timeout`, `disconnected` or `closed` if there was no answer. */
  declare readonly code: SendErrorCode;
  /** Send again with this `ref`, and the message is delivered once, if its channel has a history. */
  declare readonly ref: string;
  /** There was no answer, and the message may have been delivered. */
  declare readonly uncertain: boolean;
  constructor(code: SendErrorCode, message: string, ref: string, uncertain: boolean) {
    super(message);
    Object.assign(this, { code, ref, uncertain });
  }
}

export interface Answer {
  ok: boolean;
  ref?: string;
  error?: { code: SendErrorCode; message: string };
}

interface Entry {
  ref: string;
  text: string;
  /** When it was sent for the first time, or 0. */
  sentAt: number;
  isInFlight: boolean;
  /** The server recognises it if it is sent again, and someone waits for the answer. */
  isRepeatable: boolean;
  settle(error?: SendError): void;
}

const TIMEOUT = 30_000;
/** The server remembers a `ref` for five minutes. */
const REMEMBERED = 240_000;

export interface Outbox {
  send(data: unknown, options: SendOptions): Promise<void>;
  answer(answer: Answer): void;
  /** There is a new connection, to a channel with or without a history. */
  resume(hasHistory: boolean): void;
  close(reason: string): void;
}

/** `write` says whether there was a connection to write to. */
export function createOutbox(write: (text: string) => boolean): Outbox {
  let entries: Entry[] = [];
  let hasHistory = false;
  let count = 0;
  const prefix = crypto.getRandomValues(new Uint32Array(4)).join("");

  function fail(entry: Entry, code: SendErrorCode, message: string) {
    entry.settle(new SendError(code, message, entry.ref, entry.sentAt > 0));
  }

  function remove(entry: Entry) {
    entries = entries.filter((other) => other !== entry);
  }

  function flush() {
    for (const entry of entries) {
      if (!entry.isInFlight) {
        if (!write(entry.text)) return;
        entry.sentAt ||= Date.now();
        entry.isInFlight = true;
        entry.isRepeatable = hasHistory;
      }
      // Without a history, answers do not say which message they are for: one at a time.
      if (!hasHistory) return;
    }
  }

  return {
    send(data, { ref = `${prefix}-${++count}`, timeout = TIMEOUT }) {
      return new Promise((resolve, reject) => {
        if (!ref || new TextEncoder().encode(ref).length > 64) throw new RangeError("`ref` must have 1 to 64 bytes");
        const entry: Entry = {
          ref,
          text: JSON.stringify({ ref, data }),
          sentAt: 0,
          isInFlight: false,
          isRepeatable: false,
          settle(error) {
            clearTimeout(timer);
            if (error) reject(error);
            else resolve();
          },
        };
        const timer = setTimeout(() => {
          // One that is on its way keeps its place: its answer may still come.
          entry.isRepeatable = false;
          if (!entry.isInFlight) remove(entry);
          fail(entry, "timeout", "no answer in time");
        }, Math.min(timeout, 2 ** 31 - 1));
        entries.push(entry);
        flush();
      });
    },
    answer({ ok, ref, error }) {
      const entry = entries.find((entry) => entry.isInFlight && (!hasHistory || entry.ref === ref));
      if (!entry) return;
      remove(entry);
      entry.settle(ok ? undefined : new SendError(error?.code ?? "internal", error?.message ?? "", entry.ref, false));
      flush();
    },
    resume(history) {
      hasHistory = history;
      for (const entry of entries) {
        entry.isInFlight = false;
        if (entry.sentAt && !(history && entry.isRepeatable && Date.now() - entry.sentAt < REMEMBERED)) {
          remove(entry);
          fail(entry, "disconnected", "the connection broke before the answer");
        }
      }
      flush();
    },
    close(reason) {
      for (const entry of entries) fail(entry, "closed", reason);
      entries = [];
    },
  };
}

import type { State, StateDetail } from "./link.js";
import type { LinkOptions } from "./link.js";

/** The `data` of each kind of channel. Add your own kinds by declaration merging. */
export interface Kinds {
  chat: { message: string; name?: string };
  tweet: { tweet: { id: number; content: string; created_at: string; user: { id: number; name: string } } };
  progress: { info: { type: string; title: string; detail: Record<string, unknown> } };
}

/** The `data` of a kind, or of a type of your own. */
export type DataOf<K> = K extends keyof Kinds ? Kinds[K] : K;

export interface User {
  id: number | string;
  name: string;
}

export interface Message<Data> {
  /** `message`, or the type that the application has given it. */
  type: string;
  /** On channels with a history: the position of the message. */
  id?: string;
  /** From the token of the sender. */
  sender: User;
  data: Data;
  /** It was missed, and is delivered late. */
  recovered: boolean;
}

/** What a client sends. On kinds with targeting, `target_user_id` is the only user who receives it. */
export type Outgoing<Data> = Data & { target_user_id?: number | string | null };

export interface Credentials {
  /** The server's address, such as `wss://ws.example.com/ws`. */
  url?: string | undefined;
  token: string;
}

/**
 * Where tokens come from: the address of the application's token route, or a function. It is asked for each connection, and before a
 * token expires. A response with status 401 or 403 ends the connection for good.
 */
export type TokenSource = string | (() => Promise<Response | Credentials | string> | Credentials | string);

export interface ConnectOptions extends LinkOptions {
  /** The server's address, if the application does not send one with the token. Default: `/ws` of the page's host. */
  url?: string;
  /** The position to start from, for a page that was rendered with one. */
  since?: string;
}

export interface SendOptions {
  /** Identifies the message: within five minutes, it is delivered once. Default: a new one. */
  ref?: string;
  /** How long to wait for the answer, in milliseconds, the time without a connection included. Default: 30,000. */
  timeout?: number;
}

export interface ConnectionEvents<Data> {
  message: Message<Data>;
  /** A message with a type of the application. */
  event: Message<unknown>;
  /** The connection is back, and this many missed messages follow. */
  recovered: number;
  /** Messages may be missing: load them from the application. */
  gap: undefined;
  state: StateDetail & { state: State };
  /** The users on the channel, whenever they have changed. */
  users: User[];
  join: User;
  leave: User;
  /** No token, or a refused renewal. The connection retries by itself. */
  error: unknown;
}

export interface Connection<Data> {
  readonly state: State;
  /** The user of the token. */
  readonly user: User | undefined;
  /** The channel of the token. */
  readonly channel: string | undefined;
  /** The position of the last message. */
  readonly since: string;
  /** Who is on the channel, this user included. Empty unless the kind has presence. */
  users(): User[];
  /** Calls the handler for each of these events, until the returned function is called. */
  on<E extends keyof ConnectionEvents<Data>>(event: E, handler: (value: ConnectionEvents<Data>[E]) => void): () => void;
  /**
   * Resolves when the server has accepted the message. Without a connection, the message waits for one. Rejects with a `SendError`.
   */
  send(data: Outgoing<Data>, options?: SendOptions): Promise<void>;
  /** Connects again after `close()` or a close for good. */
  connect(): void;
  close(): void;
}

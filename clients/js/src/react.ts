// A React hook. Components on the same channel share one connection.

import { useCallback, useEffect, useRef, useState } from "react";

import {
  connect,
  SendError,
  type Connection,
  type ConnectOptions,
  type Credentials,
  type DataOf,
  type Message,
  type Outgoing,
  type SendOptions,
  type State,
  type User,
} from "./index.js";

export interface UseYamabikoOptions<Data> extends ConnectOptions {
  /** The application's token route, which gets the channel as the parameter `channel`, or a function. Default: `/websocket/token`. */
  token?: string | ((channel: string) => Promise<Response | Credentials | string> | Credentials | string);
  onMessage?: (message: Message<Data>) => void;
  /** Messages may be missing: load them from the application. */
  onGap?: () => void;
  /** How many messages `messages` holds. Default: 100. */
  keep?: number;
}

export interface UseYamabiko<Data> {
  /** The newest messages since the component was mounted. */
  messages: Message<Data>[];
  state: State;
  /** Who is on the channel, on kinds with presence. */
  users: User[];
  send: (data: Outgoing<Data>, options?: SendOptions) => Promise<void>;
}

interface Shared {
  connection: Connection<any>;
  components: number;
}

const NONE: never[] = [];
const shared = new Map<string, Shared>();

function acquire(channel: string, { token = "/websocket/token", ...options }: UseYamabikoOptions<any>): Shared {
  let entry = shared.get(channel);
  if (!entry) {
    const source =
      typeof token === "string"
        ? `${token}${token.includes("?") ? "&" : "?"}channel=${encodeURIComponent(channel)}`
        : () => token(channel);
    shared.set(channel, (entry = { connection: connect<any>(source, options), components: 0 }));
  }
  entry.components++;
  return entry;
}

function release(channel: string, entry: Shared): void {
  entry.components--;
  // A component that is mounted again at once, as in strict mode, keeps the connection.
  setTimeout(() => {
    if (entry.components || shared.get(channel) !== entry) return;
    shared.delete(channel);
    entry.connection.close();
  });
}

/** Joins the channel while the component is mounted. Without a channel, it waits for one. The options of the first component count. */
export function useYamabiko<K = Record<string, unknown>>(
  channel: string | null | undefined,
  options: UseYamabikoOptions<DataOf<K>> = {},
): UseYamabiko<DataOf<K>> {
  type Data = DataOf<K>;
  const [messages, setMessages] = useState<Message<Data>[]>(NONE);
  const [state, setState] = useState<State>("closed");
  const [users, setUsers] = useState<User[]>(NONE);
  const connection = useRef<Connection<Data> | undefined>(undefined);
  const latest = useRef(options);
  useEffect(() => {
    latest.current = options;
  });

  useEffect(() => {
    if (!channel) return undefined;
    const entry = acquire(channel, latest.current);
    const current: Connection<Data> = (connection.current = entry.connection);
    setState(current.state);
    setUsers(current.users());
    const off = [
      current.on("message", (message) => {
        const { keep = 100, onMessage } = latest.current;
        setMessages((shown) => [...shown, message].slice(-keep));
        onMessage?.(message);
      }),
      current.on("gap", () => latest.current.onGap?.()),
      current.on("state", (detail) => setState(detail.state)),
      current.on("users", setUsers),
    ];
    return () => {
      for (const end of off) end();
      connection.current = undefined;
      setMessages(NONE);
      setUsers(NONE);
      setState("closed");
      release(channel, entry);
    };
  }, [channel]);

  const send = useCallback(
    (data: Outgoing<Data>, options?: SendOptions) =>
      connection.current?.send(data, options) ??
      Promise.reject(new SendError("closed", "there is no connection", options?.ref ?? "", false)),
    [],
  );
  return { messages, state, users, send };
}

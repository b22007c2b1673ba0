// A React hook. Components on the same channel share one connection.

import { useCallback, useEffect, useRef, useState } from "react";

import type { Connection, DataOf, Message, State, User } from "./index.js";
import { acquire, sender, type Send, type UseYamabikoOptions } from "./shared.js";

export interface UseYamabiko<Data> {
  /** The newest messages since the component was mounted. */
  messages: Message<Data>[];
  state: State;
  /** Who is on the channel, on kinds with presence. */
  users: User[];
  send: Send<Data>;
}

const NONE: never[] = [];

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
    const [current, release] = acquire<Data>(channel, latest.current);
    connection.current = current;
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
      release();
    };
  }, [channel]);

  const send = useCallback(sender<Data>(() => connection.current), []);
  return { messages, state, users, send };
}

export type { UseYamabikoOptions };

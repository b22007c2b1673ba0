// A Vue composable. Components on the same channel share one connection.

import { onMounted, shallowReadonly, shallowRef, toValue, watch, type MaybeRefOrGetter, type ShallowRef } from "vue";

import type { Connection, DataOf, Message, State, User } from "./index.js";
import { acquire, sender, type Send, type UseYamabikoOptions } from "./shared.js";

export interface UseYamabiko<Data> {
  /** The newest messages since the component was mounted. */
  messages: Readonly<ShallowRef<Message<Data>[]>>;
  state: Readonly<ShallowRef<State>>;
  /** Who is on the channel, on kinds with presence. */
  users: Readonly<ShallowRef<User[]>>;
  send: Send<Data>;
}

/** Joins the channel while the component is mounted. Without a channel, it waits for one. The options of the first component count. */
export function useYamabiko<K = Record<string, unknown>>(
  channel: MaybeRefOrGetter<string | null | undefined>,
  options: UseYamabikoOptions<DataOf<K>> = {},
): UseYamabiko<DataOf<K>> {
  type Data = DataOf<K>;
  const messages = shallowRef<Message<Data>[]>([]);
  const state = shallowRef<State>("closed");
  const users = shallowRef<User[]>([]);
  let connection: Connection<Data> | undefined;

  function join(name: string): () => void {
    const [current, release] = acquire<Data>(name, options);
    connection = current;
    state.value = current.state;
    users.value = current.users();
    const off = [
      current.on("message", (message) => {
        messages.value = [...messages.value, message].slice(-(options.keep ?? 100));
        options.onMessage?.(message);
      }),
      current.on("gap", () => options.onGap?.()),
      current.on("state", (detail) => (state.value = detail.state)),
      current.on("users", (present) => (users.value = present)),
    ];
    return () => {
      for (const end of off) end();
      connection = undefined;
      messages.value = users.value = [];
      state.value = "closed";
      release();
    };
  }

  // Mounted: there are no connections while a page is rendered on the server. The watcher ends with the component.
  onMounted(() => watch(() => toValue(channel), (name, _, onCleanup) => void (name && onCleanup(join(name))), { immediate: true }));
  return { messages: shallowReadonly(messages), state: shallowReadonly(state), users: shallowReadonly(users), send: sender<Data>(() => connection) };
}

export type { UseYamabikoOptions };

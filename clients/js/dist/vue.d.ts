import { type MaybeRefOrGetter, type ShallowRef } from "vue";
import type { DataOf, Message, State, User } from "./index.js";
import { type Send, type UseYamabikoOptions } from "./shared.js";
export interface UseYamabiko<Data> {
    /** The newest messages since the component was mounted. */
    messages: Readonly<ShallowRef<Message<Data>[]>>;
    state: Readonly<ShallowRef<State>>;
    /** Who is on the channel, on kinds with presence. */
    users: Readonly<ShallowRef<User[]>>;
    send: Send<Data>;
}
/** Joins the channel while the component is mounted. Without a channel, it waits for one. The options of the first component count. */
export declare function useYamabiko<K = Record<string, unknown>>(channel: MaybeRefOrGetter<string | null | undefined>, options?: UseYamabikoOptions<DataOf<K>>): UseYamabiko<DataOf<K>>;
export type { UseYamabikoOptions };

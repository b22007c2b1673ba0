import type { DataOf, Message, State, User } from "./index.js";
import { type Send, type UseYamabikoOptions } from "./shared.js";
export interface UseYamabiko<Data> {
    /** The newest messages since the component was mounted. */
    messages: Message<Data>[];
    state: State;
    /** Who is on the channel, on kinds with presence. */
    users: User[];
    send: Send<Data>;
}
/** Joins the channel while the component is mounted. Without a channel, it waits for one. The options of the first component count. */
export declare function useYamabiko<K = Record<string, unknown>>(channel: string | null | undefined, options?: UseYamabikoOptions<DataOf<K>>): UseYamabiko<DataOf<K>>;
export type { UseYamabikoOptions };

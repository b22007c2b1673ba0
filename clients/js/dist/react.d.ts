import { type ConnectOptions, type Credentials, type DataOf, type Message, type Outgoing, type SendOptions, type State, type User } from "./index.js";
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
/** Joins the channel while the component is mounted. Without a channel, it waits for one. The options of the first component count. */
export declare function useYamabiko<K = Record<string, unknown>>(channel: string | null | undefined, options?: UseYamabikoOptions<DataOf<K>>): UseYamabiko<DataOf<K>>;

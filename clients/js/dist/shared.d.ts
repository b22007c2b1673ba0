import { type Connection, type ConnectOptions, type Credentials, type Message, type Outgoing, type SendOptions } from "./index.js";
export interface UseYamabikoOptions<Data> extends ConnectOptions {
    /** The application's token route, which gets the channel as the parameter `channel`, or a function. Default: `/websocket/token`. */
    token?: string | ((channel: string) => Promise<Response | Credentials | string> | Credentials | string);
    onMessage?: (message: Message<Data>) => void;
    /** Messages may be missing: load them from the application. */
    onGap?: () => void;
    /** How many messages `messages` holds. Default: 100. */
    keep?: number;
}
export type Send<Data> = (data: Outgoing<Data>, options?: SendOptions) => Promise<void>;
/** The connection of a channel, and what to call when the component does not need it any more. */
export declare function acquire<Data>(channel: string, { token, onMessage, onGap, keep, ...options }: UseYamabikoOptions<Data>): [connection: Connection<Data>, release: () => void];
/** Sends over the connection that there is when it is called. */
export declare function sender<Data>(connection: () => Connection<Data> | undefined): Send<Data>;

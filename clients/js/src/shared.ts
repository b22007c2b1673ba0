// What the hooks for React and Vue have in common: components on the same channel share one connection.

import {
  connect,
  SendError,
  type Connection,
  type ConnectOptions,
  type Credentials,
  type Message,
  type Outgoing,
  type SendOptions,
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

export type Send<Data> = (data: Outgoing<Data>, options?: SendOptions) => Promise<void>;

interface Shared {
  connection: Connection<any>;
  components: number;
}

const shared = new Map<string, Shared>();

function release(channel: string, entry: Shared): void {
  entry.components--;
  // A component that is mounted again at once, as in strict mode, keeps the connection.
  setTimeout(() => {
    if (entry.components || shared.get(channel) !== entry) return;
    shared.delete(channel);
    entry.connection.close();
  });
}

/** The connection of a channel, and what to call when the component does not need it any more. */
export function acquire<Data>(
  channel: string,
  { token = "/websocket/token", onMessage, onGap, keep, ...options }: UseYamabikoOptions<Data>,
): [connection: Connection<Data>, release: () => void] {
  const entry = shared.get(channel) ?? {
    connection: connect<any>(
      typeof token === "string"
        ? `${token}${token.includes("?") ? "&" : "?"}channel=${encodeURIComponent(channel)}`
        : () => token(channel),
      options,
    ),
    components: 0,
  };
  shared.set(channel, entry);
  entry.components++;
  return [entry.connection, () => release(channel, entry)];
}

/** Sends over the connection that there is when it is called. */
export function sender<Data>(connection: () => Connection<Data> | undefined): Send<Data> {
  return (data, options) =>
    connection()?.send(data, options) ??
    Promise.reject(new SendError("closed", "there is no connection", options?.ref ?? "", false));
}

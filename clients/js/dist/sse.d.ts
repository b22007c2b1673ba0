export interface FallbackOptions {
    /** The WebSocket class, where there is no global one. */
    WebSocket?: new (url: string) => WebSocket;
    /** Server-sent events are tried after this many WebSockets in a row that have brought nothing. Default: 2. */
    attempts?: number;
    /** WebSocket is tried again with the first connection after this time, in milliseconds. Default: ten minutes. */
    retry?: number;
}
/** A class for the option `WebSocket` of `connect`. Connections that share it share what they know of the network. */
export declare function withSse({ WebSocket: Socket, attempts, retry }?: FallbackOptions): new (url: string) => WebSocket;

import type { Connection, ConnectOptions, DataOf, TokenSource } from "./types.js";
/** Joins the channel of the token, and stays on it. */
export declare function connect<K = Record<string, unknown>>(source: TokenSource, options?: ConnectOptions): Connection<DataOf<K>>;

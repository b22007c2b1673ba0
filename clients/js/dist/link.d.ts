export type State = "connecting" | "open" | "waiting" | "closed";
/** What led to a state. */
export interface StateDetail {
    /** The close code of the last connection, or the HTTP status with which the application refused a token. */
    code?: number | undefined;
    reason?: string;
    /** What went wrong before there was a connection. */
    error?: unknown;
    /** In `waiting`: when the next attempt is due, as `Date.now()` counts. */
    until?: number;
}
export interface Protocol {
    /** The address of the next connection. An error with a `status` of 401 or 403 ends the attempts. */
    address(): string | Promise<string>;
    receive(text: string): void;
    /**
     * How many failures in a row a close code counts as at least: with 0, the client comes back at once, and later with each more. Negative: it
     * does not come back.
     */
    failures(code: number): number;
    /** Sends something that the server answers: `Link.check()` waits for it. */
    probe(): void;
    changed(state: State, detail: StateDetail): void;
}
export interface LinkOptions {
    /** The WebSocket class, where there is no global one. */
    WebSocket?: new (url: string) => WebSocket;
    /** Listens to events of the page, such as `online`, to come back sooner. Default: true. */
    lifecycle?: boolean;
}
export interface Link {
    readonly state: State;
    /** False: the connection is not open. */
    send(text: string): boolean;
    connect(): void;
    close(): void;
    /** The protocol has got its first answer: the connection counts as open. */
    ready(): void;
    /** Sends a probe, and reconnects unless the server sends something soon. */
    check(within?: number): void;
    /** Gives up this connection as if it had broken. */
    drop(code: number | undefined, reason: string, error?: unknown): void;
}
export declare function createLink(protocol: Protocol, options: LinkOptions): Link;

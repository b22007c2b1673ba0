import type { SendOptions } from "./types.js";
export type SendErrorCode = "invalid_json" | "invalid_message" | "not_allowed" | "refused" | "message_too_large" | "unavailable" | "internal" | "timeout" | "disconnected" | "closed";
export declare class SendError extends Error {
    name: string;
    /** The server's code, or `timeout`, `disconnected` or `closed` if there was no answer. */
    readonly code: SendErrorCode;
    /** Send again with this `ref`, and the message is delivered once, if its channel has a history. */
    readonly ref: string;
    /** There was no answer, and the message may have been delivered. */
    readonly uncertain: boolean;
    constructor(code: SendErrorCode, message: string, ref: string, uncertain: boolean);
}
export interface Answer {
    ok: boolean;
    ref?: string;
    error?: {
        code: SendErrorCode;
        message: string;
    };
}
export interface Outbox {
    send(data: unknown, options: SendOptions): Promise<void>;
    answer(answer: Answer): void;
    /** There is a new connection, to a channel with or without a history. */
    resume(hasHistory: boolean): void;
    close(reason: string): void;
}
/** `write` says whether there was a connection to write to. */
export declare function createOutbox(write: (text: string) => boolean): Outbox;

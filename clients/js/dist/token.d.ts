import type { Credentials, TokenSource } from "./types.js";
/** What a token says about its connection. Only the server verifies it. */
export interface Claims {
    id?: number | string;
    name?: string;
    channel?: string;
    exp?: number;
    iat?: number;
}
export declare class TokenError extends Error {
    name: string;
    /** The HTTP status with which the application answered. */
    readonly status: number | undefined;
    constructor(message: string, status?: number);
}
/** Asks the application. With `Accept`, Laravel answers 401 to a guest instead of redirecting to its login page. */
export declare function askForToken(source: TokenSource): Promise<Credentials>;
export declare function claimsOf(token: string): Claims;
/** How long to wait before asking for the next token: until a minute before this one expires, by the application's clock. */
export declare function renewalDelay({ exp, iat }: Claims): number | undefined;

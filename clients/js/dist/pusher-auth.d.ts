export interface Signature {
    auth: string;
    channel_data?: string;
    shared_secret?: string;
    user_data?: string;
}
type Done = (error: unknown, data: Signature | null) => void;
type Params = Record<string, string>;
export interface AuthRequest {
    endpoint?: string | undefined;
    headers?: Params;
    params?: Params;
    headersProvider?: () => Params;
    paramsProvider?: () => Params;
    customHandler?: (request: {
        socketId: string;
        channelName: string | undefined;
    }, done: Done) => void;
}
export interface AuthOptions {
    authEndpoint?: string;
    auth?: {
        headers?: Params;
        params?: Params;
    };
    authorizer?: (channel: any, options: object) => {
        authorize(socketId: string, done: Done): void;
    };
    channelAuthorization?: AuthRequest;
    userAuthentication?: AuthRequest;
}
/** What pusher-js tells of an error. */
export declare function described(error: unknown): object;
export declare const lacking: (key: string) => Error;
/** Asks for the signature of a channel, or of the user. */
export declare function askForSignature(options: AuthOptions, socketId: string, channel?: {
    name: string;
}): Promise<Signature>;
export {};

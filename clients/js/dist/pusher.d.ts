import { Dispatcher } from "./dispatcher.js";
import { type AuthOptions, type Signature } from "./pusher-auth.js";
import { Channel, type Nacl } from "./pusher-channels.js";
export interface PusherOptions extends AuthOptions {
    /** Default: the host of the page. */
    wsHost?: string;
    wsPort?: number | string;
    wssPort?: number | string;
    wsPath?: string;
    forceTLS?: boolean;
    /** After so many milliseconds of silence, the connection is checked. Default: what the server says. */
    activityTimeout?: number;
    /** How long to wait for the answer to a check. */
    pongTimeout?: number;
    /** tweetnacl, for encrypted channels. */
    nacl?: Nacl;
    WebSocket?: new (url: string) => WebSocket;
    /** Other options of pusher-js and Echo have no effect. */
    [option: string]: unknown;
}
interface User {
    signin_requested: boolean;
    user_data: {
        id: string;
        [key: string]: unknown;
    } | null;
    signinDonePromise?: Promise<void>;
    readonly watchlist: Dispatcher;
    /** Events for the user. */
    channel?: Channel | undefined;
}
/** The events of all channels, as a dispatcher. */
export declare class Pusher extends Dispatcher {
    readonly connection: Dispatcher & {
        state: string;
        socket_id?: string;
    };
    readonly channels: {
        channels: Record<string, Channel>;
    };
    readonly user: Dispatcher & User;
    readonly config: PusherOptions;
    readonly key: string;
    /** The positions of the channels. */
    readonly session: import("./positions.js").Positions;
    private readonly _link;
    private _signatures;
    private _connections;
    private _idle;
    private _activityTimeout;
    private _lostAt;
    private _lastError;
    private _signedIn?;
    constructor(key: string, options?: PusherOptions);
    connect(): void;
    disconnect(): void;
    subscribe(name: string): Channel;
    unsubscribe(name: string): void;
    channel(name: string): Channel | undefined;
    allChannels(): Channel[];
    /** The next subscription to the channel starts after this position. */
    startFrom(channel: string, position: string): void;
    signin(): void;
    /** False: there is no connection. */
    send_event(event: string, data: unknown, channel?: string): boolean;
    /**
     * The signature of a channel, or of the user. It is used again while the `socket_id` is the same, once on each connection: a second
     * request is for another one, such as the new key of an encrypted channel.
     */
    sign(channel?: Channel): Promise<Signature>;
    /** Whether the channel is still wanted, on the same connection. */
    connectionGuard(channel: Channel): () => boolean;
    /** A channel of the page, or the one of the user. */
    private _channel;
    private _create;
    private _address;
    private _enter;
    private _changed;
    private _fail;
    private _receive;
    /** A signature that was refused when it was used again is replaced. */
    private _signAgain;
    private _awaitActivity;
    private _signin;
    private _onSignedIn;
}
export default Pusher;

import { Dispatcher } from "./dispatcher.js";
import type { PusherFrame } from "./positions.js";
import { type Signature } from "./pusher-auth.js";
import type { Pusher } from "./pusher.js";
export declare const isEncrypted: (name: string) => boolean;
export declare class Channel extends Dispatcher {
    readonly name: string;
    readonly pusher: Pusher;
    subscribed: boolean;
    subscriptionPending: boolean;
    subscriptionCount: number | null;
    constructor(name: string, pusher: Pusher);
    /** Sends a client event. */
    trigger(event: string, data: unknown): boolean;
    subscribe(): Promise<void>;
    unsubscribe(): void;
    /** The connection has gone. */
    disconnect(): void;
    /** What a subscription is signed with. */
    protected sign(): Promise<Signature>;
    handle({ event, data, user_id }: PusherFrame): void;
    /** Follows an internal event. What it returns, the page gets as the data of the event. */
    protected follow(event: string, data: any): unknown;
}
export declare class PrivateChannel extends Channel {
    protected sign(): Promise<Signature>;
}
export interface Member {
    id: any;
    info: any;
}
export declare class Members {
    members: Record<string, any>;
    count: number;
    myID: any;
    me: Member | null;
    get(id: any): Member | null;
    each(callback: (member: Member | null) => void): void;
}
export declare class PresenceChannel extends PrivateChannel {
    members: Members;
    protected sign(): Promise<Signature>;
    disconnect(): void;
    protected follow(event: string, data: any): unknown;
}
/** The parts of tweetnacl that encrypted channels need. */
export interface Nacl {
    secretbox: {
        open(box: Uint8Array, nonce: Uint8Array, key: Uint8Array): Uint8Array | null;
    };
}
export declare class EncryptedChannel extends PrivateChannel {
    private _key;
    protected sign(): Promise<Signature>;
    handle(frame: PusherFrame): Promise<void>;
}

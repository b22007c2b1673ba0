/** A position of a channel, from a frame or from the HTTP API. */
export type Position = string;
export interface Recovering {
    /** The next subscription to the channel starts after this position. */
    startFrom(channel: string, position: Position): void;
}
/** A Pusher class whose instances get every message of channels with a history exactly once. */
export default function recovery<P extends new (...options: any[]) => any>(Pusher: P, positions?: Record<string, Position>): (new (...options: ConstructorParameters<P>) => InstanceType<P> & Recovering) & P;

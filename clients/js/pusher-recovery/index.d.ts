import type Pusher from "pusher-js";

/** A position of a channel, from a frame or from the HTTP API. */
export type Position = string;

export interface Recovering {
  /** The next subscription to the channel starts after this position. */
  startFrom(channel: string, position: Position): void;
}

/** A Pusher class whose instances get every message of channels with a history exactly once. */
export default function recovery<P extends typeof Pusher>(
  Pusher: P,
  positions?: Record<string, Position>,
): P & (new (...options: ConstructorParameters<P>) => InstanceType<P> & Recovering);

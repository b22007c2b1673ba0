declare namespace recovery {
  /** A position of a channel, from a frame or from the HTTP API. */
  type Position = string;

  interface Recovering {
    /** The next subscription to the channel starts after this position. */
    startFrom(channel: string, position: Position): void;
  }
}

/** A Pusher class whose instances get every message of channels with a history exactly once. */
declare function recovery<P extends new (...options: any[]) => any>(
  Pusher: P,
  positions?: Record<string, recovery.Position>,
): (new (...options: ConstructorParameters<P>) => InstanceType<P> & recovery.Recovering) & P;

export = recovery;

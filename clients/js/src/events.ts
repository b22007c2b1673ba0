export type Handler<T> = (value: T) => void;

/** Handlers by the name of their event. */
export interface Emitter<Events> {
  on<E extends keyof Events>(event: E, handler: Handler<Events[E]>): () => void;
  emit<E extends keyof Events>(event: E, value: Events[E]): void;
}

export function createEmitter<Events>(): Emitter<Events> {
  const handlers = new Map<keyof Events, Set<Handler<never>>>();
  return {
    on(event, handler) {
      // Each call is its own registration, even with the same function.
      const own = (value: never) => handler(value);
      const known = handlers.get(event) ?? new Set();
      handlers.set(event, known.add(own));
      return () => known.delete(own);
    },
    emit(event, value) {
      for (const handler of [...(handlers.get(event) ?? [])]) guarded(() => handler(value as never));
    },
  };
}

/** An error in a handler is the page's: it is reported like any uncaught error, and changes nothing here. */
export function guarded(call: () => void): void {
  try {
    call();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

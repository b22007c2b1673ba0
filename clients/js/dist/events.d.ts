export type Handler<T> = (value: T) => void;
/** Handlers by the name of their event. */
export interface Emitter<Events> {
    on<E extends keyof Events>(event: E, handler: Handler<Events[E]>): () => void;
    emit<E extends keyof Events>(event: E, value: Events[E]): void;
}
export declare function createEmitter<Events>(): Emitter<Events>;
/** An error in a handler is the page's: it is reported like any uncaught error, and changes nothing here. */
export declare function guarded(call: () => void): void;

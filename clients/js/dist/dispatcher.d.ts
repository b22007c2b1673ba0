export type Callback = (...values: any[]) => void;
/** Bindings by name, as pusher-js has them. */
export declare class Dispatcher {
    private _bindings;
    bind(event: string | undefined, callback: Callback, context?: unknown): this;
    bind_global(callback: Callback): this;
    /** Without arguments: everything but the global ones. */
    unbind(event?: string | null, callback?: Callback | null, context?: unknown): this;
    unbind_global(callback?: Callback): this;
    unbind_all(): this;
    emit(event: string, data?: unknown, metadata?: unknown): this;
    private _remove;
}

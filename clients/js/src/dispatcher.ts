import { guarded } from "./events.js";

export type Callback = (...values: any[]) => void;

/** Without an event: for every event. */
type Binding = [event: string | undefined, callback: Callback, context: unknown];

/** Bindings by name, as pusher-js has them. */
export class Dispatcher {
  private _bindings: Binding[] = [];

  bind(event: string | undefined, callback: Callback, context?: unknown): this {
    this._bindings.push([event, callback, context]);
    return this;
  }

  bind_global(callback: Callback): this {
    return this.bind(undefined, callback);
  }

  /** Without arguments: everything but the global ones. */
  unbind(event?: string | null, callback?: Callback | null, context?: unknown): this {
    return this._remove(
      ([bound, ownCallback, ownContext]) =>
        bound !== undefined &&
        (!event || bound === event) &&
        (!callback || ownCallback === callback) &&
        (!context || ownContext === context),
    );
  }

  unbind_global(callback?: Callback): this {
    return this._remove(([bound, ownCallback]) => bound === undefined && (!callback || ownCallback === callback));
  }

  unbind_all(): this {
    return this._remove(() => true);
  }

  emit(event: string, data?: unknown, metadata?: unknown): this {
    for (const [bound, callback, context] of [...this._bindings]) {
      if (bound === undefined) guarded(() => callback(event, data));
      else if (bound === event) guarded(() => callback.call(context, data, metadata));
    }
    return this;
  }

  private _remove(matches: (binding: Binding) => boolean): this {
    this._bindings = this._bindings.filter((binding) => !matches(binding));
    return this;
  }
}

// A connector for Laravel Echo, which takes the class as its `broadcaster`.

import Echo from "laravel-echo";

import { Pusher, type PusherOptions } from "./pusher.js";

interface EchoConnector {
  options: PusherOptions & { key: string; client?: Pusher };
  pusher: Pusher;
}

/** Echo's own connector for pusher-js, with its channels. Echo does not export it. */
const PusherConnector = /* @__PURE__ */ (() =>
  new Echo({ broadcaster: "pusher", key: "", client: {}, withoutInterceptors: true }).connector.constructor)() as new (
  options: object,
) => EchoConnector;

/** `new Echo({ broadcaster: YamabikoConnector, key, wsHost, … })`, with the options of the broadcaster `reverb`. */
export class YamabikoConnector extends PusherConnector {
  connect(): void {
    this.pusher = this.options.client ?? new Pusher(this.options.key, this.options);
  }
}

export default YamabikoConnector;
export { Pusher, type PusherOptions };

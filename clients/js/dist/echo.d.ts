import { Pusher, type PusherOptions } from "./pusher.js";
interface EchoConnector {
    options: PusherOptions & {
        key: string;
        client?: Pusher;
    };
    pusher: Pusher;
}
/** Echo's own connector for pusher-js, with its channels. Echo does not export it. */
declare const PusherConnector: new (options: object) => EchoConnector;
/** `new Echo({ broadcaster: YamabikoConnector, key, wsHost, … })`, with the options of the broadcaster `reverb`. */
export declare class YamabikoConnector extends PusherConnector {
    connect(): void;
}
export default YamabikoConnector;
export { Pusher, type PusherOptions };

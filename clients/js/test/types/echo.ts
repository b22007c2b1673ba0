// Compiled, not run: Echo takes the connector.

import { expectTypeOf } from "expect-type";
import Echo from "laravel-echo";
import PusherJs from "pusher-js";

import YamabikoConnector, { Pusher } from "@yamabiko/client/echo";
import recovery from "@yamabiko/client/pusher-recovery";

const options = { key: "key", wsHost: "ws.example.com", wsPort: 443, forceTLS: true };
const echo = new Echo({ broadcaster: YamabikoConnector, ...options });
echo.private("orders.7").listen("OrderShipped", (event: { id: number }) => expectTypeOf(event.id).toBeNumber());
expectTypeOf(echo.socketId()).toEqualTypeOf<string | undefined>();

// Or as the class that Echo takes for pusher-js: then its channels have types.
const typed = new Echo({ broadcaster: "reverb", Pusher: Pusher as never, ...options });
typed.join("room.1").here((users: unknown[]) => expectTypeOf(users).toBeArray());
typed.connector.pusher.connection.bind("state_change", () => {});

const Recovering = recovery(PusherJs.default, { news: "9f3c20-1" });
expectTypeOf(new Recovering("key", { cluster: "" }).startFrom).parameters.toEqualTypeOf<[string, string]>();

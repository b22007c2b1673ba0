// Compiled, not run: what the types promise to an application.

import { expectTypeOf } from "expect-type";

import { connect, SendError, type Connection, type Message, type SendErrorCode, type State, type User } from "@yamabiko/client";
import { withSse } from "@yamabiko/client/sse";

declare module "@yamabiko/client" {
  interface Kinds {
    alert: { level: number };
  }
}

const chat = connect<"chat">("/websocket/token");
expectTypeOf(chat).toEqualTypeOf<Connection<{ message: string; name?: string }>>();
expectTypeOf(chat.state).toEqualTypeOf<State>();
expectTypeOf(chat.user).toEqualTypeOf<User | undefined>();
expectTypeOf(chat.users()).toEqualTypeOf<User[]>();
chat.on("message", (message) => {
  expectTypeOf(message).toEqualTypeOf<Message<{ message: string; name?: string }>>();
  expectTypeOf(message.sender.id).toEqualTypeOf<number | string>();
});
chat.on("recovered", (count) => expectTypeOf(count).toBeNumber());
chat.on("join", (user) => expectTypeOf(user).toEqualTypeOf<User>());
chat.on("state", ({ state, until }) => expectTypeOf({ state, until }).toEqualTypeOf<{ state: State; until: number | undefined }>());
expectTypeOf(chat.on("gap", () => {})).toEqualTypeOf<() => void>();
expectTypeOf(chat.send({ message: "Hello", target_user_id: 7 }, { ref: "r1", timeout: 1_000 })).resolves.toBeVoid();
// @ts-expect-error: `message` is missing
void chat.send({ name: "Aoi" });
// @ts-expect-error: no such event
chat.on("mesage", () => {});

// A kind of the application's own, a type of its own, and anything.
connect<"alert">(async () => "a.b.c").on("message", ({ data }) => expectTypeOf(data.level).toBeNumber());
void connect<{ n: number }>(() => ({ url: "wss://ws.example.com/ws", token: "a.b.c" }), { since: "" }).send({ n: 1 });
connect(() => fetch("/websocket/token")).on("message", ({ data }) => expectTypeOf(data).toEqualTypeOf<Record<string, unknown>>());

const error: unknown = undefined;
if (error instanceof SendError) {
  expectTypeOf(error.code).toEqualTypeOf<SendErrorCode>();
  expectTypeOf(error.uncertain).toBeBoolean();
}

// The class that falls back to server-sent events.
void connect("/websocket/token", { WebSocket: withSse() });
void connect("/websocket/token", { WebSocket: withSse({ WebSocket, attempts: 1, retry: 60_000 }) });

// The snippet of docs/javascript.md, compiled.

import { connect } from "@yamabiko/client";

declare module "@yamabiko/client" {
  interface Kinds {
    notice: { title: string; body?: string };
  }
}

connect<"chat">("/websocket/token").on("message", ({ data }) => console.info(data.message));
connect<"notice">("/websocket/token?channel=notice:").on("message", ({ data }) => console.info(data.title));
connect<{ level: number }>("/websocket/token?channel=water:1").on("message", ({ data }) => console.info(data.level));

// npm install @yamabiko/client

import { connect } from "@yamabiko/client";

// The token route answers with {url, token}. It is asked for each connection, because tokens expire.
const chat = connect("/websocket/token");

chat.on("message", ({ data, sender }) => {
  document.body.append(`${sender.name}: ${data.message}`, document.createElement("br"));
});
// Messages may be missing, for example on a channel without a history: load them from the application.
chat.on("gap", () => console.warn("messages may be missing"));
chat.on("state", ({ state, code, reason }) => console.info(state, code ?? "", reason ?? ""));

// Waits for the connection, and resolves when the server has accepted the message.
await chat.send({ name: "Aoi", message: "Hello, mountains" });

// A text frame goes to all on the same path: the least that a broadcast server on `ws` can be.
import { WebSocketServer } from "ws";

const rooms = new Map();
const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(process.argv[2]),
  perMessageDeflate: false,
});

server.on("connection", (socket, request) => {
  const room = rooms.get(request.url) ?? rooms.set(request.url, new Set()).get(request.url);
  room.add(socket);
  socket.on("message", (message) => {
    for (const other of room) other.send(message, { binary: false });
  });
  socket.on("error", () => {});
  socket.on("close", () => room.delete(socket));
});

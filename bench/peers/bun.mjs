// A text frame goes to all on the same path, over Bun's own topics.
Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
  fetch(request, server) {
    const room = new URL(request.url).pathname;
    if (server.upgrade(request, { data: { room } })) return undefined;
    return new Response("only WebSocket", { status: 426 });
  },
  websocket: {
    perMessageDeflate: false,
    backpressureLimit: 1024 * 1024,
    open(socket) {
      socket.subscribe(socket.data.room);
    },
    message(socket, message) {
      // `publish` leaves the sender out, who gets it like all others.
      socket.publish(socket.data.room, message);
      socket.send(message);
    },
  },
});

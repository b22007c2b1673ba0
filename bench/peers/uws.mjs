// A text frame goes to all on the same path, over uWebSockets' own topics.
import uWS from "uwebsockets";

const app = uWS.App();
app.ws("/*", {
  compression: uWS.DISABLED,
  maxBackpressure: 1024 * 1024,
  upgrade(response, request, context) {
    response.upgrade(
      { room: request.getUrl() },
      request.getHeader("sec-websocket-key"),
      request.getHeader("sec-websocket-protocol"),
      request.getHeader("sec-websocket-extensions"),
      context,
    );
  },
  open(socket) {
    socket.subscribe(socket.getUserData().room);
  },
  message(socket, message) {
    // The app's publish includes the sender.
    app.publish(socket.getUserData().room, message, false);
  },
});
app.listen("127.0.0.1", Number(process.argv[2]), (listening) => {
  if (!listening) process.exit(1);
});

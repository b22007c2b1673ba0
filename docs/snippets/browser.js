// Joins a channel, and comes back by itself. `ask` returns {url, token} from your own application:
// a token runs out, so each new connection asks for a new one.
function yamabiko(ask, { onMessage, onSended = () => {}, onState = () => {} }) {
  const FOR_GOOD = [1000, 1002, 1003, 1007, 1009, 4403]; // coming back would end the same way
  const STEADY = 10_000; // a full server opens and closes at once: only what lasts starts the waits over
  let socket, timer, failures = 0, left = false;

  async function open() {
    onState("connecting");
    try {
      const { url, token } = await ask();
      if (left) return;
      socket = new WebSocket(`${url}?token=${encodeURIComponent(token)}`);
    } catch {
      return left || again();
    }
    let opened = Infinity;
    socket.onopen = () => { opened = Date.now(); onState("open"); };
    socket.onmessage = ({ data }) => {
      const frame = JSON.parse(data);
      if (frame.type === "message") onMessage(frame.data, frame.sender);
      if (frame.type === "sended") onSended(frame.ok, frame.error);
    };
    socket.onclose = ({ code, reason }) => {
      if (left) return;
      if (Date.now() - opened > STEADY) failures = 0;
      if (FOR_GOOD.includes(code)) onState("closed", code, reason);
      else again(code, reason);
    };
  }

  // Twice as long after each failure, at most 30 s, and never all browsers at the same moment.
  function again(code, reason) {
    const wait = Math.min(30_000, 500 * 2 ** failures++) * (0.5 + Math.random() / 2);
    onState("waiting", code, reason);
    timer = setTimeout(open, wait);
  }

  open();
  return {
    send(data) {
      if (socket?.readyState !== WebSocket.OPEN) return false;
      socket.send(JSON.stringify({ data }));
      return true;
    },
    leave() {
      left = true;
      clearTimeout(timer);
      socket?.close(1000);
      onState("closed", 1000, "");
    },
  };
}

const chat = yamabiko(() => fetch("/websocket/token").then((answer) => answer.json()), {
  onMessage(data, sender) {
    document.body.append(`${sender.name}: ${data.message}`, document.createElement("br"));
  },
  onState(state) {
    if (state === "open") chat.send({ name: "Aoi", message: "Hello, mountains" });
  },
});

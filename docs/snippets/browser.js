// Joins a channel and reconnects when the connection is lost. `ask` fetches {url, token} from the application's token
// route. It is called for every connection, because tokens expire. On a channel with a history, what was missed is
// delivered first; where that cannot be proven to be all, `onGap` is called: load the messages from the application.
function yamabiko(ask, { onMessage, onGap = () => {}, onSended = () => {}, onState = () => {}, onError = console.error }) {
  const FOR_GOOD = [1000, 1002, 1003, 1007, 1009, 4403]; // reconnecting cannot help
  const SIGNED_OUT = [401, 403]; // the application refuses a token: asking again cannot help
  const STEADY = 10_000; // a full server opens and closes at once, so only a connection that lasts resets the back-off
  let socket, timer, failures = 0, left = false, since = ""; // the id of the last message

  async function open() {
    onState("connecting");
    let status;
    try {
      const answer = await ask();
      if (!answer.ok) {
        status = answer.status;
        throw new Error(`no token: the application answered ${status}`);
      }
      const { url, token } = await answer.json();
      if (!url || !token) throw new Error("no token: the application's answer must have `url` and `token`");
      if (left) return;
      socket = new WebSocket(`${url}?token=${encodeURIComponent(token)}&since=${since}`);
    } catch (error) {
      if (left) return;
      onError(error);
      if (SIGNED_OUT.includes(status)) onState("closed", status, error.message);
      else again(status, error.message);
      return;
    }
    let opened = Infinity;
    socket.onopen = () => { opened = Date.now(); onState("open"); };
    socket.onmessage = ({ data }) => {
      const frame = JSON.parse(data);
      if (frame.type === "message") onMessage(frame.data, frame.sender);
      if (frame.type === "sended") onSended(frame.ok, frame.error);
      if (frame.type === "gap" && since) onGap();
      since = frame.id ?? since;
    };
    // 1006 without `open`: run `yamabiko listen --url URL --token TOKEN` to see why, and see docs/troubleshooting.md.
    socket.onclose = ({ code, reason }) => {
      if (left) return;
      if (Date.now() - opened > STEADY) failures = 0;
      if (FOR_GOOD.includes(code)) onState("closed", code, reason);
      else again(code, reason);
    };
  }

  // Exponential back-off up to 30 s, with jitter so that pages do not all reconnect at once.
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

// With `Accept`, Laravel answers 401 to a guest instead of redirecting to its login page.
const ask = () => fetch("/websocket/token", { headers: { Accept: "application/json" } });
const chat = yamabiko(ask, {
  onMessage(data, sender) {
    document.body.append(`${sender.name}: ${data.message}`, document.createElement("br"));
  },
  onState(state) {
    if (state === "open") chat.send({ name: "Aoi", message: "Hello, mountains" });
  },
});

// Pages with pusher-js for a test in another language: orders are lines of JSON on standard input, what the pages go through is
// told in lines of JSON on standard output, as [page, what, ...].

import { createHmac } from "node:crypto";
import { createInterface } from "node:readline";

import Pusher from "pusher-js";

const pages = new Map();

function tell(page, ...what) {
  process.stdout.write(`${JSON.stringify([page, ...what])}\n`);
}

/** What the application's /broadcasting/auth answers. */
function authorize({ key, secret, user }, socketId, channel) {
  const member = channel.startsWith("presence-") ? JSON.stringify({ user_id: user }) : undefined;
  const signed = [socketId, channel, member].filter((part) => part !== undefined).join(":");
  const auth = `${key}:${createHmac("sha256", secret).update(signed).digest("hex")}`;
  return member === undefined ? { auth } : { auth, channel_data: member };
}

async function open(order) {
  const { page, port, key, token, plugin, channels } = order;
  const Client = plugin ? (await import("../../clients/js/dist/pusher-recovery.js")).default(Pusher) : Pusher;
  const pusher = new Client(token ? `${key}~${token}` : key, {
    cluster: "mt1",
    wsHost: "127.0.0.1",
    wsPort: port,
    forceTLS: false,
    enabledTransports: ["ws"],
    activityTimeout: 2500,
    pongTimeout: 1500,
    channelAuthorization: {
      customHandler: ({ socketId, channelName }, done) => {
        tell(page, "authorized", channelName);
        done(null, authorize(order, socketId, channelName));
      },
    },
  });
  let connected = false;
  pusher.connection.bind("state_change", ({ current }) => {
    if (current === "connected") {
      connected = true;
      tell(page, "connected", pusher.connection.socket_id);
    } else if (connected) {
      connected = false;
      tell(page, "disconnected", current);
    }
  });
  pusher.connection.bind("error", (error) => tell(page, "error", error?.data ?? error?.error?.data ?? String(error?.type)));
  for (const name of channels) {
    const channel = pusher.subscribe(name);
    channel.bind_global((event, data) => {
      switch (event) {
        case "pusher:subscription_succeeded":
          return tell(page, "subscribed", name);
        case "pusher:subscription_error":
          return tell(page, "refused", name, data);
        case "pusher:member_removed":
          return tell(page, "removed", name, data.id);
        case "yamabiko:gap":
          return tell(page, "gap", name);
        case "yamabiko:recovered":
          return tell(page, "recovered", name, data?.count ?? 0);
        case "E":
          return tell(page, "message", name, data.id, pusher.session?.last[name]);
        default:
          if (!["pusher:member_added", "pusher:subscription_count"].includes(event)) tell(page, "unexpected", name, event, data);
      }
    });
  }
  pages.set(page, pusher);
}

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  if (order.close === undefined) await open(order);
  else pages.get(order.close)?.disconnect();
}
process.exit(0);

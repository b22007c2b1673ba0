// npm install laravel-echo pusher-js

import Echo from "laravel-echo";
import Pusher from "pusher-js";

window.Pusher = Pusher;
window.Echo = new Echo({
  broadcaster: "pusher", // "reverb" is the same but for its name
  key: import.meta.env.VITE_PUSHER_APP_KEY,
  cluster: "mt1", // pusher-js wants one, and wsHost replaces it
  wsHost: import.meta.env.VITE_PUSHER_HOST,
  wsPort: import.meta.env.VITE_PUSHER_PORT ?? 80,
  wssPort: import.meta.env.VITE_PUSHER_PORT ?? 443,
  forceTLS: (import.meta.env.VITE_PUSHER_SCHEME ?? "https") === "https",
  enabledTransports: ["ws", "wss"], // without it pusher-js goes on to SockJS when a connection fails
});

window.Echo.channel("news").listen(".posted", (event) => console.log(event.title));

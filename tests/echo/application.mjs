// What a Laravel application does for Echo: it authorises channels, signs users in, and broadcasts.

import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";

const { resolve } = createRequire(import.meta.url);

/** The users that may connect, by bearer token. Ids are integers, as Laravel's are. */
export const USERS = {
  aoi: { id: 7, name: "Aoi" },
  haru: { id: 12, name: "Haru" },
  sora: { id: 23, name: "Sora" },
};

const FILES = {
  "/": ["text/html", new URL("page.html", import.meta.url)],
  "/pusher.js": ["text/javascript", resolve("pusher-js/dist/web/pusher.min.js")],
  "/pusher-recovery.js": ["text/javascript", new URL("../../clients/js/dist/umd/pusher-recovery.js", import.meta.url)],
  "/echo.js": ["text/javascript", resolve("laravel-echo/iife")],
};

export class Application {
  /** The requests of webhooks, as [headers, body]. */
  hooks = [];
  /** How many signatures pages have asked for. */
  signatures = 0;

  /** `node` is the one whose HTTP API it calls. */
  static async start(node) {
    const application = new Application();
    application.node = node;
    application.server = createServer((request, answer) => {
      application.#serve(request, answer).catch((error) => answer.writeHead(500).end(String(error)));
    }).listen(0, "127.0.0.1");
    await once(application.server, "listening");
    application.url = `http://127.0.0.1:${application.server.address().port}`;
    return application;
  }

  stop() {
    this.server.close();
    this.server.closeAllConnections();
  }

  /** What /broadcasting/auth answers, or nothing. */
  async authorize(user, socket, channel) {
    return mayJoin(user, channel) && this.node.sdk().authorizeChannel(socket, channel, member(user, channel));
  }

  async #serve(request, answer) {
    const { method, headers } = request;
    const { pathname } = new URL(request.url, this.url);
    let body = "";
    for await (const text of request.setEncoding("utf8")) body += text;
    const json = (value, status = 200) => {
      answer.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(value));
    };
    if (method === "GET" && FILES[pathname]) {
      const [type, file] = FILES[pathname];
      return answer.writeHead(200, { "Content-Type": type }).end(await readFile(file));
    }
    if (pathname === "/webhook") {
      this.hooks.push([headers, body]);
      return answer.end();
    }
    const user = USERS[headers.authorization?.replace("Bearer ", "")];
    if (!user) return json({ message: "Unauthenticated." }, 401);
    const form = Object.fromEntries(new URLSearchParams(body));
    const sdk = this.node.sdk();
    if (pathname.startsWith("/broadcasting/")) this.signatures++;
    switch (pathname) {
      case "/broadcasting/auth": {
        const permit = await this.authorize(user, form.socket_id, form.channel_name);
        return permit ? json(permit) : json({ message: "This action is unauthorized." }, 403);
      }
      case "/broadcasting/user-auth": {
        const watchlist = Object.values(USERS).map(({ id }) => String(id)).filter((id) => id !== String(user.id));
        const data = { id: String(user.id), user_info: { name: user.name }, watchlist };
        return json(sdk.authenticateUser(form.socket_id, data));
      }
      case "/messages": {
        // broadcast(new ChatMessageSent(…))->toOthers()
        const { room, message } = JSON.parse(body);
        const data = { message, user };
        await sdk.trigger(`private-Chat.${room}`, "App\\Events\\ChatMessageSent", data, { socket_id: headers["x-socket-id"] });
        return json(data);
      }
      default:
        return json({ message: "Not found." }, 404);
    }
  }
}

/** The rules of routes/channels.php. */
function mayJoin(user, channel) {
  const own = channel.match(/^private-TestChannel\.(.+)$/);
  return !own || own[1] === String(user.id);
}

function member(user, channel) {
  return channel.startsWith("presence-") ? { user_id: user.id, user_info: user } : undefined;
}

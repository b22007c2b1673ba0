// Laravel Echo and pusher-js, as a browser has them, with their events in inboxes.

import LaravelEcho from "laravel-echo";
import Pusher from "pusher-js";
import nacl from "tweetnacl";

/** With ECHO_CONNECTOR, pages use the connector of clients/js in place of pusher-js, and the copy of Echo that it extends. */
const CLIENT = new URL("../../clients/js/", import.meta.url);
const connector = process.env.ECHO_CONNECTOR && (await import(new URL("dist/echo.js", CLIENT)));
const Echo = connector ? (await import(new URL("node_modules/laravel-echo/dist/echo.js", CLIENT))).default : LaravelEcho;

// Longer than anything takes on a busy machine: only a failure pays it.
const PATIENCE_MS = 30_000;

/** What has come, in order, to be waited for. */
export class Inbox {
  /** Everything that was taken. */
  taken = [];
  #items = [];
  #wake = () => {};
  put = (item) => {
    this.#items.push(item);
    this.#wake();
  };

  /** Everything that has come and was not taken. */
  get waiting() {
    return [...this.#items];
  }

  /** Takes the next one. */
  async next(what = "something", patience = PATIENCE_MS) {
    const until = Date.now() + patience;
    while (this.#items.length === 0) {
      const left = until - Date.now();
      if (left <= 0) throw new Error(`was due: ${what}`);
      await new Promise((wake) => {
        const timer = setTimeout(wake, left);
        this.#wake = () => clearTimeout(timer) ?? wake();
      });
    }
    const item = this.#items.shift();
    this.taken.push(item);
    return item;
  }

  /** Takes until one passes. */
  async until(passes, what, patience) {
    for (;;) {
      const item = await this.next(what, patience);
      if (passes(item)) return item;
    }
  }
}

/** Repeats what nodes come to agree on within a moment, until it does not throw. */
export async function eventually(check) {
  const until = Date.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > until) throw error;
      await new Promise((wake) => setTimeout(wake, 50));
    }
  }
}

const open = new Set();

/** A tab of a user: an Echo that is connected to a node. `user` is a token of the application's. */
export async function tab(node, application, user, options = {}) {
  const echo = dial(node, application, user, options);
  await connected(echo);
  return echo;
}

/** The same, without waiting until it is connected. */
export function dial(node, application, user, options = {}) {
  const echo = new Echo({
    broadcaster: "pusher",
    Pusher,
    nacl,
    key: "echo-key",
    cluster: "mt1",
    wsHost: "127.0.0.1",
    wsPort: node.port,
    forceTLS: false,
    enabledTransports: ["ws"],
    authEndpoint: `${application.url}/broadcasting/auth`,
    userAuthentication: { endpoint: `${application.url}/broadcasting/user-auth`, headers: {} },
    // Echo writes into its own default headers: without these, all tabs would have the last one's token.
    auth: { headers: {} },
    bearerToken: user,
    ...options,
    ...(connector && !options.Pusher && { broadcaster: connector.default }),
  });
  echo.pusher = echo.connector.pusher;
  echo.errors = new Inbox();
  echo.pusher.connection.bind("error", (event) => echo.errors.put(event?.data ?? event?.error?.data ?? event));
  open.add(echo);
  return echo;
}

export async function connected(echo) {
  const { connection } = echo.pusher;
  if (connection.state === "connected") return;
  await new Promise((done, fail) => {
    const timer = setTimeout(() => fail(new Error(`not connected, but ${connection.state}`)), PATIENCE_MS);
    connection.bind("connected", function here() {
      clearTimeout(timer);
      connection.unbind("connected", here);
      done();
    });
  });
}

/** Waits until a channel of Echo's is subscribed; rejects with the error of `pusher:subscription_error`. */
export function subscribed(channel) {
  return new Promise((done, fail) => {
    const timer = setTimeout(() => fail(new Error(`not subscribed: ${channel.name}`)), PATIENCE_MS);
    const end = (act) => (value) => clearTimeout(timer) ?? act(value);
    channel.subscribed(end(done));
    channel.error(end(fail));
  });
}

/** Subscribes, and gives the inbox of one event. */
export async function listening(channel, event) {
  const inbox = new Inbox();
  channel.listen(event, inbox.put);
  await subscribed(channel);
  return inbox;
}

/** A presence channel with what happens on it: `here`, `joining` and `leaving` are inboxes of names. */
export async function present(echo, name) {
  const channel = echo.join(name);
  const inboxes = { here: new Inbox(), joining: new Inbox(), leaving: new Inbox() };
  channel
    .here((members) => inboxes.here.put(members.map(({ name }) => name).sort()))
    .joining(({ name }) => inboxes.joining.put(name))
    .leaving(({ name }) => inboxes.leaving.put(name));
  await subscribed(channel);
  return { channel, ...inboxes };
}

/** Closes every tab that is open. */
export function closeAll() {
  for (const echo of open) echo.disconnect();
  open.clear();
}

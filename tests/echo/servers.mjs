// The real binary and a real Redis.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";

import Pusher from "pusher";

import { ownPort } from "../ports.mjs";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const BINARY = process.env.YAMABIKO_BIN ?? resolve(ROOT, process.env.CARGO_TARGET_DIR ?? "target", "debug/yamabiko");
const START_MS = 30_000;
const CALL_MS = 30_000;

export const APP = { appId: "1001", key: "echo-key", secret: "echo-secret-of-the-tests" };
/** What Laravel calls a new application's Redis prefix. */
export const PREFIX = "laravel_database_";
const MASTER_KEY = Buffer.alloc(32, "山彦").toString("base64");

/** The same tests run on each: `a` and `b` are two nodes, or one and the same. What is about another client in the pages needs one. */
export const SETUPS = [
  ["in memory, one node", oneNode],
  ["on Redis, two nodes", twoNodes],
].slice(0, process.env.ECHO_CONNECTOR ? 1 : 2);

export async function oneNode(environment) {
  const node = await Node.start(environment);
  return { a: node, b: node, stop: () => node.stop() };
}

export async function twoNodes(environment) {
  const redis = await Redis.start();
  const nodes = await Promise.all([1, 2].map(() => Node.start({
    YAMABIKO__REDIS__URL: redis.url,
    YAMABIKO__REDIS__PREFIX: PREFIX,
    ...environment,
  })));
  const [a, b] = nodes;
  return {
    redis,
    a,
    b,
    async stop() {
      await Promise.all(nodes.map((node) => node.stop()));
      await redis.stop();
    },
  };
}

class Process {
  #process;
  #log = "";

  /** Runs until `answers`. Fails with what it wrote when it does not come up. */
  async run(command, args, env, answers) {
    this.#process = spawn(command, args, { env, stdio: ["ignore", "pipe", "pipe"] });
    const failed = new Promise((_, fail) => this.#process.once("error", fail));
    failed.catch(() => {});
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream.on("data", (text) => { this.#log += text; });
    }
    const until = Date.now() + START_MS;
    while (!(await answers())) {
      if (this.#process.exitCode !== null || Date.now() > until) {
        this.#process.kill("SIGKILL");
        throw new Error(`${command} did not start:\n${this.#log}`);
      }
      await Promise.race([failed, new Promise((wake) => setTimeout(wake, 50))]);
    }
  }

  get log() {
    return this.#log;
  }

  /** Ends it with `signal` and waits until it has gone. */
  async stop(signal = "SIGTERM") {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const gone = once(this.#process, "exit");
    this.#process.kill(signal);
    await gone;
  }
}

export class Redis extends Process {
  static async start() {
    const redis = new Redis();
    redis.port = await ownPort();
    await redis.start();
    return redis;
  }

  get url() {
    return `redis://127.0.0.1:${this.port}`;
  }

  async start() {
    const args = ["--port", String(this.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    await this.run("redis-server", args, process.env, () => this.#answers());
  }

  #answers() {
    return new Promise((done) => {
      const socket = connect(this.port, "127.0.0.1", () => socket.write("PING\r\n"));
      socket.on("data", (text) => done(text.toString().startsWith("+PONG")) ?? socket.destroy());
      socket.on("error", () => done(false));
    });
  }
}

export class Node extends Process {
  static async start(environment = {}) {
    const node = new Node();
    node.port = await ownPort();
    node.admin = await ownPort();
    node.environment = environment;
    await node.start();
    return node;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Starts it, as an application's `.env` describes it, on the same ports as before. */
  async start() {
    const env = {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      APP_WS_JWT_SECRET: "a secret of 32 bytes for the tests",
      PUSHER_APP_ID: APP.appId,
      PUSHER_APP_KEY: APP.key,
      PUSHER_APP_SECRET: APP.secret,
      YAMABIKO__SERVER__HOST: "127.0.0.1",
      YAMABIKO__SERVER__PORT: String(this.port),
      YAMABIKO__SERVER__SHUTDOWN_GRACE: "1s",
      YAMABIKO__ADMIN__LISTEN: `127.0.0.1:${this.admin}`,
      YAMABIKO__PUSHER__CLIENT_EVENTS: "true",
      ...this.environment,
    };
    const ready = () => fetch(`http://127.0.0.1:${this.admin}/readyz`).then((answer) => answer.ok, () => false);
    await this.run(BINARY, ["serve"], env, ready);
  }

  /** The application's side: Pusher's own SDK, speaking to this node. */
  sdk(changes = {}) {
    return new Pusher({
      ...APP,
      host: "127.0.0.1",
      port: String(this.port),
      useTLS: false,
      timeout: CALL_MS,
      encryptionMasterKeyBase64: MASTER_KEY,
      ...changes,
    });
  }

  /** What the SDK's `get` finds, as JSON. */
  async get(path, params) {
    return (await this.sdk().get({ path, params })).json();
  }
}

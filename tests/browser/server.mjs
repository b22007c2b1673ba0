// The real binary.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { ownPort } from "../ports.mjs";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const BINARY = process.env.YAMABIKO_BIN ?? resolve(ROOT, process.env.CARGO_TARGET_DIR ?? "target", "debug/yamabiko");
const START_MS = 30_000;

export class Server {
  #process;
  #log = "";

  /** `yamabiko dev` on ports of its own. Fails with its log when it does not come up. */
  static async start() {
    const server = new Server();
    server.port = await ownPort();
    server.admin = await ownPort();
    await server.start();
    return server;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Starts it on the same ports as before. */
  async start() {
    const environment = {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      YAMABIKO__SERVER__HOST: "127.0.0.1",
      YAMABIKO__SERVER__PORT: String(this.port),
      YAMABIKO__SERVER__SHUTDOWN_GRACE: "1s",
      YAMABIKO__ADMIN__LISTEN: `127.0.0.1:${this.admin}`,
    };
    this.#process = spawn(BINARY, ["dev"], { env: environment, stdio: ["ignore", "pipe", "pipe"] });
    const failed = new Promise((_, fail) => this.#process.once("error", fail));
    failed.catch(() => {});
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream.on("data", (text) => { this.#log += text; });
    }
    const until = Date.now() + START_MS;
    while (!(await this.#answers())) {
      if (this.#process.exitCode !== null || Date.now() > until) {
        this.kill();
        throw new Error(`yamabiko did not start:\n${this.#log}`);
      }
      await Promise.race([failed, new Promise((wake) => setTimeout(wake, 50))]);
    }
  }

  /** Ends it with `signal` and waits until it has gone. */
  async stop(signal = "SIGTERM") {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const gone = once(this.#process, "exit");
    this.#process.kill(signal);
    await gone;
  }

  kill() {
    this.#process.kill("SIGKILL");
  }

  /** POSTs to one of the console's endpoints. */
  async post(path, body) {
    const answer = await fetch(`${this.url}/console/${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }

  async #answers() {
    return fetch(`${this.url}/console`).then((answer) => answer.ok, () => false);
  }
}

// Two nodes on a Redis, as they run in production: the real binary with a file of settings.

import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { ownPort } from "../ports.mjs";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const BINARY = process.env.YAMABIKO_BIN ?? resolve(ROOT, process.env.CARGO_TARGET_DIR ?? "target", "debug/yamabiko");
const START_MS = 30_000;
const SECRET = "a secret of 32 bytes for the tests";

export class Cluster {
  #processes = [];
  #folder;

  /** Starts `count` nodes with these settings, in TOML. They have `url` and `admin`, where they listen. */
  static async start(count, settings) {
    const cluster = new Cluster();
    try {
      await cluster.#start(count, settings);
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  async #start(count, settings) {
    this.#folder = await mkdtemp(join(tmpdir(), "yamabiko-"));
    const redis = await ownPort();
    this.redis = await this.#run("redis-server", ["--port", String(redis), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"], {}, () => answers(redis));
    const file = join(this.#folder, "yamabiko.toml");
    await writeFile(file, settings);
    this.nodes = await Promise.all(Array.from({ length: count }, async () => {
      const [port, admin] = [await ownPort(), await ownPort()];
      const environment = {
        HOME: process.env.HOME,
        YAMABIKO__AUTH__SECRET: SECRET,
        YAMABIKO__REDIS__URL: `redis://127.0.0.1:${redis}`,
        YAMABIKO__SERVER__HOST: "127.0.0.1",
        YAMABIKO__SERVER__PORT: String(port),
        YAMABIKO__SERVER__SHUTDOWN_GRACE: "1s",
        YAMABIKO__ADMIN__LISTEN: `127.0.0.1:${admin}`,
      };
      const node = { url: `http://127.0.0.1:${port}`, admin: `http://127.0.0.1:${admin}` };
      const ready = () => fetch(`${node.admin}/readyz`).then((answer) => answer.ok, () => false);
      node.process = await this.#run(BINARY, ["serve", "--config", file], environment, ready);
      return node;
    }));
  }

  async #run(command, args, environment, isReady) {
    const child = spawn(command, args, { env: { PATH: process.env.PATH, ...environment }, stdio: ["ignore", "pipe", "pipe"] });
    this.#processes.unshift(child);
    let log = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => { log = (log + text).slice(-20_000); });
    const failed = new Promise((_, fail) => child.once("error", fail));
    failed.catch(() => {});
    const until = Date.now() + START_MS;
    while (!(await isReady())) {
      if (child.exitCode !== null || Date.now() > until) throw new Error(`${command} did not start:\n${log}`);
      await Promise.race([failed, new Promise((wake) => setTimeout(wake, 50))]);
    }
    return child;
  }

  async stop() {
    // The nodes first.
    for (const child of this.#processes) {
      if (child.exitCode === null && child.signalCode === null) {
        const gone = once(child, "exit");
        child.kill("SIGTERM");
        await gone;
      }
    }
    if (this.#folder) await rm(this.#folder, { recursive: true });
  }
}

/** A token of native channels. */
export function token(claims) {
  const now = Math.floor(Date.now() / 1000);
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ iat: now, exp: now + 3600, ...claims })}`;
  return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
}

function answers(port) {
  return new Promise((done) => {
    const socket = connect(port, "127.0.0.1", () => socket.write("PING\r\n"));
    socket.on("data", (text) => done(text.toString().startsWith("+PONG")) ?? socket.destroy());
    socket.on("error", () => done(false));
  });
}

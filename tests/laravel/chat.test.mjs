// The pages of examples/laravel-chat in Chromium: Debian's parts of Laravel, the package yamabiko/laravel, a Redis, and the real
// server as `php artisan yamabiko:start` starts it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdir, readFile, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { launch, open } from "../browser/chromium.mjs";
import { Redis } from "../echo/servers.mjs";
import { ownPort } from "../ports.mjs";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const EXAMPLE = resolve(ROOT, "examples/laravel-chat");
const BINARY = process.env.YAMABIKO_BIN ?? resolve(ROOT, process.env.CARGO_TARGET_DIR ?? "target", "debug/yamabiko");
const ECHO = createRequire(new URL("../echo/package.json", import.meta.url));

let redis, server, application, browser, url, environment;

class Process {
  output = "";

  constructor(args, env) {
    this.process = spawn("php", args, { cwd: EXAMPLE, env, stdio: ["ignore", "pipe", "pipe"] });
    this.ended = once(this.process, "exit");
    for (const stream of [this.process.stdout, this.process.stderr]) stream.on("data", (text) => { this.output += text; });
  }

  /** What `find` finds in the output. */
  async says(find) {
    for (let found; ; await new Promise((wake) => setTimeout(wake, 20))) {
      if ((found = find(this.output))) return found;
      assert.equal(this.process.exitCode, null, this.output);
    }
  }

  async stop() {
    this.process.kill("SIGTERM");
    return (await this.ended)[0];
  }
}

before(async () => {
  const build = resolve(EXAMPLE, "public/build");
  await rm(resolve(EXAMPLE, "storage"), { recursive: true, force: true });
  await mkdir(build, { recursive: true });
  await copyFile(resolve(ROOT, "clients/js/dist/index.js"), resolve(build, "yamabiko.js"));
  await copyFile(ECHO.resolve("pusher-js/dist/web/pusher.min.js"), resolve(build, "pusher.js"));
  await copyFile(ECHO.resolve("laravel-echo/iife"), resolve(build, "echo.js"));

  redis = await Redis.start();
  const port = await ownPort();
  url = `http://127.0.0.1:${port}`;
  environment = {
    PATH: process.env.PATH,
    HOME: process.env.HOME,
    APP_NAME: "Laravel",
    BROADCAST_CONNECTION: "yamabiko",
    REDIS_HOST: "127.0.0.1",
    REDIS_PORT: String(redis.port),
    APP_WS_JWT_SECRET: "a secret of 32 bytes for the tests",
    PUSHER_APP_ID: "laravel-chat",
    PUSHER_APP_KEY: "laravel-chat-key",
    PUSHER_APP_SECRET: "echo-secret-of-the-tests",
    YAMABIKO_BINARY: BINARY,
    YAMABIKO_CONFIG: "yamabiko.toml",
    YAMABIKO__EVENTS__SECRET: "the secret of events in these tests",
    YAMABIKO__SERVER__HOST: "127.0.0.1",
    YAMABIKO__ADMIN__LISTEN: "127.0.0.1:0",
    YAMABIKO__LOG__FORMAT: "json",
    // The application of the test has a port of its own, and is slower than the second that a gate has by default.
    YAMABIKO__CHANNELS__CHAT__GATE: `{ url = "${url}/yamabiko/gate", timeout = "30s" }`,
    YAMABIKO__WEBHOOKS: `[{ url = "${url}/yamabiko/webhook", kinds = ["chat"], events = ["message"] }]`,
  };
  server = new Process(["artisan", "yamabiko:start", "--port=0"], environment);
  const line = await server.says((output) => output.split("\n").find((line) => line.includes('"listening"')));
  const socket = JSON.parse(line).address.split(":").at(-1);
  application = new Process(["-d", "opcache.enable_cli=1", "-S", `127.0.0.1:${port}`, "-t", "public", "public/index.php"], {
    ...environment,
    APP_WS_URL: `ws://127.0.0.1:${socket}/ws`,
    PUSHER_HOST: "127.0.0.1",
    PUSHER_PORT: socket,
  });
  await application.says((output) => output.includes("started"));
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await application?.stop();
  await server?.stop();
  await redis?.stop();
  await rm(resolve(EXAMPLE, "storage"), { recursive: true, force: true });
});

/** A browser in which this user has logged in, on a page. */
async function visit(user, path) {
  const page = await open(browser);
  page.setDefaultTimeout(120_000); // PHP answers one request at a time
  if (path === "/chat") {
    await page.goto(url);
    await page.getByRole("link", { name: user, exact: false }).click();
  } else {
    await page.context().addCookies([{ name: "user", value: user, url }]);
    await page.goto(url + path);
  }
  await page.waitForURL(url + path);
  return page;
}

const connected = (page) => page.waitForFunction(() => document.getElementById("state")?.textContent === "open");

async function say(page, text) {
  await page.locator("#text").fill(text);
  await page.getByRole("button", { name: /^(Send|Tweet)$/ }).click();
}

const shows = (page, list, expected) => page.waitForFunction(
  ([list, expected]) => [...document.querySelectorAll(`#${list} li`)].map((item) => item.textContent).join("\n") === expected,
  [list, expected.join("\n")],
);

const here = (page, names) => page.waitForFunction((names) => document.getElementById("users")?.textContent === names, names);

async function close(...pages) {
  assert.deepEqual(pages.flatMap((page) => page.faults), [], application.output);
  for (const page of pages) await page.context().close();
}

test("the chat: everyone, one user, Laravel, the gate, who is there, and what Laravel has stored", async () => {
  const [aoi, haru, sora] = await Promise.all([visit("aoi", "/chat"), visit("haru", "/chat"), visit("sora", "/chat")]);
  await Promise.all([aoi, haru, sora].map(connected));
  for (const page of [aoi, haru, sora]) await here(page, "Aoi, Haru, Sora");
  await say(aoi, "hello");
  await shows(haru, "messages", ["Aoi: hello"]);
  await shows(sora, "messages", ["Aoi: hello"]);
  await haru.getByLabel("To").selectOption("Aoi");
  await say(haru, "for Aoi, darn");
  await shows(aoi, "messages", ["Aoi: hello", "Haru: for Aoi, ****"]);
  await say(aoi, "see http://example.com");
  await aoi.getByText("Links are not allowed here, Aoi.").waitFor();
  await aoi.locator("#text").fill("from the application");
  await aoi.getByRole("button", { name: "Send as Laravel" }).click();
  // What was for Aoi alone, or was refused, would have come before.
  await shows(sora, "messages", ["Aoi: hello", "System: from the application"]);
  await shows(aoi, "messages", ["Aoi: hello", "Haru: for Aoi, ****", "System: from the application"]);

  await sora.context().close();
  for (const page of [aoi, haru]) await here(page, "Aoi, Haru");
  // The webhook has stored what pages have said.
  for (;;) {
    const page = await visit("sora", "/chat");
    const stored = await page.locator("#messages li").allTextContents();
    await page.context().close();
    if (stored.length === 2) {
      assert.deepEqual(stored, ["Aoi: hello", "Haru: for Aoi, ****"]);
      break;
    }
  }
  // The client of docs/laravel.md, as it is.
  const docs = await readFile(resolve(ROOT, "docs/laravel.md"), "utf8");
  const client = docs.split("## Tokens")[1].match(/```js\n([^]*?)```/)[1];
  await haru.addScriptTag({ type: "module", content: client.replace("@yamabiko/client", "/build/yamabiko.js") });
  await aoi.getByText("Haru: Hello").waitFor();
  await close(aoi, haru);
});

test("tweets come from their user, through Laravel", async () => {
  const [aoi, haru] = await Promise.all([visit("aoi", "/tweets"), visit("haru", "/tweets")]);
  await Promise.all([aoi, haru].map(connected));
  await say(aoi, "やまびこ");
  await shows(haru, "tweets", ["Aoi: やまびこ"]);
  await shows(aoi, "tweets", ["Aoi: やまびこ"]);
  await close(aoi, haru);
});

test("a job tells its progress to the user who has started it", async () => {
  const [aoi, haru] = await Promise.all([visit("aoi", "/progress"), visit("haru", "/progress")]);
  await Promise.all([aoi, haru].map(connected));
  await aoi.getByRole("button", { name: "Start the job" }).click();
  await aoi.getByText("20 of 20").waitFor();
  assert.equal(await aoi.locator("#title").textContent(), "Sample job");
  assert.equal(await aoi.locator("#bar").evaluate((bar) => bar.position), 1);
  assert.equal(await haru.locator("#detail").textContent(), "");
  const token = await haru.evaluate(() => fetch("/websocket/token?channel=progress:1").then((answer) => answer.status));
  assert.equal(token, 403);
  assert.match(haru.faults.pop(), /403/);
  await close(aoi, haru);
});

test("Echo: members, broadcasts to others and whispers, through Redis", async () => {
  const [aoi, haru] = await Promise.all([visit("aoi", "/rooms/1"), visit("haru", "/rooms/1")]);
  for (const page of [aoi, haru]) await here(page, "Aoi, Haru");
  await haru.locator("#text").pressSequentially("hi");
  await aoi.getByText("Haru is typing").waitFor();
  await say(haru, "hello");
  await shows(aoi, "messages", ["Haru: hello"]);
  await say(aoi, "hi Haru");
  await shows(haru, "messages", ["Haru: hello", "Aoi: hi Haru"]);
  await shows(aoi, "messages", ["Haru: hello", "Aoi: hi Haru"]);
  await close(haru);
  await here(aoi, "Aoi");
  await close(aoi);
});

test("the chat of yamabiko:install lets two browsers talk, without a login and without npm", async () => {
  const [one, two] = await Promise.all([open(browser), open(browser)]);
  for (const page of [one, two]) {
    page.setDefaultTimeout(120_000);
    await page.goto(`${url}/yamabiko`);
    await connected(page);
  }
  await say(one, "over the mountains");
  for (const page of [one, two]) await page.getByText(/^Guest \d{4}: over the mountains$/).waitFor();
  await one.reload();
  await connected(one);
  await say(two, "and back");
  await one.getByText(/^Guest \d{4}: and back$/).waitFor();
  await close(one, two);
});

test("artisan checks the connection, and the server ends with its command", async () => {
  const health = new Process(["artisan", "yamabiko:health"], environment);
  assert.equal((await health.ended)[0], 0, health.output);
  assert.equal(await server.stop(), 0);
});

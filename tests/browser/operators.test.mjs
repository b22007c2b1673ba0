// The operators' page, as a person uses it: two real nodes on a real Redis, the real browser.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { after, afterEach, before, test } from "node:test";

import { launch, open } from "./chromium.mjs";
import { Cluster, token } from "./cluster.mjs";

const KEYS = { ops: "operators-key-of-the-tests-32-bytes", reader: "read-only-key-of-the-tests-32-bytes" };
const settings = (application) => `
[[api.keys]]
name = "ops"
secret = "${KEYS.ops}"
scopes = ["*"]

[[api.keys]]
name = "reader"
secret = "${KEYS.reader}"
scopes = ["read"]

[[apps]]
id = "shop"
key = "shop-key"
secret = "app-secret-of-the-tests"

[channels.chat]
fields = ["message", "name"]
presence = true
history = { messages = 10, age = "10m" }

[channels.broken]
gate = { url = "http://127.0.0.1:${application}/gate" }

[events]
secret = "secret-of-events-of-the-tests-32-bytes"

[[webhooks]]
url = "http://127.0.0.1:${application}/webhook"
kinds = ["broken"]
events = ["connected"]
`;

/** An application that fails until it is told not to. */
const application = createServer((request, response) => { response.writeHead(application.status).end(); });
application.status = 500;

let cluster, browser, page;
/** A page with the connections of users. */
let clients;

before(async () => {
  await new Promise((listening) => { application.listen(0, "127.0.0.1", listening); });
  [cluster, browser] = await Promise.all([Cluster.start(2, settings(application.address().port)), launch()]);
  clients = await open(browser);
  await clients.goto(cluster.nodes[0].url);
  await clients.evaluate(() => { globalThis.sockets = {}; });
});
after(async () => {
  await browser?.close();
  await cluster?.stop();
  application.close();
});
afterEach(async () => {
  // What the browser itself says about a request that the test meant to fail.
  const faults = page?.faults.filter((fault) => !/the server responded with a status of 401/.test(fault)) ?? [];
  await page?.context().close();
  page = undefined;
  assert.deepEqual(faults, []);
});

/** Connects a user to a node, and waits until the connection is open. */
async function connect(id, name, channel, node) {
  const url = `${cluster.nodes[node].url.replace("http", "ws")}/ws?token=${token({ id, name, channel })}`;
  await clients.evaluate(([id, url]) => new Promise((done) => {
    const socket = new WebSocket(url);
    globalThis.sockets[id] = socket;
    socket.closed = new Promise((closed) => { socket.onclose = ({ code }) => closed(code); });
    socket.onopen = done;
  }), [id, url]);
}

const say = (id, message) => clients.evaluate(([id, message]) => globalThis.sockets[id].send(JSON.stringify({ data: { message } })), [id, message]);
const closed = (id) => clients.evaluate((id) => globalThis.sockets[id].closed, id);

/** Opens the page, and signs in by hand. */
async function signIn(key, options) {
  page = await open(browser, options);
  await page.goto(`${cluster.nodes[0].admin}/operators`);
  await page.locator("#key").fill(key);
  await page.locator("#key").press("Enter");
  await page.locator("#nav").waitFor();
}

/** Runs in the page: `holdRequests` waits for the answers that are due and keeps further requests back until `releaseRequests`. */
function holdable() {
  const { fetch } = globalThis;
  const { json } = Response.prototype;
  let due = 0;
  let held, release;
  globalThis.fetch = async (url, options) => {
    await held;
    // The live tail has no end.
    if (new URL(url).pathname.endsWith("/tail")) return fetch(url, options);
    due += 1;
    return fetch(url, options).catch((error) => {
      due -= 1;
      throw error;
    });
  };
  Response.prototype.json = function () {
    return json.call(this).finally(() => { due -= 1; });
  };
  globalThis.holdRequests = async () => {
    held = new Promise((done) => { release = done; });
    while (due) await new Promise((next) => { setTimeout(next, 10); });
  };
  globalThis.releaseRequests = () => release();
}

/** Opens a view, and waits until the one of before is gone. */
async function view(hash) {
  await page.evaluate((hash) => new Promise((shown) => {
    if (location.hash === hash) return shown();
    addEventListener("hashchange", () => shown(), { once: true });
    location.hash = hash;
  }), hash);
}

async function noSidewaysScroll(where) {
  const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(content <= window, `${where}: ${content} px of content in a window of ${window}`);
}

test("the user who floods a channel is found and disconnected", async () => {
  await Promise.all([connect(7, "Aoi", "chat:lobby", 1), connect(8, "Ren", "chat:lobby", 0), connect(9, "Sora", "chat:lobby", 1)]);
  await clients.evaluate(() => {
    const flood = setInterval(() => {
      if (globalThis.sockets[7].readyState !== WebSocket.OPEN) return clearInterval(flood);
      globalThis.sockets[7].send('{"data":{"message":"buy now"}}');
    }, 25);
  });

  page = await open(browser);
  await page.goto(cluster.nodes[0].admin);
  await page.getByLabel("Key").fill("a-key-that-nobody-has");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("No key of this server has this secret.").waitFor();
  await page.getByLabel("Key").fill(KEYS.ops);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("All is well").waitFor();
  // Both nodes, and the one who sends the most.
  await page.waitForFunction(() => document.querySelectorAll("#nodes + div .state.good").length === 2);
  const senders = page.getByRole("region", { name: "Busiest senders" });
  await senders.getByRole("link", { name: "7", exact: true }).click();
  await page.getByRole("heading", { name: "7", exact: true }).waitFor();
  await page.getByRole("link", { name: "chat:lobby" }).waitFor();
  await page.getByRole("button", { name: "Disconnect the user" }).click();
  const question = page.getByRole("dialog", { name: "Close all connections of user 7?" });
  await question.getByRole("button", { name: "Cancel" }).click();
  await question.waitFor({ state: "detached" });
  await page.getByRole("button", { name: "Disconnect the user" }).click();
  await question.getByRole("button", { name: "Disconnect the user" }).click();
  assert.equal(await closed(7), 4403);
  await page.getByText("The user has no connection.").waitFor();
  await page.getByText("The connections are being closed.").waitFor();

  // The channel has its members, its connections and what it remembers.
  await view("#/channels/chat%3Alobby");
  const members = page.getByRole("region", { name: "Members" });
  await members.getByText("Sora").waitFor();
  await page.waitForFunction(() => [...document.querySelectorAll("#of-members + div a")].map((link) => link.textContent).join() === "8,9");
  await page.getByRole("region", { name: "History" }).getByText("buy now").first().waitFor();
  await page.waitForFunction(() => document.querySelectorAll("#of-subscribers + div tbody tr").length === 2);
  // The key is not in the address, and only in the memory of the tab.
  assert.ok(!(await page.evaluate(() => location.href + JSON.stringify(localStorage))).includes(KEYS.ops));
});

test("the overview tells that the application fails", async () => {
  await signIn(KEYS.reader);
  await page.getByText("All is well").waitFor();
  await page.waitForFunction(() => document.querySelector(".chart .line"));
  await connect(10, "Mio", "broken:1", 1);
  await page.getByText(/^Webhook requests that failed in the last minute: [1-9]/).waitFor();
  await say(10, "nobody decides");
  await page.getByText("Messages about which the application did not decide in the last minute: 1.").waitFor();
  application.status = 200;
});

test("the live tail shows what the filter asks for, of all nodes", async () => {
  await signIn(KEYS.ops);
  await view("#/tail?channel=chat:lobby&user=8");
  await page.getByText("Nodes followed (2)").waitFor();
  await say(9, "somebody else");
  await say(8, "a <b>needle</b>");
  await page.locator(".tail").getByText("a <b>needle</b>").waitFor();
  await connect(8, "Ren", "chat:lobby", 1);
  const connected = page.locator(".tail .connected").filter({ hasText: "chat:lobby" });
  await connected.first().waitFor();
  const words = (await page.locator(".tail li").allTextContents()).join("\n");
  assert.ok(!words.includes("somebody else"), words);
  // Fewer types, chosen with the keyboard.
  await page.getByRole("checkbox", { name: "published", exact: true }).focus();
  await page.keyboard.press("Space");
  await page.waitForFunction(() => location.hash.includes("types=") && !location.hash.includes("published"));
  await page.getByText("Nodes followed (2)").waitFor();
  await say(8, "not shown");
  await clients.evaluate(() => globalThis.sockets[8].close(1000));
  await page.locator(".tail .disconnected").getByText("client_closed (1000)").waitFor();
  assert.equal(await page.locator(".tail .published").count(), 0);
});

test("a message is published, and the log level changed on all nodes", async () => {
  await signIn(KEYS.ops);
  await view("#/publish?channel=chat:lobby");
  await page.getByLabel("Data").fill('{ "message": "from the page", "other": 1 }');
  await page.locator("main").getByRole("button", { name: "Publish" }).click();
  await page.getByText("Published without the keys that the channel's kind does not deliver: other.").waitFor();
  await page.getByRole("link", { name: "Show the channel" }).click();
  await page.getByText("from the page").waitFor();
  await view("#/logs");
  await page.getByRole("combobox", { name: /^Level/ }).fill("warn");
  await page.getByRole("button", { name: "Change the level" }).click();
  await page.waitForFunction(() => document.querySelectorAll("#levels + div tbody tr").length === 2);
  await page.getByText("The log level has changed on all nodes.").waitFor();
  assert.deepEqual(await page.locator("#levels + div tbody b").allTextContents(), ["warn", "warn"]);
  await page.getByRole("button", { name: "As in the settings" }).click();
  await page.waitForFunction(() => document.querySelectorAll("#levels + div tbody b")[1]?.textContent === "info");
});

test("a read-only key has no button that changes anything", async () => {
  await signIn(KEYS.reader);
  await page.getByText("read-only").waitFor();
  for (const [hash, shown] of [
    ["#/", "Busiest senders"],
    ["#/users/9", "chat:lobby"],
    ["#/channels/chat%3Alobby", "Sora"],
    ["#/logs", "as in the settings"],
  ]) {
    await view(hash);
    await page.locator("main").getByText(shown).first().waitFor();
    assert.equal(await page.locator("main button:not(.quiet)").count(), 0, hash);
    assert.equal(await page.getByRole("link", { name: "Publish" }).count(), 0, hash);
  }
  await view("#/publish");
  await page.getByText("The key lacks the scope “publish”").waitFor();
  // It sees that there is a message, but not what is in it.
  await view("#/tail");
  await page.getByText("Nodes followed (2)").waitFor();
  await say(9, "a secret");
  await page.locator(".tail .published").first().waitFor();
  assert.ok(!(await page.locator(".tail").textContent()).includes("a secret"));
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.locator("#key").waitFor();
  await page.reload();
  await page.locator("#key").waitFor();
});

test("the page can be used with the keyboard alone", async () => {
  await signIn(KEYS.ops);
  await page.getByText("All is well").waitFor();
  const focused = () => page.evaluate(() => document.activeElement.textContent.trim());
  const tabTo = async (words) => {
    for (let presses = 0; presses < 60; presses++) {
      await page.keyboard.press("Tab");
      if ((await focused()) === words) return;
    }
    assert.fail(`Tab does not reach ${words}`);
  };
  await page.evaluate(() => document.activeElement.blur());
  await tabTo("Users");
  await page.keyboard.press("Enter");
  // The view that is opened has the focus.
  await page.waitForFunction(() => document.activeElement.tagName === "H1" && document.activeElement.textContent === "Users");
  await page.getByRole("link", { name: "9", exact: true }).waitFor();
  await tabTo("9");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Disconnect the user" }).waitFor();
  await tabTo("Disconnect the user");
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor();
  assert.equal(await focused(), "Cancel");
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  assert.equal(await focused(), "Disconnect the user");
  await page.reload();
  await page.getByRole("button", { name: "Disconnect the user" }).waitFor();
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Skip to the content");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
});

test("every view passes axe in both themes and languages, and fits a phone", async () => {
  const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  const check = async (where) => {
    // Figures that come while axe looks would replace elements before it has judged them.
    await page.evaluate(() => globalThis.holdRequests());
    await noSidewaysScroll(where);
    const { violations } = await page.evaluate(() => globalThis.axe.run({ resultTypes: ["violations"], preload: false }));
    await page.evaluate(() => globalThis.releaseRequests());
    const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, any }) => `${html} ${any[0]?.message ?? ""}`).join("\n  ")}`);
    assert.deepEqual(found, [], where);
  };
  for (const [options, overview] of [
    [{ colorScheme: "light", locale: "en-US" }, "Busiest senders"],
    [{ colorScheme: "dark", locale: "ja-JP", viewport: { width: 390, height: 844 } }, "送信の多いユーザー"],
  ]) {
    const where = `${options.colorScheme}, ${options.locale}`;
    page = await open(browser, { reducedMotion: "reduce", ...options });
    await page.addInitScript(holdable);
    await page.goto(`${cluster.nodes[0].admin}/operators`);
    await page.locator("#key").waitFor();
    await page.evaluate(axe);
    await check(`${where}, sign in`);
    await page.locator("#key").fill(KEYS.ops);
    await page.locator("#key").press("Enter");
    await page.getByRole("heading", { name: overview }).waitFor();
    await page.waitForFunction(() => document.querySelector(".chart .line"));
    await check(`${where}, overview`);
    for (const [hash, shown] of [
      ["#/channels", "tbody a"],
      ["#/channels/chat%3Alobby", ".stored li"],
      ["#/connections", "tbody a"],
      ["#/users", "tbody a"],
      ["#/users/9", "tbody a"],
      ["#/publish", "textarea"],
      ["#/logs", "tbody tr"],
      ["#/tail", ".tail"],
    ]) {
      await view(hash);
      await page.locator(`main ${shown}`).first().waitFor({ state: "attached" });
      if (hash === "#/tail") {
        await page.locator("main .count").getByText("(2)").or(page.locator("main .count").getByText("（2）")).waitFor();
        await say(9, "for axe");
        await page.locator(".tail .published").first().waitFor();
      }
      await check(`${where}, ${hash}`);
    }
    await view("#/users/9");
    await page.locator("main .danger").first().click();
    await page.getByRole("dialog").waitFor();
    await check(`${where}, question`);
    assert.deepEqual(page.faults.filter((fault) => !/status of 401/.test(fault)), []);
    await page.context().close();
  }
  page = undefined;
});

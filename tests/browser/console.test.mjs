// The console, as a person uses it: the real server, the real browser.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import { drawn, launch, open } from "./chromium.mjs";
import { Server } from "./server.mjs";

let server, browser, page;

before(async () => {
  server = await Server.start();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const user = (name) => page.locator(`.user[data-user="${name}"]`);
const messages = (name) => user(name).locator(".messages li");
const words = (name) => user(name).locator(".messages p").allTextContents();

async function connected(count) {
  await page.waitForFunction((count) => document.querySelectorAll('.user[data-state="open"]').length === count, count);
}

async function say(name, text, to) {
  if (to) await user(name).getByLabel("To").selectOption({ label: to });
  await user(name).getByLabel("Message", { exact: true }).fill(text);
  await user(name).getByRole("button", { name: "Send" }).click();
}

async function heard(name, text) {
  await messages(name).filter({ hasText: text }).first().waitFor();
}

/** What says who is on the channel. */
const PRESENCE = /^{"type":"(connected|connectOther|disconnectOther)"/;

/** The frames in the wire log of one connection, as [direction, size, text], without those that say who is there. */
async function wire(name) {
  return (await everything(name)).filter(([, , text]) => !PRESENCE.test(text));
}

async function everything(name) {
  await page.locator("#wire-who").selectOption(name);
  const frames = await page.locator("#wire .frame").evaluateAll((rows) =>
    rows.map((row) => [
      [...row.classList].find((kind) => kind !== "frame"),
      row.querySelector(".size").textContent,
      row.querySelector(".bytes").textContent,
    ]),
  );
  await page.locator("#wire-who").selectOption("");
  return frames;
}

async function noSidewaysScroll() {
  const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(content <= window, `${content} px of content in a window of ${window}`);
}

describe("with the server up", () => {
  beforeEach(async () => {
    page = await open(browser);
    await page.goto(`${server.url}/console`);
    await connected(3);
  });
  afterEach(async () => {
    assert.deepEqual(page.faults, []);
    await page.context().close();
  });

  test("a message reaches every card, and the wire shows its frames verbatim", async () => {
    await say("Aoi", "Yahoo <b>山彦</b>");
    for (const name of ["Aoi", "Haru", "Sora"]) {
      await heard(name, "Yahoo");
      assert.deepEqual(await words(name), ["Yahoo <b>山彦</b>"]);
      assert.equal(await messages(name).locator("b").first().textContent(), "Aoi");
    }
    await user("Aoi").getByText("Accepted").waitFor();

    const sent = '{"data":{"message":"Yahoo <b>山彦</b>","name":"Aoi"}}';
    const frames = (await wire("Aoi")).map(([, , text]) => text);
    const start = frames.find((text) => text.includes("recovered"));
    assert.match(start, /^{"type":"recovered","count":0,"id":"s?[0-9a-f]+-\d+"}$/);
    const copy = frames.at(-1);
    const { id } = JSON.parse(copy);
    assert.equal(copy, `{"type":"message","id":"${id}","sender":{"name":"Aoi","id":7},"data":{"message":"Yahoo <b>山彦</b>","name":"Aoi"}}`);
    const size = (text) => `${Buffer.byteLength(text)} B`;
    const ack = '{"type":"sended","ok":true}';
    assert.deepEqual(await wire("Aoi"), [
      ["note", "", "open chat:default"],
      ["in", size(start), start],
      ["out", size(sent), sent],
      ["in", size(ack), ack],
      ["in", size(copy), copy],
    ]);
    const [opened, [, , first], ...rest] = await wire("Haru");
    assert.deepEqual([opened, ...rest], [["note", "", "open chat:default"], ["in", size(copy), copy]]);
    assert.equal(JSON.parse(first).type, "recovered");
  });

  test("each card shows who is on the channel, and who comes and goes", async () => {
    const here = async (name, names) => {
      await page.waitForFunction(
        ([name, names]) => [...document.querySelectorAll(`.user[data-user="${name}"] > .here li`)].map((item) => item.textContent).sort().join() === names,
        [name, names.join()],
      );
    };
    const all = ["Aoi", "Haru", "Sora"];
    for (const name of all) await here(name, all);
    // The same user in another window changes nothing, and others see its new users.
    const other = await open(browser);
    await other.goto(`${server.url}/console`);
    await other.locator("#new-name").fill("<b>Umi</b>");
    await other.getByRole("button", { name: "Add user" }).click();
    for (const name of all) await here(name, ["<b>Umi</b>", ...all]);
    await page.getByRole("button", { name: "Disconnect Haru" }).click();
    await user("Haru").locator('.state[data-state="closed"]').waitFor();
    await user("Haru").locator(".here").waitFor({ state: "hidden" });
    await say("Sora", "is Haru still there?");
    await heard("Aoi", "is Haru still there?");
    for (const name of ["Aoi", "Sora"]) await here(name, ["<b>Umi</b>", ...all]);
    await other.context().close();
    for (const name of ["Aoi", "Sora"]) await here(name, ["Aoi", "Sora"]);
    // Coming back, and a line that breaks.
    await page.getByRole("button", { name: "Connect Haru" }).click();
    for (const name of all) await here(name, all);
    const frames = (await everything("Haru")).map(([, , text]) => text);
    assert.ok(frames.includes('{"type":"connected","users":[{"id":7,"name":"Aoi"},{"id":9,"name":"Sora"}]}'), frames.join("\n"));
    assert.equal(frames.at(-1), '{"type":"connectOther","sender":{"name":"System","id":0},"data":{"user":{"name":"Haru","id":8}}}');
    // A kind without presence shows nobody.
    await page.getByRole("radio", { name: "tweet:" }).check();
    await connected(3);
    await say("Aoi", "a tweet");
    await heard("Sora", "a tweet");
    for (const name of all) assert.equal(await user(name).locator(".here").isVisible(), false);
  });

  test("a line that is cut while messages flow misses none of them", async () => {
    await say("Haru", "before");
    await heard("Aoi", "before");
    await user("Aoi").getByRole("button", { name: "Cut the line of Aoi for 5 seconds" }).click();
    assert.equal(await user("Aoi").getAttribute("data-state"), "cut");
    await user("Aoi").getByText("Line cut").first().waitFor();
    // The others get what Laravel publishes meanwhile, and one of them speaks too.
    await heard("Haru", "While Aoi is away: 2");
    await say("Haru", "from Haru");
    await user("Aoi").getByText(/The line is cut\. [1-9] messages have passed by\. Trying again in \d\.\d s\./).waitFor();
    assert.deepEqual(await words("Aoi"), ["before"]);

    const mark = user("Aoi").locator(".messages .mark.whole");
    await mark.waitFor();
    const missed = await user("Aoi").locator(".messages .missed p").allTextContents();
    assert.equal(await mark.textContent(), `${missed.length} missed, ${missed.length} recovered: nothing is missing`);
    assert.ok(missed.length >= 5 && missed.includes("from Haru"), missed.join("; "));
    await say("Sora", "after");
    await heard("Aoi", "after");
    await heard("Haru", "after");
    assert.deepEqual(await words("Aoi"), await words("Haru"));
    assert.deepEqual(await words("Aoi"), ["before", ...missed, "after"]);
  });

  test("a server that has forgotten what it told is shown as a gap", async () => {
    await say("Haru", "before");
    await heard("Aoi", "before");
    await server.stop("SIGKILL");
    await server.start();
    await user("Aoi").getByText("Messages may be missing: ask the application for them").waitFor();
    page.faults = page.faults.filter((fault) => !/WebSocket connection to|ERR_CONNECTION_REFUSED/.test(fault));
  });

  test("a targeted message reaches only its target", async () => {
    await say("Aoi", "for Haru alone", "Haru (8)");
    await heard("Haru", "for Haru alone");
    await user("Aoi").getByText("Accepted").waitFor();
    await say("Sora", "for all");
    for (const name of ["Aoi", "Haru", "Sora"]) await heard(name, "for all");
    assert.deepEqual(await words("Aoi"), ["for all"]);
    assert.deepEqual(await words("Haru"), ["for Haru alone", "for all"]);
    assert.deepEqual(await words("Sora"), ["for all"]);
  });

  test("a frame that the server refuses is explained, and the connection stays", async () => {
    await user("Haru").getByLabel("Raw frame").check();
    await user("Haru").getByLabel("Frame, sent as it is").fill("{nope");
    await user("Haru").getByRole("button", { name: "Send" }).click();
    await user("Haru").getByText("invalid_json").waitFor();
    assert.equal(await user("Haru").getAttribute("data-state"), "open");
    assert.equal(await messages("Haru").count(), 0);
  });

  test("messages of Laravel arrive from System, or from the user that they name", async () => {
    const publish = page.locator("#publish");
    await publish.getByLabel("data").fill('{"message": "from the application", "name": "Laravel"}');
    await publish.getByRole("button", { name: "Publish" }).click();
    await publish.getByText("Published").waitFor();
    for (const name of ["Aoi", "Haru", "Sora"]) {
      await heard(name, "from the application");
      assert.equal(await messages(name).locator("b").first().textContent(), "System");
    }
    await publish.getByLabel("Speak for a user").check();
    await publish.getByLabel("Name").fill("Haru");
    await publish.getByLabel("User id").fill("8");
    await publish.getByRole("button", { name: "Publish" }).click();
    await messages("Aoi").nth(1).waitFor();
    assert.equal(await messages("Aoi").nth(1).locator("b").textContent(), "Haru");

    await publish.getByLabel("data").fill("[1]");
    await publish.getByRole("button", { name: "Publish" }).click();
    await publish.getByText("data must be a JSON object").waitFor();

    // The typed text stays, and goes to the channel that all users are on now.
    await page.getByRole("radio", { name: "chat:room1" }).check();
    assert.equal(await publish.getByLabel("data").inputValue(), "[1]");
    assert.equal(await publish.getByLabel("Channel").inputValue(), "chat:room1");
    await publish.getByLabel("Channel").fill("news:");
    await page.getByRole("radio", { name: "tweet:" }).check();
    assert.equal(await publish.getByLabel("Channel").inputValue(), "news:");
  });

  test("the job drives the bar to 100%", async () => {
    const bar = page.getByRole("progressbar");
    assert.equal(await bar.getAttribute("aria-valuenow"), "0");
    await bar.evaluate((element) => {
      window.progress = [];
      const note = () => window.progress.push(element.getAttribute("aria-valuenow"));
      new MutationObserver(note).observe(element, { attributeFilter: ["aria-valuenow"] });
    });
    await page.getByRole("button", { name: "Run the job" }).click();
    await page.getByText("Finished").waitFor();
    const seen = new Set(await page.evaluate(() => window.progress));
    assert.ok(seen.has("100") && seen.size > 10, [...seen].join(" "));
  });

  test("channels are separate, and users can be added and removed", async () => {
    await say("Aoi", "on the default channel");
    await heard("Sora", "on the default channel");
    await page.getByRole("radio", { name: "tweet:" }).check();
    await page.waitForFunction(() => document.querySelectorAll(".messages li").length === 0);
    await connected(3);
    await say("Sora", "a tweet");
    await heard("Aoi", "a tweet");
    assert.deepEqual(await words("Aoi"), ["a tweet"]);

    await page.locator("#new-name").fill("Umi");
    await page.getByRole("button", { name: "Add user" }).click();
    await connected(4);
    await page.getByRole("button", { name: "Remove Haru" }).click();
    await connected(3);
    await say("Umi", "hello from the new one");
    await heard("Aoi", "hello from the new one");
    assert.equal(await user("Haru").count(), 0);

    await page.getByRole("radio", { name: "Other" }).check();
    await page.getByLabel("Channel name").fill("news:東京");
    await page.getByRole("button", { name: "Join" }).click();
    await page.locator("#wire .frame", { hasText: "open news:東京" }).nth(2).waitFor();
    await say("Aoi", "on a channel of our own");
    await heard("Umi", "on a channel of our own");
  });

  test("empty lists and taken names are explained", async () => {
    const empty = (id) => page.locator(id).evaluate((element) => getComputedStyle(element, "::before").content);
    await page.locator("#new-name").fill("Haru");
    await page.getByRole("button", { name: "Add user" }).click();
    assert.equal(await page.locator("#new-name").evaluate((field) => field.validationMessage), "Haru is here already");
    assert.equal(await page.locator(".user").count(), 3);
    await page.locator("#new-name").fill("Haruka");
    await page.getByRole("button", { name: "Add user" }).click();
    await connected(4);
    for (const name of ["Aoi", "Haru", "Sora", "Haruka"]) await page.getByRole("button", { name: `Remove ${name}`, exact: true }).click();
    assert.equal(await empty("#users"), '"Nobody is here. Add a user above."');
    for (const name of ["Aoi (Echo 1)", "Haru (Echo 2)"]) await page.getByRole("button", { name: `Close ${name}` }).click();
    assert.equal(await empty("#echo-tabs"), '"No tab is open."');
    await page.locator("#wire-text").fill("nothing says this");
    assert.equal(await empty("#wire"), '"No frames to show"');
    await page.getByRole("button", { name: "日本語" }).click();
    assert.equal(await empty("#wire"), '"表示するフレームはありません"');
  });

  test("tabs of Laravel Echo list each user once and receive whispers", async () => {
    const tabs = page.locator("#echo-tabs > li");
    const here = (n) => tabs.nth(n).locator(".here li");
    const members = (n, names) =>
      page.waitForFunction(
        ([n, names]) => [...document.querySelectorAll("#echo-tabs > li")[n].querySelectorAll(".here li")].map((item) => item.textContent).sort().join() === names,
        [n, names.join()],
      );
    for (const n of [0, 1]) await members(n, ["Aoi", "Haru"]);
    await page.getByRole("button", { name: "Open a tab" }).click();
    await members(2, ["Aoi", "Haru"]);
    await page.locator("#echo-who").selectOption("Sora");
    await page.getByRole("button", { name: "Open a tab" }).click();
    for (const n of [0, 1, 2, 3]) await members(n, ["Aoi", "Haru", "Sora"]);
    await tabs.nth(0).getByRole("button", { name: "Whisper" }).click();
    for (const n of [1, 2, 3]) await tabs.nth(n).getByText("Aoi whispers").waitFor();
    await page.getByRole("button", { name: "Close Aoi (Echo 1)" }).click();
    await page.getByRole("button", { name: "Close Sora (Echo 4)" }).click();
    await tabs.nth(0).getByText("Sora has gone").waitFor();
    assert.deepEqual((await here(0).allTextContents()).sort(), ["Aoi", "Haru"]);
    await page.getByRole("button", { name: "Close Aoi (Echo 3)" }).click();
    await tabs.nth(0).getByText("Aoi has gone").waitFor();
    // Only the close of Aoi's last tab is announced, not that of the first one.
    assert.deepEqual(await tabs.nth(0).locator(".happened li").allTextContents(), ["Sora has come", "Aoi whispers", "Sora has gone", "Aoi has gone"]);
    assert.match((await wire("Haru (Echo 2)")).map(([, , text]) => text).join("\n"), /pusher_internal:subscription_succeeded/);
  });

  test("the wire can be paused, filtered and cleared", async () => {
    await say("Aoi", "before the pause");
    await heard("Aoi", "before the pause");
    await page.getByRole("button", { name: "Pause" }).click();
    const lines = await page.locator("#wire .frame").count();
    await say("Aoi", "during the pause");
    await heard("Sora", "during the pause");
    assert.equal(await page.locator("#wire .frame").count(), lines);
    await page.getByRole("button", { name: "Resume" }).click();
    await page.locator("#wire .frame", { hasText: "during the pause" }).first().waitFor();
    await page.locator("#wire-who").selectOption("Aoi");
    await page.locator("#wire-way").selectOption("out");
    assert.equal(await page.locator("#wire .frame").count(), 2);
    await page.locator("#wire-text").fill("BEFORE");
    assert.equal(await page.locator("#wire .frame").count(), 1);
    await page.getByRole("button", { name: "Clear" }).click();
    assert.equal(await page.locator("#wire .frame").count(), 0);
  });

  test("a token is renewed before it expires", async () => {
    await page.locator("#lifetime").evaluate((select) => {
      select.options[1].value = "4";
    });
    await page.locator("#lifetime").selectOption({ index: 1 });
    await connected(3);
    await page.locator("#wire .frame", { hasText: '{"type":"auth","token":"…"}' }).first().waitFor();
    await page.locator("#wire .frame", { hasText: '{"type":"auth","ok":true}' }).first().waitFor();
    await page.locator("#lifetime").selectOption({ index: 0 });
    await connected(3);
    await say("Aoi", "with a new token");
    await heard("Sora", "with a new token");
  });

  test("the language and the theme can be switched, and are remembered", async () => {
    const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await background();
    await page.getByRole("button", { name: "Dark" }).click();
    assert.notEqual(await background(), light);
    await page.getByRole("button", { name: "日本語" }).click();
    await page.getByRole("heading", { name: "Laravelとして配信" }).waitFor();
    await user("Aoi").getByText("接続済み").waitFor();
    await page.reload();
    await connected(3);
    assert.equal(await page.locator("html").getAttribute("lang"), "ja");
    assert.notEqual(await background(), light);
    const left = await page.evaluate(() => document.body.innerText.match(/\b(Connected|Publish as|Add user|Everyone)\b/g));
    assert.equal(left, null);
    await page.getByRole("button", { name: "English" }).click();
    await page.getByRole("heading", { name: "Publish as Laravel" }).waitFor();
  });

  test("the snippets are the files in docs/snippets, and the keyboard reaches them", async () => {
    await page.locator("#code", { hasText: "@yamabiko/client" }).waitFor();
    await page.getByRole("tab", { name: "Browser" }).focus();
    await page.keyboard.press("ArrowRight");
    await page.locator("#code", { hasText: "JWT::encode" }).waitFor();
    await page.keyboard.press("ArrowRight");
    await page.locator("#code", { hasText: "Redis::publish" }).waitFor();
    for (const words of ["class SampleJob", "PUSHER_APP_KEY=", "new Echo(", "Broadcast::on("]) {
      await page.keyboard.press("ArrowRight");
      await page.locator("#code", { hasText: words }).waitFor();
    }
    await page.keyboard.press("End");
    await page.locator("#code", { hasText: "yamabiko listen" }).waitFor();
    await page.keyboard.press("Home");
    await page.locator("#code", { hasText: "@yamabiko/client" }).waitFor();
    await page.getByRole("tab", { name: "Laravel: publish" }).click();
    await page.locator("#code", { hasText: "Redis::publish" }).waitFor();
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await page.getByRole("button", { name: "Copy" }).click();
    await page.getByText("Copied").waitFor();
    assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^<\?php[^]*Redis::publish/);
  });

  test("a refused token is explained, the button says what it does, and another channel is tried", async () => {
    // 300 bytes, where 200 are allowed: no token is given out for that.
    await page.getByRole("radio", { name: "Other" }).check();
    await page.getByLabel("Channel name").fill("あ".repeat(100));
    await page.getByRole("button", { name: "Join" }).click();
    const reason = user("Aoi").getByText(/No token: invalid_channel/);
    await reason.waitFor();
    for (const attempt of [1, 2]) {
      assert.equal(await user("Aoi").getByRole("button", { name: "Disconnect" }).count(), 0, `${attempt}`);
      await user("Aoi").getByRole("button", { name: "Connect Aoi" }).click();
      await user("Aoi").getByText("Closed").waitFor();
      await reason.waitFor();
    }
    page.faults = page.faults.filter((fault) => !/status of 422/.test(fault));
    await page.getByRole("radio", { name: "chat:room1" }).check();
    await connected(3);
    assert.equal(await reason.count(), 0);
  });

  test("a message that is unanswered when its connection ends is marked as such", async () => {
    const receipt = user("Aoi").locator(".receipt");
    await say("Aoi", "hello");
    await user("Aoi").getByText("Accepted").waitFor();
    await page.getByRole("button", { name: "Disconnect Aoi" }).click();
    await connected(2);
    assert.equal(await receipt.textContent(), "");
    await say("Aoi", "into the void");
    await user("Aoi").getByText("Not connected").waitFor();
    // Its next connection discards what is sent.
    await page.routeWebSocket(/\/ws\?/, (socket) => {
      socket.connectToServer();
      socket.onMessage(() => {});
    });
    await page.getByRole("button", { name: "Connect Aoi" }).click();
    await connected(3);
    assert.equal(await receipt.textContent(), "");
    await say("Aoi", "swallowed");
    await page.getByRole("button", { name: "Disconnect Aoi" }).click();
    await user("Aoi").getByText("No answer: it may not have been sent").waitFor();
    await page.getByRole("button", { name: "日本語" }).click();
    await user("Aoi").getByText("応答がありません").waitFor();
    await page.getByRole("button", { name: "English" }).click();
  });

  test("the composers of a row stay in line when one card grows", async () => {
    const boxes = () => page.locator(".user .send").evaluateAll((forms) => forms.map((form) => form.getBoundingClientRect()).map(({ top, bottom }) => `${top} ${bottom}`));
    await page.getByRole("button", { name: "Disconnect Haru" }).click();
    await user("Haru").locator(".closed").waitFor();
    assert.equal(new Set(await boxes()).size, 1, (await boxes()).join());
    for (let n = 0; n < 20; n += 1) await server.post("publish", { channel: "chat:default", data: { message: `${n}` } });
    await heard("Sora", "19");
    assert.equal(new Set(await boxes()).size, 1, (await boxes()).join());
  });

  test("a sender without a name or an id is not published, and its id goes out digit by digit", async () => {
    const publish = page.locator("#publish");
    const published = [];
    page.on("request", (request) => request.url().endsWith("/console/publish") && published.push(request.postData()));
    await publish.getByLabel("Speak for a user").check();
    for (const [name, id] of [["", "7"], ["  ", "7"], ["Aoi", ""], ["Aoi", " "]]) {
      await publish.getByLabel("Name").fill(name);
      await publish.getByLabel("User id").fill(id);
      await publish.getByRole("button", { name: "Publish" }).click();
      assert.equal(await publish.evaluate((form) => form.checkValidity()), false, `"${name}" ${id}`);
    }
    await publish.getByLabel("User id").fill("9007199254740993");
    await publish.getByRole("button", { name: "Publish" }).click();
    await page.locator("#wire .frame", { hasText: '"sender":{"name":"Aoi","id":9007199254740993}' }).first().waitFor();
    assert.equal(published.length, 1, published.join("\n"));
    await publish.getByLabel("User id").fill("01J9ZK3W5X8Q2N7R");
    await publish.getByRole("button", { name: "Publish" }).click();
    await page.locator("#wire .frame", { hasText: '"sender":{"name":"Aoi","id":"01J9ZK3W5X8Q2N7R"}' }).first().waitFor();
    await publish.getByLabel("User id").fill("");
    await publish.getByLabel("Speak for a user").uncheck();
    await publish.getByRole("button", { name: "Publish" }).click();
    await publish.getByText("Published").waitFor();
  });

  test("publishing reports the keys that were left out", async () => {
    const publish = page.locator("#publish");
    const leftOut = { kind: "chat", fields: ["message", "name"], keys: ["massage"], message: "" };
    await page.route("**/console/publish", (route) => route.fulfill({ json: { ok: true, left_out: leftOut } }));
    await publish.getByRole("button", { name: "Publish" }).click();
    await publish.getByText("Published, but `chat` delivers only `message`, `name`. Left out: `massage`").waitFor();
    await page.getByRole("button", { name: "日本語" }).click();
    await publish.getByText("`chat` で届くのは `message`, `name` だけです。除かれたキー：`massage`").waitFor();
    await page.unroute("**/console/publish");
    await publish.getByRole("button", { name: "配信" }).click();
    await publish.getByText("配信しました", { exact: true }).waitFor();
  });

  test("the arrow keys walk through all channels, and a click on the last choice leads to its field", async () => {
    const focused = () => page.evaluate(() => [document.activeElement.name || document.activeElement.id, document.activeElement.value]);
    await page.getByRole("radio", { name: "chat:default" }).focus();
    for (const value of ["chat:room1", "tweet:", "", "chat:default", ""]) {
      await page.keyboard.press(value === "" && (await focused())[1] === "chat:default" ? "ArrowLeft" : "ArrowRight");
      assert.deepEqual(await focused(), ["channel", value]);
      await connected(3);
    }
    await page.keyboard.press("Tab");
    assert.equal((await focused())[0], "custom-name");
    await page.locator("#channels label").first().click();
    await connected(3);
    await page.locator("#channels label", { hasText: "Other" }).click();
    assert.equal((await focused())[0], "custom-name");
    await page.getByRole("radio", { name: "chat:default" }).check();
    await connected(3);
  });

  test("a token is checked: why it is refused, what it contains, and that it is accepted", async () => {
    const box = page.getByLabel("Token", { exact: true });
    const check = async (pasted) => {
      await box.fill(pasted);
      await page.getByRole("button", { name: "Check", exact: true }).click();
      await page.locator("#checked").waitFor();
    };
    const { token } = await server.post("token", { id: 7, name: "あおい", channel: "chat:default", ttl: 3_600 });
    for (const pasted of [token, `  "${token}"\n`, `Bearer ${token}`, `ws://127.0.0.1:8080/ws?token=${token}&x=1`]) {
      await check(pasted);
      await page.locator("#checked").getByText("Accepted").waitFor();
      await page.locator("#checked").getByText('"name":"あおい"').waitFor();
      await page.locator("#checked").getByText(/expires in (59 min|1 h)/).waitFor();
    }
    await check(`${token.slice(0, -2)}AA`);
    await page.locator("#checked").getByText("bad_signature").waitFor();
    await page.locator("#checked").getByText("It was signed with another secret than this server's.").waitFor();
    await page.getByRole("button", { name: "日本語" }).click();
    await page.locator("#checked").getByText("別のシークレットで署名されています").waitFor();
    await page.getByRole("button", { name: "English" }).click();
    await check("eyJhbGciOiJIUzI1NiJ9");
    await page.locator("#checked").getByText("malformed_token").waitFor();
    assert.equal(await page.locator("#check-claims").isVisible(), false);
    // The result does not apply to another token.
    await box.fill("x");
    assert.equal(await page.locator("#checked").isVisible(), false);
  });

  test("the guide is docs/troubleshooting.md, and its links lead to its headings", async () => {
    const [guide] = await Promise.all([
      page.context().waitForEvent("page"),
      page.getByRole("link", { name: "When a page does not connect" }).first().click(),
    ]);
    const faults = [];
    guide.on("pageerror", (error) => faults.push(error.message));
    await guide.getByRole("heading", { name: "Troubleshooting" }).waitFor();
    const source = await readFile(new URL("../../docs/troubleshooting.md", import.meta.url), "utf8");
    const [headings, links, text] = await guide.evaluate(() => [
      [...document.querySelectorAll("#guide :is(h1, h2, h3)")].map(({ id }) => id),
      [...document.querySelectorAll("#guide a")].map((link) => link.getAttribute("href")),
      document.getElementById("guide").textContent,
    ]);
    assert.equal(headings.length, source.match(/^#{1,3} /gm).length);
    assert.ok(links.length > 10, links.join(" "));
    for (const link of links) assert.ok(headings.includes(link.slice(1)), link);
    // Nothing of Markdown is left over, and no word is lost.
    assert.doesNotMatch(text, /\*\*|\]\(|^\||```/m);
    const letters = (text) => text.replace(/[^\p{L}\p{N}]/gu, "");
    assert.equal(letters(text), letters(source.replace(/\]\([^)]*\)/g, "")));
    assert.deepEqual(faults, []);
    await guide.close();
  });

  test("a raw frame is not wrapped again by another channel, and what was written comes back", async () => {
    const input = user("Aoi").locator(".text");
    await input.fill("typed");
    await user("Aoi").getByLabel("Raw frame").check();
    assert.equal(await input.inputValue(), '{"data":{"message":"typed","name":"Aoi"}}');
    await input.fill('{"data":{"mine":1}}');
    await page.getByRole("radio", { name: "tweet:" }).check();
    assert.equal(await input.inputValue(), '{"data":{"mine":1}}');
    await user("Aoi").getByLabel("Raw frame").uncheck();
    assert.equal(await input.inputValue(), "typed");
    await user("Haru").getByLabel("Raw frame").check();
    await page.getByRole("radio", { name: "chat:room1" }).check();
    assert.equal(await user("Haru").locator(".text").inputValue(), '{"data":{"message":"Hello","name":"Haru"}}');
    await connected(3);
  });

  test("the job runs again after its connection was ended for good", async () => {
    const answer = await fetch(`http://127.0.0.1:${server.admin}/disconnect`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ user: 1 }),
    });
    assert.ok(answer.ok, `${answer.status} ${await answer.text()}`);
    await page.locator("#job-state", { hasText: "Closed" }).waitFor();
    await page.getByRole("button", { name: "Run the job" }).click();
    await page.getByText(/Step \d+ of 20/).waitFor();
  });

  test("whispers of any form are sent, and a refused tab explains why", async () => {
    const tabs = page.locator("#echo-tabs > li");
    await tabs.nth(1).getByText("Connected").waitFor();
    await page.route("**/console/echo/auth", (route) =>
      route.fulfill({ status: 422, json: { error: { code: "invalid_message", message: "not on this channel" } } }));
    await page.getByRole("button", { name: "Open a tab" }).click();
    await tabs.nth(2).getByText("Not on the channel: invalid_message: not on this channel").waitFor();
    await page.getByRole("button", { name: "日本語" }).click();
    await tabs.nth(2).getByText("チャンネルに参加できません").waitFor();
    await page.getByRole("button", { name: "English" }).click();
    await page.unroute("**/console/echo/auth");
    page.faults = page.faults.filter((fault) => !/status of 422/.test(fault));

    const { key } = await server.post("echo", {});
    await page.evaluate(async ([key, port]) => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}/app/${key}?protocol=7`);
      const channel = "presence-Room.1";
      const next = (event) => new Promise((done) => socket.addEventListener("message", ({ data }) => {
        const frame = JSON.parse(data);
        if (frame.event === event) done(JSON.parse(frame.data));
      }));
      const { socket_id } = await next("pusher:connection_established");
      const answer = await fetch("/console/echo/auth", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ socket_id, channel, id: 77, name: "Umi" }),
      });
      const on = next("pusher_internal:subscription_succeeded");
      socket.send(JSON.stringify({ event: "pusher:subscribe", data: { channel, ...(await answer.json()) } }));
      await on;
      for (const data of ["no JSON", null, 7, { name: "Umi" }]) socket.send(JSON.stringify({ event: "client-wave", channel, data }));
    }, [key, server.port]);
    await tabs.nth(0).getByText("Umi whispers").waitFor();
  });

  test("the list of messages is bounded", async () => {
    for (let n = 0; n < 150; n += 1) await server.post("publish", { channel: "chat:default", data: { message: `${n}` } });
    await page.waitForFunction(() => document.querySelector(".user:last-child .messages li:last-child p")?.textContent === "149");
    assert.equal(await messages("Sora").count(), 100);
    assert.ok((await page.locator("#wire .frame").count()) <= 400);
  });
});

test("the page's connections are those of the JavaScript client", async () => {
  const served = await (await fetch(`${server.url}/console/assets/client.js`)).text();
  assert.equal(served, await readFile(new URL("../../clients/js/dist/index.js", import.meta.url), "utf8"));
});

test("language and theme follow the browser", async () => {
  page = await open(browser, { locale: "ja-JP", colorScheme: "dark" });
  await page.goto(`${server.url}/console`);
  await connected(3);
  await page.getByRole("heading", { name: "通信ログ" }).waitFor();
  await page.getByRole("button", { name: "ライト" }).waitFor();
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("the page passes the accessibility rules of axe in both themes and languages", async () => {
  const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  for (const [colorScheme, locale] of [["light", "en-US"], ["dark", "ja-JP"]]) {
    page = await open(browser, { colorScheme, locale, reducedMotion: "reduce" });
    await page.goto(`${server.url}/console`);
    await connected(3);
    await server.post("publish", { channel: "chat:default", data: { message: "for axe" } });
    for (const id of [7, 8, 9]) {
      const sender = { id, name: "someone" };
      await server.post("publish", { channel: "chat:default", sender, data: { message: "for axe" } });
    }
    await messages("Sora").nth(3).waitFor();
    await page.locator("#code", { hasText: "@yamabiko/client" }).waitFor();
    await page.locator("#check textarea").fill((await server.post("token", { id: 7, name: "Aoi", channel: "chat:default" })).token.slice(0, -3));
    await page.locator("#check button").click();
    await page.locator("#checked", { hasText: "bad_signature" }).waitFor();
    await page.locator(".user .toggle").first().click();
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => globalThis.axe.run());
    const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, any }) => `${html} ${any[0]?.message ?? ""}`).join("\n  ")}`);
    assert.deepEqual(found, [], `${colorScheme}, ${locale}`);
    await page.context().close();
  }
});

test("every indicator is visible in forced colours", async () => {
  for (const colorScheme of ["light", "dark"]) {
    page = await open(browser, { colorScheme, forcedColors: "active", reducedMotion: "reduce" });
    await page.goto(`${server.url}/console`);
    await connected(3);
    await page.mouse.move(0, 0);
    // Without the border, which a button and the bar have in any case.
    const seen = async (locator, inset) => {
      await locator.scrollIntoViewIfNeeded();
      const { x, y, width, height } = await locator.boundingBox();
      return drawn(browser, await page.screenshot({ clip: { x: x + inset, y: y + inset, width: width - 2 * inset, height: height - 2 * inset } }));
    };
    const stop = await seen(page.getByRole("button", { name: "Disconnect Haru" }), 5);
    assert.ok(stop > 0.05, `${colorScheme}, ■: ${stop}`);
    await page.getByRole("button", { name: "Disconnect Haru" }).click();
    await user("Haru").getByText("Closed", { exact: true }).waitFor();
    await page.mouse.move(0, 0);
    await page.evaluate(() => document.activeElement.blur());
    const play = await seen(page.getByRole("button", { name: "Connect Haru" }), 5);
    assert.ok(play > 0.05, `${colorScheme}, ▶: ${play}`);
    // The chosen channel does not look like the others.
    const colours = (value) => page.locator(`#channels input[value="${value}"] + span`).evaluate((span) => getComputedStyle(span).backgroundColor);
    assert.notEqual(await colours("chat:default"), await colours("chat:room1"), colorScheme);
    // Half of the bar is filled.
    await page.evaluate(() => { document.getElementById("track").style.inlineSize = "50%"; });
    const bar = await seen(page.locator(".track"), 2);
    assert.ok(bar > 0.3 && bar < 0.9, `${colorScheme}, the bar: ${bar}`);
    await noSidewaysScroll();
    await page.context().close();
  }
});

test("a failed request is explained in the page's language, and nothing is copied", async () => {
  page = await open(browser);
  await page.goto(`${server.url}/console`);
  await connected(3);
  await page.locator("#code", { hasText: "@yamabiko/client" }).waitFor();
  for (const path of ["publish", "job", "token/check", "assets/token.php"]) await page.route(`**/console/${path}`, (route) => route.abort());
  await page.getByRole("button", { name: "Publish", exact: true }).click();
  await page.getByRole("button", { name: "Run the job" }).click();
  await page.getByLabel("Token", { exact: true }).fill("eyJ");
  await page.getByRole("button", { name: "Check", exact: true }).click();
  await page.getByRole("tab", { name: "Laravel: token" }).click();
  const places = ["#published", "#job-result", "#check-why", "#code"];
  for (const place of places) await page.locator(place, { hasText: /^The server cannot be reached\.$/ }).waitFor();
  assert.equal(await page.locator("#copy").isDisabled(), true);
  await page.getByRole("button", { name: "日本語" }).click();
  for (const place of places) await page.locator(place, { hasText: /^サーバーに接続できません。$/ }).waitFor();
  await page.getByRole("textbox", { name: "data" }).fill("{");
  await page.getByRole("button", { name: "配信", exact: true }).click();
  await page.locator("#published", { hasText: "data がJSONとして不正です" }).waitFor();
  await page.context().close();
});

test("\"Copied\" is shown equally long after each click, in the page's language", async () => {
  page = await open(browser);
  await page.clock.install();
  await page.goto(`${server.url}/console`);
  await connected(3);
  await page.locator("#code", { hasText: "@yamabiko/client" }).waitFor();
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  const label = page.locator("#copy");
  await page.clock.pauseAt(Date.now() + 3_600_000);
  const words = async (expected) => {
    for (let tries = 0; tries < 100 && (await label.textContent()) !== expected; tries += 1) await page.evaluate(() => 0);
    assert.equal(await label.textContent(), expected);
  };
  await label.dispatchEvent("click");
  await words("Copied");
  await page.clock.runFor(1_000);
  await label.dispatchEvent("click");
  await words("Copied");
  await page.clock.runFor(1_000);
  await words("Copied");
  await page.locator("#language").dispatchEvent("click");
  await words("コピーしました");
  await page.clock.runFor(1_000);
  await words("コピー");
  await label.dispatchEvent("click");
  await words("コピーしました");
  await page.locator("#tab-1").dispatchEvent("click");
  await words("コピー");
  await page.context().close();
});

test("a phone shows everything without scrolling sideways", async () => {
  for (const [width, locale] of [[360, "en-US"], [390, "ja-JP"], [820, "en-US"]]) {
    page = await open(browser, { viewport: { width, height: 800 }, locale, isMobile: width < 500, hasTouch: true });
    await page.goto(`${server.url}/console`);
    await connected(3);
    await server.post("publish", { channel: "chat:default", data: { message: "w".repeat(300) } });
    await heard("Sora", "www");
    await noSidewaysScroll();
    const cut = await page.evaluate(() =>
      [...document.querySelectorAll("button, input, select, textarea")]
        .filter((control) => control.offsetParent && control.getBoundingClientRect().right > innerWidth)
        .map((control) => control.outerHTML),
    );
    assert.deepEqual(cut, []);
    await page.context().close();
  }
});

test("the page reconnects to a server that was killed", async () => {
  page = await open(browser);
  await page.goto(`${server.url}/console`);
  await connected(3);
  await server.stop("SIGKILL");
  await user("Aoi").getByText("Reconnecting").waitFor();
  await user("Aoi").getByText(/The connection broke off|cannot be reached/).waitFor();
  await user("Aoi").getByText(/Trying again in \d/).waitFor();
  await say("Aoi", "into the void");
  await user("Aoi").getByText("Not connected").waitFor();
  await server.start();
  // The longest wait between two attempts is 15 s.
  await page.waitForFunction(() => document.querySelectorAll('.user[data-state="open"]').length === 3, null, { timeout: 20_000 });
  await say("Aoi", "back again");
  await heard("Sora", "back again");
  const unexpected = page.faults.filter((fault) => !/ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|WebSocket connection to/.test(fault));
  assert.deepEqual(unexpected, []);
  await page.context().close();
});

test("a shutdown is reported", async () => {
  page = await open(browser);
  await page.goto(`${server.url}/console`);
  await connected(3);
  await server.stop("SIGTERM");
  await user("Aoi").getByText(/1001 “going away” The server is going away\./).waitFor();
  await user("Aoi").getByText("The server cannot be reached.").waitFor();
  await page.locator("#wire .frame", { hasText: "close 1001 going away" }).first().waitFor();
  await server.start();
  await page.context().close();
});

// `YAMABIKO_SCREENSHOT=$PWD/../../docs/console.png npm test` draws the picture in the README anew. It needs a Japanese font.
async function picture(file) {
  page = await open(browser, { viewport: { width: 1280, height: 1330 } });
  await page.goto(`${server.url}/console`);
  await connected(3);
  await say("Aoi", "Yahoo! Can you hear me?");
  await say("Haru", "Loud and clear, やっほー！");
  await heard("Sora", "やっほー");
  await page.locator("#publish").getByRole("button", { name: "Publish" }).click();
  await heard("Sora", "Hello from the application");
  await user("Aoi").getByRole("button", { name: "Cut the line of Aoi" }).click();
  await user("Aoi").locator(".messages .mark.whole").waitFor({ timeout: 30_000 });
  await page.getByRole("button", { name: "Run the job" }).click();
  // By then the rings of the messages have faded.
  await page.waitForFunction(() => document.getElementById("climb").getAttribute("aria-valuenow") >= 60);
  await page.mouse.move(0, 0);
  await page.evaluate(() => {
    document.activeElement.blur();
    scrollTo({ top: 0, behavior: "instant" });
  });
  await page.screenshot({ path: file });
  await page.context().close();
}
if (process.env.YAMABIKO_SCREENSHOT) test("the picture in the README", () => picture(process.env.YAMABIKO_SCREENSHOT));

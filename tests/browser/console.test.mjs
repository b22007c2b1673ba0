// The console, as a person uses it: users, messages, and the log of the wire.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { open } from "./chromium.mjs";
import {
  browser,
  connected,
  everything,
  heard,
  messages,
  openForEach,
  page,
  say,
  server,
  startAll,
  user,
  wire,
  words,
} from "./console_page.mjs";

startAll();

describe("the users of a channel", () => {
  openForEach();

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
    const passing = user("Aoi").getByText(/The line is cut\. \d+ messages have passed by\. Trying again in \d\.\d s\./).waitFor();
    await user("Aoi").getByRole("button", { name: "Cut the line of Aoi for 5 seconds" }).click();
    assert.equal(await user("Aoi").getAttribute("data-state"), "cut");
    // The others get what Laravel publishes meanwhile, and one of them speaks too.
    await say("Haru", "from Haru");
    await heard("Haru", "While Aoi is away: 2");
    await user("Aoi").getByText("Line cut").first().waitFor();
    await passing;

    const mark = user("Aoi").locator(".messages .mark.whole");
    await mark.waitFor();
    const missed = await user("Aoi").locator(".messages .missed p").allTextContents();
    assert.equal(await mark.textContent(), `${missed.length} missed, ${missed.length} recovered: nothing is missing`);
    assert.ok(missed.length >= 2 && missed.includes("from Haru"), missed.join("; "));
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
});

// The console, as a person uses it: tokens, snippets, the publisher, and what goes wrong.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { describe, test } from "node:test";

import { connected, heard, messages, openForEach, page, say, server, startAll, user } from "./console_page.mjs";

startAll();

describe("the tools of the console", () => {
  openForEach();

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
    await page.waitForFunction(() => [...document.querySelectorAll(".user:last-child .messages li p")].at(-1)?.textContent === "149");
    assert.equal(await messages("Sora").count(), 100);
    assert.ok((await page.locator("#wire .frame").count()) <= 400);
  });
});

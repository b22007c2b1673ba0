// Level 2 of recovery: the plugin of clients/js against the real server, in Node.js and in a real Chromium.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import Pusher8 from "pusher-js";
import Pusher7 from "pusher-js-7";

import recovery from "../../clients/js/dist/pusher-recovery.js";
import { launch, open } from "../browser/chromium.mjs";
import { Application } from "./application.mjs";
import { closeAll, connected, eventually, Inbox, listening, present, tab } from "./client.mjs";
import { Line } from "./recovery.mjs";
import { SETUPS } from "./servers.mjs";

const HISTORY = {
  YAMABIKO__PUSHER__HISTORY: '[{ channels = ["private-*", "presence-*", "news"], messages = 5000, age = "2m" }]',
};
const CUTS = 5;

for (const [where, setUp] of SETUPS) {
  describe(`a page with the plugin, ${where}`, () => {
    let servers, application, line, browser;
    before(async () => {
      servers = await setUp(HISTORY);
      application = await Application.start(servers.a);
      line = await Line.to(servers.a.port, servers.b.port);
      browser = await launch();
    });
    after(async () => {
      await browser?.close();
      line?.stop();
      application?.stop();
      await servers?.stop();
    });
    afterEach(closeAll);

    const cut = () => {
      line.ports.reverse(); // To the other node.
      line.cut();
    };

    /** Publishes numbers until they are told to end. */
    function publishing(channel) {
      let isOver = false;
      const run = async () => {
        let number = 0;
        for (; !isOver; number++) await servers.a.sdk().trigger(channel, "App\\Events\\Numbered", { number });
        return number;
      };
      const done = run();
      return { end: () => ((isOver = true), done) };
    }

    for (const [version, Pusher] of [["7", Pusher7], ["8", Pusher8]]) {
      test(`pusher-js ${version}: each message once and in order, without a request for a signature`, async () => {
        const watcher = await present(await tab(servers.b, application, "haru"), `Room.${version}`);
        const echo = await tab(line, application, "aoi", { Pusher: recovery(Pusher) });
        const [numbers, told] = [new Inbox(), new Inbox()];
        const channel = echo.private(`Numbers.${version}`).listen("Numbered", ({ number }) => numbers.put(number));
        channel.listen(".yamabiko:recovered", ({ count }) => told.put(count)).listen(".yamabiko:gap", () => told.put("gap"));
        await new Promise((done) => channel.subscribed(done));
        await present(echo, `Room.${version}`);
        await watcher.joining.until((name) => name === "Aoi", "Aoi");
        const [id, signatures] = [echo.socketId(), application.signatures];

        const publisher = publishing(`private-Numbers.${version}`);
        let missed = 0;
        for (let round = 0; round < CUTS; round++) {
          cut();
          const count = await told.next("what was missed");
          assert.equal(typeof count, "number", count);
          missed += count;
        }
        const count = await publisher.end();
        await numbers.until((number) => number === count - 1, "the last one");
        await eventually(() => assert.equal(numbers.taken.length, count));
        assert.deepEqual(numbers.taken, Array.from({ length: count }, (_, number) => number));
        assert.ok(missed > 0);
        assert.equal(echo.socketId(), id);
        assert.equal(application.signatures, signatures);
        assert.deepEqual([watcher.leaving.waiting, watcher.joining.waiting], [[], []]);
      });
    }

    test("a rendered page starts from the position that the HTTP API has given", async () => {
      const ask = async (path, params) => (await servers.b.sdk().get({ path, params })).json();
      const { position } = await ask("/channels/private-Rendered.1", { info: "position" });
      const publish = (text) => servers.a.sdk().trigger("private-Rendered.1", "told", text);
      await publish("between the rendering and the subscription");
      const echo = await tab(servers.a, application, "aoi", { Pusher: recovery(Pusher8, { "private-Rendered.1": position }) });
      const inbox = await listening(echo.private("Rendered.1"), ".told");
      await publish("live");
      assert.equal(await inbox.next(), "between the rendering and the subscription");
      assert.equal(await inbox.next(), "live");
    });

    test("in Chromium, each message once and in order", async () => {
      const page = await open(browser);
      await page.goto(`${application.url}/?user=aoi&port=${line.port}&broadcaster=pusher&plugin=1`);
      const say = (message) => servers.a.sdk().trigger("private-Chat.1", "App\\Events\\ChatMessageSent", { message, user: { name: "Laravel" } });
      const texts = () => page.locator("#messages li").allTextContents();
      await page.waitForFunction(() => echo.private("Chat.1").subscription.subscribed);
      const signatures = application.signatures;
      const expected = [];
      for (let round = 0; round < CUTS; round++) {
        const socket = await page.evaluate(() => echo.socketId());
        cut();
        for (let number = 0; number < 20; number++) {
          expected.push(`Laravel: ${round}.${number}`);
          await say(`${round}.${number}`);
        }
        await eventually(async () => assert.deepEqual(await texts(), expected));
        assert.equal(await page.evaluate(() => echo.socketId()), socket);
      }
      assert.equal(application.signatures, signatures);
      // Chromium reports the connections that were cut.
      assert.deepEqual(page.faults.filter((fault) => !fault.includes("WebSocket")), []);
      await page.context().close();
    });
  });
}

// A page that lists the users on its channel, as pages of the Node server do: it appends and removes what it is told, and checks
// nothing.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { launch, open } from "./chromium.mjs";
import { Server } from "./server.mjs";

const PAGE = `<!doctype html><link rel="icon" href="data:,"><title>Chat</title>
<ul id="users"></ul><ol id="messages"></ol>
<script>
  const list = document.getElementById("users");
  const add = ({ id, name }) => {
    const item = document.createElement("li");
    item.id = "user" + id;
    item.textContent = name;
    list.append(item);
  };
  const socket = new WebSocket(location.hash.slice(1));
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    switch (message.type) {
      case "connected":
        list.replaceChildren();
        message.users.forEach(add);
        break;
      case "connectOther":
        add(message.data.user);
        break;
      case "disconnectOther":
        document.getElementById("user" + message.data.user.id).remove();
        break;
      case "message": {
        const item = document.createElement("li");
        item.textContent = message.sender.name + ": " + message.data.message;
        document.getElementById("messages").append(item);
      }
    }
  };
</script>`;

let server, browser, application;

before(async () => {
  server = await Server.start();
  browser = await launch();
  application = createServer((_, answer) => {
    answer.setHeader("Content-Type", "text/html");
    answer.end(PAGE);
  }).listen(0, "127.0.0.1");
  await once(application, "listening");
});
after(async () => {
  await browser?.close();
  application?.close();
  await server?.stop();
});

/** A page of this user. */
async function join(id, name) {
  const page = await open(browser);
  const { token } = await server.post("token", { id, name, channel: "chat:room1" });
  await page.goto(`http://127.0.0.1:${application.address().port}/#ws://127.0.0.1:${server.port}/?token=${token}`);
  return page;
}

/** Waits until the page lists these users, each once. */
async function lists(page, names) {
  await page.waitForFunction(
    (names) => [...document.querySelectorAll("#users li")].map((item) => item.textContent).sort().join() === names,
    names.join(),
  );
}

test("a list of users that checks nothing is right, with tabs and reloads", async () => {
  const aoi = await join(7, "Aoi");
  await lists(aoi, ["Aoi"]);
  const ren = await join("01J9ZK3W5X8Q2N7R", "<i>Ren</i>");
  for (const page of [aoi, ren]) await lists(page, ["<i>Ren</i>", "Aoi"]);
  const tab = await join(7, "Aoi");
  await lists(tab, ["<i>Ren</i>", "Aoi"]);
  await aoi.context().close();
  await lists(ren, ["<i>Ren</i>", "Aoi"]);
  for (let round = 0; round < 5; round += 1) {
    await ren.reload();
    await lists(ren, ["<i>Ren</i>", "Aoi"]);
    await lists(tab, ["<i>Ren</i>", "Aoi"]);
  }
  // The name is text, and messages are as ever.
  assert.equal(await tab.locator("#users i").count(), 0);
  await server.post("publish", { channel: "chat:room1", data: { message: "hello" } });
  for (const page of [ren, tab]) await page.getByText("System: hello").waitFor();
  await tab.context().close();
  await lists(ren, ["<i>Ren</i>"]);
  assert.deepEqual([aoi, tab, ren].flatMap((page) => page.faults), []);
  await ren.context().close();
});

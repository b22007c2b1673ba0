// The hooks in a real Chromium: useYamabiko for React and Vue, those of @laravel/echo-react and @laravel/echo-vue over the connector, and
// the examples of `php artisan yamabiko:install`.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";
import { compileScript, parse } from "vue/compiler-sfc";

import { Application } from "../../../tests/echo/application.mjs";
import { launch, open } from "../../../tests/browser/chromium.mjs";
import { credentials, ENVIRONMENT, eventually, Node } from "./support.mjs";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

const DEFINE = {
  "process.env.NODE_ENV": '"development"',
  __VUE_OPTIONS_API__: "false",
  __VUE_PROD_DEVTOOLS__: "false",
  __VUE_PROD_HYDRATION_MISMATCH_DETAILS__: "false",
};

const PAGES = {
  "/react": `
    import { createElement, StrictMode, useState } from "react";
    import { createRoot } from "react-dom/client";
    import { useYamabiko } from "@yamabiko/client/react";

    globalThis.told = [];
    function Room({ id }) {
      const { messages, users, state, send } = useYamabiko("room:react", { keep: 2, onMessage: ({ data }) => told.push([id, data.text]) });
      globalThis.send = send;
      return createElement("p", { id }, state + " " + users.map(({ name }) => name) + " " + messages.map(({ data }) => data.text));
    }
    function App() {
      const [shown, show] = useState(true);
      globalThis.show = show;
      return shown ? [1, 2].map((n) => createElement(Room, { key: n, id: "room" + n })) : null;
    }
    createRoot(document.body).render(createElement(StrictMode, null, createElement(App)));`,
  "/vue": `
    import { createApp, h, ref } from "vue";
    import { useYamabiko } from "@yamabiko/client/vue";

    globalThis.told = [];
    const shown = ref(true);
    globalThis.show = (value) => (shown.value = value);
    const Room = {
      props: ["id"],
      setup({ id }) {
        const { messages, users, state, send } = useYamabiko("room:vue", { keep: 2, onMessage: ({ data }) => told.push([id, data.text]) });
        globalThis.send = send;
        return () => h("p", { id }, state.value + " " + users.value.map(({ name }) => name) + " " + messages.value.map(({ data }) => data.text));
      },
    };
    createApp(() => shown.value ? [1, 2].map((n) => h(Room, { key: n, id: "room" + n })) : null).mount(document.body);`,
  "/vue-channels": `
    import { createApp, h, ref } from "vue";
    import { useYamabiko } from "@yamabiko/client/vue";

    const channel = (globalThis.channel = ref(null));
    createApp({
      setup() {
        const { messages, state, send } = useYamabiko(channel);
        Object.assign(globalThis, { send });
        return () => h("p", { id: "room" }, channel.value + " " + state.value + " " + messages.value.map(({ data }) => data.text));
      },
    }).mount(document.body);`,
  "/examples": `
    import { createElement } from "react";
    import { createRoot } from "react-dom/client";
    import { createApp } from "vue";
    import OfReact from "example:YamabikoChat.jsx";
    import OfVue from "example:YamabikoChat.vue";
    import "example:echo-yamabiko.js";

    for (const id of ["react", "vue"]) document.body.append(Object.assign(document.createElement("div"), { id }));
    createRoot(document.getElementById("react")).render(createElement(OfReact));
    createApp(OfVue).mount("#vue");`,
  "/echo-react": `
    import { createElement, StrictMode, useState } from "react";
    import { createRoot } from "react-dom/client";
    import { configureEcho, useConnectionStatus, useEcho, useEchoNotification, useEchoPresence, useEchoPublic, useSocketId } from "@laravel/echo-react";
    import YamabikoConnector from "@yamabiko/client/echo";

    configureEcho({ broadcaster: YamabikoConnector, ...OPTIONS });
    globalThis.told = [];
    const tell = (what) => (event) => told.push([what, event]);
    function App() {
      globalThis.socketId = useSocketId();
      useEcho("Chat.1", "ChatMessageSent", tell("private"));
      useEchoPublic("news", ".posted", tell("public"));
      useEchoPresence("Room.1", ".waved", tell("presence"));
      useEchoNotification("App.Models.User.7", tell("notification"));
      return createElement("p", { id: "status" }, useConnectionStatus());
    }
    createRoot(document.body).render(createElement(StrictMode, null, createElement(App)));`,
  "/echo-vue": `
    import { createApp, h } from "vue";
    import { configureEcho, useConnectionStatus, useEcho, useEchoNotification, useEchoPresence, useEchoPublic, useSocketId } from "@laravel/echo-vue";
    import YamabikoConnector from "@yamabiko/client/echo";

    configureEcho({ broadcaster: YamabikoConnector, ...OPTIONS });
    globalThis.told = [];
    const tell = (what) => (event) => told.push([what, event]);
    createApp({
      setup() {
        const [status, id] = [useConnectionStatus(), useSocketId()];
        useEcho("Chat.1", "ChatMessageSent", tell("private"));
        useEchoPublic("news", ".posted", tell("public"));
        useEchoPresence("Room.1", ".waved", tell("presence"));
        useEchoNotification("App.Models.User.7", tell("notification"));
        return () => (globalThis.socketId = id.value, h("p", { id: "status" }, status.value));
      },
    }).mount(document.body);`,
};

/** The files that `php artisan yamabiko:install` gives an application, as `example:NAME`. */
const EXAMPLES = {
  name: "examples",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^example:/ }, ({ path }) => ({ path: path.split(":")[1], namespace: "example" }));
    onLoad({ filter: /./, namespace: "example" }, async ({ path }) => {
      const source = await readFile(new URL(`../../laravel/stubs/js/${path}`, import.meta.url), "utf8");
      if (!path.endsWith(".vue")) return { contents: source, loader: "jsx", resolveDir: ROOT };
      const { content } = compileScript(parse(source).descriptor, { id: path, inlineTemplate: true });
      return { contents: content, loader: "js", resolveDir: ROOT };
    });
  },
};

let node, application, pages, browser, inputs;
before(async () => {
  node = await Node.start(ENVIRONMENT);
  application = await Application.start(node);
  pages = createServer(async (request, answer) => {
    const { pathname, searchParams } = new URL(request.url, "http://application");
    if (pathname === "/websocket/token") return answer.end(JSON.stringify(credentials(node.port, searchParams.get("channel"))));
    if (pathname.startsWith("/broadcasting/")) {
      // Of the application, on the page's own origin.
      const { method, headers } = request;
      const { authorization, "content-type": type } = headers;
      const body = await new Response(request).text();
      const answered = await fetch(application.url + pathname, { method, headers: { authorization, "content-type": type }, body });
      return answer.writeHead(answered.status).end(await answered.text());
    }
    const options = JSON.stringify({ key: "echo-key", wsHost: "127.0.0.1", wsPort: node.port, forceTLS: false, bearerToken: "aoi" });
    const { outputFiles, metafile } = await build({
      stdin: { contents: PAGES[pathname].replace("OPTIONS", options), resolveDir: ROOT },
      // The hooks import pusher-js, which they do not use with the connector.
      alias: { "pusher-js": "@yamabiko/client/pusher" },
      bundle: true,
      metafile: true,
      write: false,
      format: "esm",
      jsx: "automatic",
      plugins: [EXAMPLES],
      define: {
        ...DEFINE,
        "import.meta.env": JSON.stringify({
          VITE_PUSHER_APP_KEY: "echo-key",
          VITE_PUSHER_HOST: "127.0.0.1",
          VITE_PUSHER_PORT: String(node.port),
          VITE_PUSHER_SCHEME: "http",
        }),
      },
    });
    inputs = Object.keys(metafile.inputs);
    answer.writeHead(200, { "Content-Type": "text/html; charset=utf-8" });
    answer.end(`<!doctype html><link rel="icon" href="data:,"><body></body><script type="module">${outputFiles[0].text.replaceAll("</script", "<\\/script")}</script>`);
  }).listen(0, "127.0.0.1");
  await once(pages, "listening");
  browser = await launch();
});
after(async () => {
  await browser?.close();
  pages?.close();
  application?.stop();
  await node?.stop();
});

async function visit(path) {
  const page = await open(browser);
  await page.goto(`http://127.0.0.1:${pages.address().port}${path}`);
  return page;
}

for (const path of ["/react", "/vue"]) {
  test(`useYamabiko of @yamabiko/client${path}: components on a channel share a connection, which ends with the last of them`, async () => {
    const sockets = [];
    const page = await open(browser);
    page.on("websocket", (socket) => sockets.push(socket));
    await page.goto(`http://127.0.0.1:${pages.address().port}${path}`);
    const shows = (text) => Promise.all(["room1", "room2"].map((id) => page.locator(`#${id}`, { hasText: text }).waitFor()));
    await shows("open 葵");
    for (const text of ["one", "two", "three"]) await page.evaluate((text) => send({ text }), text);
    await shows("two,three");
    assert.deepEqual((await page.evaluate(() => told)).sort(), ["room1", "room2"].flatMap((id) => ["one", "three", "two"].map((text) => [id, text])));
    assert.equal(sockets.length, 1);
    const closed = sockets[0].waitForEvent("close");
    await page.evaluate(() => show(false));
    await closed;
    assert.deepEqual(page.faults, []);
    await page.context().close();
  });
}

test("useYamabiko for Vue follows its channel, and leaves it", async () => {
  const page = await visit("/vue-channels");
  await page.locator("#room", { hasText: "null closed" }).waitFor();
  assert.equal(await page.evaluate(() => send({ text: "nowhere" }).catch(({ code }) => code)), "closed");
  for (const name of ["room:a", "room:b"]) {
    await page.evaluate((name) => { channel.value = name; }, name);
    await page.locator("#room", { hasText: `${name} open` }).waitFor();
    await page.evaluate((text) => send({ text }), `on ${name}`);
    // Without what was said on the channel before.
    await page.waitForFunction((text) => document.getElementById("room").textContent === text, `${name} open on ${name}`);
  }
  await page.evaluate(() => { channel.value = undefined; });
  await page.locator("#room", { hasText: "undefined closed" }).waitFor();
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("the examples of yamabiko:install for React, Vue and Echo work as they are", async () => {
  const page = await visit("/examples");
  const [react, vue] = [page.locator("#react"), page.locator("#vue")];
  for (const [from, text] of [[react, "from React"], [vue, "from Vue"]]) {
    await from.getByText("open", { exact: true }).waitFor();
    await from.getByLabel("Message").fill(text);
    await from.getByRole("button", { name: "Send" }).click();
    for (const example of [react, vue]) await example.getByText(`葵: ${text}`).waitFor();
    assert.equal(await from.getByLabel("Message").inputValue(), "");
  }
  // Longer than the server takes: the reason is shown, and the text stays.
  await vue.getByLabel("Message").fill("long ".repeat(20_000));
  await vue.getByRole("button", { name: "Send" }).click();
  await page.waitForFunction(() => document.querySelector("#vue [role=alert]").textContent !== "");
  assert.notEqual(await vue.getByLabel("Message").inputValue(), "");
  await page.evaluate(() => new Promise((done) => {
    globalThis.titles = [];
    Echo.channel("news").listen(".posted", ({ title }) => titles.push(title)).subscribed(done);
  }));
  await node.sdk().trigger("news", "posted", { title: "山彦" });
  await page.waitForFunction(() => titles.join() === "山彦");
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

for (const path of ["/echo-react", "/echo-vue"]) {
  test(`the hooks of @laravel${path} run over the connector, without pusher-js`, async () => {
    const page = await visit(path);
    assert.deepEqual(inputs.filter((file) => file.includes("node_modules/pusher-js")), []);
    await page.locator("#status", { hasText: "connected" }).waitFor();
    await page.waitForFunction(() => /^\d+\.\d+$/.test(globalThis.socketId));
    const sdk = node.sdk();
    const told = (what) => page.evaluate((what) => globalThis.told.filter(([name]) => name === what).map(([, event]) => event), what);
    for (const [what, channel, event] of [
      ["private", "private-Chat.1", "App\\Events\\ChatMessageSent"],
      ["public", "news", "posted"],
      ["presence", "presence-Room.1", "waved"],
      ["notification", "private-App.Models.User.7", "Illuminate\\Notifications\\Events\\BroadcastNotificationCreated"],
    ]) {
      await eventually(async () => {
        const { subscription_count: count } = await node.get(`/channels/${channel}`, { info: "subscription_count" });
        assert.ok(count > 0, `nobody is on ${channel}`);
      });
      await sdk.trigger(channel, event, { text: what });
      await page.waitForFunction((what) => globalThis.told.some(([name]) => name === what), what);
      assert.deepEqual(await told(what), [{ text: what }]);
    }
    assert.deepEqual(page.faults, []);
    await page.context().close();
  });
}

// Every snippet of docs/javascript.md, to the letter, in a real Chromium against the real server.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";
import { compileScript, parse } from "vue/compiler-sfc";

import { launch, open } from "../../../tests/browser/chromium.mjs";
import { credentials, ENVIRONMENT, Node } from "./support.mjs";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const SOURCE = readFileSync(new URL("../../../docs/javascript.md", import.meta.url), "utf8");

/** The code of a language between two headings. */
function code(language, from, to = "\u0000") {
  const part = SOURCE.slice(SOURCE.indexOf(`\n## ${from}\n`)).split(`\n## ${to}\n`)[0];
  const blocks = [...part.matchAll(/```(\w+)\n([^]*?)```/g)].filter(([, found]) => found === language);
  assert.ok(blocks.length > 0);
  return blocks.map(([, , text]) => text).join("\n");
}

let node, application, browser;
const bundles = new Map();
before(async () => {
  node = await Node.start({ ...ENVIRONMENT, YAMABIKO__CHANNELS__CHAT__PRESENCE: "true" });
  application = createServer((request, answer) => {
    const { pathname, searchParams } = new URL(request.url, "http://application");
    if (pathname === "/websocket/token") return answer.end(JSON.stringify(credentials(node.port, searchParams.get("channel") ?? "chat:docs")));
    if (pathname.endsWith(".js")) return answer.writeHead(200, { "Content-Type": "text/javascript" }).end(bundles.get(pathname));
    answer.writeHead(200, { "Content-Type": "text/html; charset=utf-8" });
    answer.end(`<!doctype html><link rel="icon" href="data:,"><body></body><script type="module" src="${pathname}.js"></script>`);
  }).listen(0, "127.0.0.1");
  await once(application, "listening");
  browser = await launch();
});
after(async () => {
  await browser?.close();
  application?.close();
  await node?.stop();
});

async function visit(path, contents, options = {}) {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: ROOT, loader: "jsx" },
    bundle: true,
    write: false,
    format: "esm",
    jsx: "automatic",
    define: { "process.env.NODE_ENV": '"production"', ...options },
  });
  bundles.set(`${path}.js`, outputFiles[0].text);
  const page = await open(browser);
  page.said = [];
  page.on("console", (message) => page.said.push(message.text()));
  await page.goto(`http://127.0.0.1:${application.address().port}${path}`);
  return page;
}

test("the client's snippets", async () => {
  const page = await visit("/client", `${code("js", "Connecting", "React")}\nObject.assign(globalThis, { chat, tweets, news });`);
  await page.getByText("葵: Hello, mountains").waitFor();
  await page.locator("p", { hasText: "葵" }).waitFor();
  await page.waitForFunction(() => globalThis.tweets?.state === "open");
  const said = page.waitForEvent("console", (message) => message.text() === "やっほー");
  await page.evaluate(() => tweets.send({ tweet: { id: 1, content: "やっほー", created_at: "", user: { id: 7, name: "葵" } } }));
  await said;
  await page.waitForFunction(() => globalThis.news?.state === "open");
  const told = page.waitForEvent("console", (message) => message.text() === "山彦");
  await page.evaluate(() => news.send({ title: "山彦" }));
  await told;
  // The message for another user was accepted, and does not arrive here.
  assert.equal(await page.getByText("Only for 8").count(), 0);
  await page.evaluate(() => chat.close());
  assert.ok(page.said.some((text) => text.startsWith("closed 1000")), page.said.join("\n"));
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("the hook's snippet", async () => {
  const page = await visit("/hook", `import { createRoot } from "react-dom/client";
${code("jsx", "React", "Vue")}
createRoot(document.body).render(<Room />);`);
  await page.getByText("open: 葵").waitFor();
  await page.getByRole("button", { name: "Say hello" }).click();
  await page.getByText("葵: Hello").waitFor();
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("the composable's snippet", async () => {
  const { descriptor } = parse(code("vue", "Vue", "Laravel Echo"));
  const page = await visit("/composable", `import { createApp } from "vue";
${compileScript(descriptor, { id: "docs", inlineTemplate: true, genDefaultAs: "Room" }).content}
createApp(Room).mount(document.body);`, { __VUE_OPTIONS_API__: "false", __VUE_PROD_DEVTOOLS__: "false", __VUE_PROD_HYDRATION_MISMATCH_DETAILS__: "false" });
  await page.getByText("open: 葵").waitFor();
  await page.getByRole("button", { name: "Say hello" }).click();
  await page.getByText("葵: Hello").waitFor();
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("Echo's snippet", async () => {
  const env = { VITE_REVERB_APP_KEY: "echo-key", VITE_REVERB_HOST: "127.0.0.1", VITE_REVERB_PORT: `${node.port}`, VITE_REVERB_SCHEME: "http" };
  const page = await visit("/echo", code("js", "Laravel Echo", "Environments"), { "import.meta.env": JSON.stringify(env) });
  await page.evaluate(() => new Promise((done) => {
    globalThis.titles = [];
    window.Echo.channel("news").listen(".posted", ({ title }) => titles.push(title)).subscribed(done);
  }));
  await node.sdk().trigger("news", "posted", { title: "山彦" });
  await page.waitForFunction(() => titles.join() === "山彦");
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("the types are compiled to the letter", () => {
  assert.ok(readFileSync(new URL("types/docs.ts", import.meta.url), "utf8").endsWith(code("ts", "Types", "React")));
});

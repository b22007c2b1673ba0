// The package as it is published: its files, its sizes, its types, and how tools resolve it.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";

import { build } from "esbuild";
import { publint } from "publint";

import { files } from "../build.mjs";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const run = promisify(execFile);
const output = (error) => assert.fail(error.stdout + error.stderr);

/** How many bytes each entry may take, compressed. */
const LARGEST = {
  "index.js": 3 * 1024,
  "sse.js": 1536,
  "pusher.js": 5 * 1024,
  "echo.js": 512,
  "react.js": 1024,
  "vue.js": 1024,
  "pusher-recovery.js": 1536,
  "umd/pusher-recovery.js": 1536,
};

test("dist/ is built from src/", async () => {
  const built = await files();
  const found = readdirSync(join(ROOT, "dist"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(ROOT.length + "dist/".length));
  assert.deepEqual(found.sort(), Object.keys(built).sort(), "run `npm run build` in clients/js");
  for (const [name, text] of Object.entries(built)) {
    assert.equal(readFileSync(join(ROOT, "dist", name), "utf8"), text, `dist/${name} is out of date: run \`npm run build\` in clients/js`);
  }
});

test("every entry is small", (context) => {
  for (const [name, most] of Object.entries(LARGEST)) {
    const { length } = gzipSync(readFileSync(join(ROOT, "dist", name)), { level: 9 });
    context.diagnostic(`${name}: ${length} of ${most} bytes`);
    assert.ok(length <= most, `dist/${name} has ${length} bytes`);
  }
});

test("Laravel Echo with the connector takes 15 KB less of a page than with pusher-js", async (context) => {
  const options = "key: env.KEY, wsHost: env.HOST, wsPort: env.PORT, wssPort: env.PORT, forceTLS: true";
  const size = async (contents) => {
    const { outputFiles } = await build({
      stdin: { contents: `import Echo from "laravel-echo";\n${contents}`, resolveDir: ROOT },
      bundle: true,
      minify: true,
      write: false,
      format: "esm",
      target: "es2020", // which many pages still are built for
    });
    return gzipSync(outputFiles[0].contents, { level: 9 }).length;
  };
  const before = await size(`import Pusher from "pusher-js";
    window.Pusher = Pusher;
    window.Echo = new Echo({ broadcaster: "reverb", ${options}, enabledTransports: ["ws", "wss"] });`);
  const after = await size(`import YamabikoConnector from "@yamabiko/client/echo";
    window.Echo = new Echo({ broadcaster: YamabikoConnector, ${options} });`);
  context.diagnostic(`${before} bytes with pusher-js, ${after} with the connector`);
  assert.ok(before - after >= 15_000, `${before} - ${after} = ${before - after} bytes`);
});

test("publint finds nothing", async () => {
  const { messages } = await publint({ pkgDir: ROOT, strict: true });
  assert.deepEqual(messages, []);
});

test("the types resolve in every module system", async () => {
  // The package is ESM: `require` of it is an error that is meant.
  const attw = join(ROOT, "node_modules/@arethetypeswrong/cli/dist/index.js");
  await run(process.execPath, [attw, "--pack", ROOT, "--profile", "esm-only"], { cwd: ROOT }).catch(output);
});

test("the types promise what the documentation says", async () => {
  await run(process.execPath, [join(ROOT, "node_modules/typescript/bin/tsc"), "-p", join(ROOT, "test/types")]).catch(output);
});

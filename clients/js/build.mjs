// Writes dist/ from src/. `node build.mjs` after a change; a test compares.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const ROOT = dirname(fileURLToPath(import.meta.url));
const { name, version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));

/** Names that are neither on the wire nor in an interface. */
const INTERNAL = /^(_.*|address|receive|failures|probe|changed|ready|check|drop|resume|answer|settle|sentAt|isInFlight|isRepeatable|opened|heard|ended|connectionGuard|follow|sign|handle|isNew|isReused)$/;

const ENTRIES = [
  { entry: "index", mangleProps: INTERNAL },
  { entry: "sse", mangleProps: INTERNAL },
  { entry: "pusher", mangleProps: INTERNAL },
  { entry: "echo", external: ["laravel-echo", "./pusher.js"] },
  { entry: "react", external: ["react", "./index.js"] },
  { entry: "vue", external: ["vue", "./index.js"] },
  { entry: "pusher-recovery" },
  {
    entry: "pusher-recovery",
    file: "umd/pusher-recovery.js",
    format: "iife",
    globalName: "made",
    banner: `(function (root, make) {
typeof define === "function" && define.amd ? define(make) : typeof module === "object" ? (module.exports = make()) : (root.PusherRecovery = make());
})(this, function () {`,
    footer: { js: "return made.default;\n});" },
  },
];

/** What a CommonJS module has beside it. */
const UMD = {
  "umd/package.json": '{ "type": "commonjs" }\n',
  "umd/pusher-recovery.d.ts": `declare namespace recovery {
  /** A position of a channel, from a frame or from the HTTP API. */
  type Position = string;

  interface Recovering {
    /** The next subscription to the channel starts after this position. */
    startFrom(channel: string, position: Position): void;
  }
}

/** A Pusher class whose instances get every message of channels with a history exactly once. */
declare function recovery<P extends new (...options: any[]) => any>(
  Pusher: P,
  positions?: Record<string, recovery.Position>,
): (new (...options: ConstructorParameters<P>) => InstanceType<P> & recovery.Recovering) & P;

export = recovery;
`,
};

/** The files of dist/ by name. */
export async function files() {
  const found = { ...UMD };
  for (const { entry, file = `${entry}.js`, banner = "", ...options } of ENTRIES) {
    const { outputFiles } = await build({
      absWorkingDir: ROOT,
      entryPoints: [`src/${entry}.ts`],
      bundle: true,
      minify: true,
      format: "esm",
      target: "es2022",
      write: false,
      legalComments: "none",
      banner: { js: `/* ${name} ${version}, MIT */\n${banner}`.trim() },
      ...options,
    });
    found[file] = outputFiles[0].text;
  }
  const types = mkdtempSync(join(tmpdir(), "yamabiko-types-"));
  try {
    const tsc = join(ROOT, "node_modules/typescript/bin/tsc");
    execFileSync(process.execPath, [tsc, "-p", ROOT, "--emitDeclarationOnly", "--outDir", types], { stdio: ["ignore", 2, 2] });
    for (const file of readdirSync(types)) found[file] = readFileSync(join(types, file), "utf8");
  } finally {
    rmSync(types, { recursive: true });
  }
  return found;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  rmSync(join(ROOT, "dist"), { recursive: true, force: true });
  for (const [name, text] of Object.entries(await files())) {
    mkdirSync(dirname(join(ROOT, "dist", name)), { recursive: true });
    writeFileSync(join(ROOT, "dist", name), text);
  }
}

// Writes the module and the script from source.mjs, without comments and indentation.

import { readFileSync, writeFileSync } from "node:fs";

const read = (name) => readFileSync(new URL(name, import.meta.url), "utf8");
const { version } = JSON.parse(read("package.json"));
const banner = `/* yamabiko-pusher-recovery ${version}, MIT */\n`;

const code = read("source.mjs")
  .split("\n")
  .map((line) => line.trim())
  .filter((line) => line && !line.startsWith("//"))
  .join("\n");
const script = code.replace("export default function recovery", "return function recovery");

export const files = {
  "pusher-recovery.mjs": `${banner}${code}\n`,
  "pusher-recovery.js": `${banner}(function (root, make) {
typeof define === "function" && define.amd ? define(make) : typeof module === "object" ? (module.exports = make()) : (root.PusherRecovery = make());
})(this, function () {
${script}
});
`,
};

if (process.argv[1] === new URL(import.meta.url).pathname)
  for (const [name, text] of Object.entries(files)) writeFileSync(new URL(name, import.meta.url), text);

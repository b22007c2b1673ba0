// The code to paste, as it stands in docs/snippets.

import { onLanguage, text, unwrite, write } from "./texts.js";

const SNIPPETS = [
  { key: "snippetBrowser", file: "browser.js" },
  { key: "snippetToken", file: "token.php" },
  { key: "snippetPublish", file: "publish.php" },
  { key: "snippetProgress", file: "progress.php" },
  { key: "snippetEchoEnv", file: "echo.env" },
  { key: "snippetEchoPage", file: "laravel-echo.js" },
  { key: "snippetBroadcast", file: "broadcast.php" },
  { key: "snippetShell", file: "command-line.sh" },
];
const COPIED_MS = 1_500;
const sources = new Map();
const $ = (id) => document.getElementById(id);

export function startSnippets() {
  const tabs = SNIPPETS.map(({ file }, index) => {
    const tab = document.createElement("button");
    tab.type = "button";
    tab.id = `tab-${index}`;
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", "snippet");
    tab.addEventListener("click", () => choose(index));
    tab.addEventListener("keydown", ({ key }) => {
      const last = SNIPPETS.length - 1;
      const next = { ArrowRight: index === last ? 0 : index + 1, ArrowLeft: index === 0 ? last : index - 1, Home: 0, End: last }[key];
      if (next === undefined) return;
      choose(next);
      tabs[next].focus();
    });
    tab.dataset.file = file;
    return tab;
  });

  async function choose(chosen) {
    tabs.forEach((tab, index) => {
      tab.setAttribute("aria-selected", String(index === chosen));
      tab.tabIndex = index === chosen ? 0 : -1;
    });
    $("snippet").setAttribute("aria-labelledby", tabs[chosen].id);
    labelCopy("copy");
    const source = await load(SNIPPETS[chosen].file);
    if (tabs[chosen].getAttribute("aria-selected") !== "true") return;
    // What cannot be shown must not leave another tab's code to be copied.
    $("copy").disabled = source === undefined;
    if (source === undefined) write($("code"), () => text("noServer"));
    else highlight(source);
  }

  let copied;
  function labelCopy(key) {
    clearTimeout(copied);
    write($("copy"), () => text(key));
    if (key !== "copy") copied = setTimeout(() => labelCopy("copy"), COPIED_MS);
  }

  $("tabs").append(...tabs);
  $("copy").addEventListener("click", async () => {
    labelCopy((await copy($("code").textContent)) ? "copied" : "notCopied");
  });
  onLanguage(() => {
    tabs.forEach((tab, index) => { tab.textContent = text(SNIPPETS[index].key); });
  });
  choose(0);
}

/** The file's text; nothing while the server is away. */
async function load(file) {
  if (!sources.has(file)) {
    const answer = await fetch(`/console/assets/${file}`).catch(() => undefined);
    if (!answer?.ok) return undefined;
    sources.set(file, await answer.text());
  }
  return sources.get(file);
}

// Comments are dimmed and strings tinted; every piece goes in as text.
function highlight(source) {
  const pieces = source.trimEnd().split(/((?:^|(?<=\s))(?:\/\/|#).*$|"[^"\n]*"|'[^'\n]*'|`[^`\n]*`)/m);
  const nodes = pieces.map((piece) => {
    const kind = /^(\/\/|#)/.test(piece) ? "comment" : /^["'`]/.test(piece) ? "string" : "";
    if (!kind) return document.createTextNode(piece);
    const span = document.createElement("span");
    span.className = kind;
    span.textContent = piece;
    return span;
  });
  unwrite($("code"));
  $("code").replaceChildren(...nodes);
}

async function copy(words) {
  try {
    await navigator.clipboard.writeText(words);
    return true;
  } catch {
    getSelection().selectAllChildren($("code"));
    return document.execCommand("copy");
  }
}

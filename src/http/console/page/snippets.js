// The code to paste, as it stands in docs/snippets.

import { onLanguage, text } from "./texts.js";

const SNIPPETS = [
  { key: "snippetBrowser", file: "browser.js" },
  { key: "snippetToken", file: "token.php" },
  { key: "snippetPublish", file: "publish.php" },
  { key: "snippetShell", file: "command-line.sh" },
];
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
      const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
      if (!step) return;
      const next = (index + step + SNIPPETS.length) % SNIPPETS.length;
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
    const { file } = SNIPPETS[chosen];
    try {
      const answer = await fetch(`/console/assets/${file}`);
      if (answer.ok && tabs[chosen].ariaSelected === "true") highlight(await answer.text());
    } catch {
      // The server is away; the cards say so. What is shown stays.
    }
  }

  $("tabs").append(...tabs);
  $("copy").addEventListener("click", async () => {
    await copy($("code").textContent);
    $("copy").textContent = text("copied");
    setTimeout(() => { $("copy").textContent = text("copy"); }, 1_500);
  });
  onLanguage(() => {
    tabs.forEach((tab, index) => { tab.textContent = text(SNIPPETS[index].key); });
    $("copy").textContent = text("copy");
  });
  choose(0);
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
  $("code").replaceChildren(...nodes);
}

async function copy(words) {
  try {
    await navigator.clipboard.writeText(words);
  } catch {
    getSelection().selectAllChildren($("code"));
    document.execCommand("copy");
  }
}

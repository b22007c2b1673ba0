// Shows docs/troubleshooting.md. It knows as much of Markdown as that page uses: headings, paragraphs, lists, tables, code
// and links. Everything goes in as text.

const BLOCK = /^(#{1,3} |\* |\| | {4}|$)/;
const INLINE = /(`[^`]+`|\*\*[^*]+\*\*|\*[^*\s][^*]*\*|\[[^\]]+\]\([^)]+\))/;

const answer = await fetch("/console/assets/troubleshooting.md");
document.getElementById("guide").append(...blocks((await answer.text()).split("\n")));
// The headings were not there yet when the browser looked for the one of the address.
if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();

function blocks(lines) {
  const found = [];
  while (lines.length > 0) {
    const line = lines[0];
    if (line === "") lines.shift();
    else if (line.startsWith("#")) found.push(heading(lines.shift()));
    else if (line.startsWith("| ")) found.push(table(take(lines, (next) => next.startsWith("|"))));
    else if (line.startsWith("* ")) found.push(list(take(lines, (next) => /^(\* | {2})/.test(next))));
    else if (line.startsWith("    ")) found.push(code(take(lines, (next) => next.startsWith("    "))));
    else found.push(element("p", ...inline([lines.shift(), ...take(lines, (next) => !BLOCK.test(next))].join(" "))));
  }
  return found;
}

/** Takes the lines off the front that belong together. */
function take(lines, belongs) {
  const end = lines.findIndex((line) => !belongs(line));
  return lines.splice(0, end < 0 ? lines.length : end);
}

function heading(line) {
  const [, marks, words] = /^(#+) (.*)$/.exec(line);
  const node = element(`h${marks.length}`, ...inline(words));
  // As GitHub makes them.
  node.id = node.textContent.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-");
  return node;
}

function list(lines) {
  const items = [];
  for (const line of lines) {
    if (line.startsWith("* ")) items.push(line.slice(2));
    else items.push(`${items.pop()} ${line.trim()}`);
  }
  return element("ul", ...items.map((item) => element("li", ...inline(item))));
}

function table(lines) {
  const [head, , ...rows] = lines.map((line) => line.replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim()));
  const row = (kind) => (cells) => element("tr", ...cells.map((cell) => element(kind, ...inline(cell))));
  const node = element("div", element("table", element("thead", row("th")(head)), element("tbody", ...rows.map(row("td")))));
  node.className = "table";
  return node;
}

function code(lines) {
  const node = element("pre", element("code", lines.map((line) => line.slice(4)).join("\n")));
  node.tabIndex = 0;
  return node;
}

function inline(words) {
  return words.split(INLINE).filter(Boolean).map((piece) => {
    const link = /^\[([^\]]+)\]\(([^)]+)\)$/.exec(piece);
    if (link) {
      // The other documents are not served here.
      if (!link[2].startsWith("#")) return element("span", ...inline(link[1]));
      const anchor = element("a", ...inline(link[1]));
      anchor.href = link[2];
      return anchor;
    }
    if (/^`.+`$/.test(piece)) return element("code", piece.slice(1, -1));
    if (/^\*\*.+\*\*$/.test(piece)) return element("strong", ...inline(piece.slice(2, -2)));
    if (/^\*.+\*$/.test(piece)) return element("em", ...inline(piece.slice(1, -1)));
    return piece;
  });
}

function element(name, ...children) {
  const node = document.createElement(name);
  node.append(...children);
  return node;
}

// A token of the application: whether this server accepts it, and what it contains.

import { explain, post } from "./api.js";
import { text, write } from "./texts.js";

const UNITS = [["days", 86_400], ["hours", 3_600], ["minutes", 60], ["seconds", 1]];
const $ = (id) => document.getElementById(id);

export function startCheck() {
  $("check").addEventListener("submit", async (event) => {
    event.preventDefault();
    const token = tokenIn($("check").elements.namedItem("token").value);
    const contents = decode(token);
    let verdict;
    try {
      verdict = await post("token/check", { token });
    } catch (error) {
      return show({ why: () => explain(error) }, contents);
    }
    if (verdict.ok) return show({ ok: true, result: () => text("valid") }, contents);
    const { code, message } = verdict.error;
    show({ result: () => code, why: () => text(`refused_${code}`), said: message }, contents);
  });
  $("check").addEventListener("input", () => { $("checked").hidden = true; });
}

/** The token in what was pasted: alone, in quotes, in the header of a request or in the address of a socket. */
export function tokenIn(pasted) {
  const words = pasted.trim().replace(/^["'`]|["'`;,]+$/g, "");
  const query = /[?&]token=([^&#\s"']*)/.exec(words)?.[1];
  if (query === undefined) return words.replace(/^(authorization:\s*)?bearer\s+/i, "");
  try {
    return decodeURIComponent(query);
  } catch {
    return query;
  }
}

/** The header and the payload as texts, and `exp`; nothing where they cannot be read. They do not leave this page. */
function decode(token) {
  try {
    const [header, payload] = token.split(".").slice(0, 2).map((part) => {
      const bytes = Uint8Array.from(atob(part.replaceAll("-", "+").replaceAll("_", "/")), (sign) => sign.charCodeAt(0));
      return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    });
    return { parts: [header, payload], exp: JSON.parse(payload).exp };
  } catch {
    return undefined;
  }
}

function show({ ok = false, result = () => "", why = () => "", said = "" }, contents) {
  $("check-result").dataset.ok = String(ok);
  write($("check-result"), result);
  write($("check-why"), why);
  $("check-said").textContent = said;
  $("check-claims").hidden = !contents;
  $("check-payload").textContent = contents?.parts.join("\n") ?? "";
  const checked = Date.now() / 1_000;
  write($("check-expiry"), () => (Number.isFinite(contents?.exp) ? expiry(contents.exp - checked) : ""));
  $("checked").hidden = false;
}

function expiry(seconds) {
  const span = Math.floor(Math.abs(seconds));
  const [unit, length] = UNITS.find(([, length]) => span >= length) ?? UNITS.at(-1);
  return text(seconds > 0 ? "expiresIn" : "expiredAgo", { time: text(unit, { count: Math.floor(span / length) }) });
}

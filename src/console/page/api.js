// The console's own endpoints.

import { text } from "./texts.js";

/** The server refused the request. `temporary` says whether the same request may succeed later. */
export class Refused extends Error {
  constructor(status, { code, message = `HTTP ${status}` } = {}) {
    super(code ? `${code}: ${message}` : message);
    this.temporary = status === 429 || status >= 500;
  }
}

/** The server did not answer. */
export class Unreachable extends Error {}

/** POSTs `body`. Fails with `Refused` or `Unreachable`. */
export async function post(path, body) {
  const request = {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: typeof body === "string" ? body : JSON.stringify(body),
  };
  const answer = await fetch(`/console/${path}`, request).catch(() => {
    throw new Unreachable();
  });
  const result = await answer.json().catch(() => undefined);
  if (!answer.ok || !result) throw new Refused(answer.status, result?.error);
  return result;
}

/** What went wrong, in the language of the page. */
export function explain(error) {
  return error instanceof Unreachable ? text("noServer") : error.message;
}

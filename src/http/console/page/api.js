// The console's own endpoints.

/** POSTs `body`. Fails with an Error whose message is what the server said. */
export async function post(path, body) {
  const answer = await fetch(`/console/${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  const result = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(result.error?.code, result.error?.message ?? `HTTP ${answer.status}`);
  return result;
}

export class Refused extends Error {
  constructor(code, message) {
    super(code ? `${code}: ${message}` : message);
    this.code = code;
  }
}

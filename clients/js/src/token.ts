import type { Credentials, TokenSource } from "./types.js";

/** What a token says about its connection. Only the server verifies it. */
export interface Claims {
  id?: number | string;
  name?: string;
  channel?: string;
  exp?: number;
  iat?: number;
}

export class TokenError extends Error {
  override name = "TokenError";
  /** The HTTP status with which the application answered. */
  declare readonly status: number | undefined;
  constructor(message: string, status?: number) {
    super(message);
    Object.assign(this, { status });
  }
}

/** Asks the application. With `Accept`, Laravel answers 401 to a guest instead of redirecting to its login page. */
export async function askForToken(source: TokenSource): Promise<Credentials> {
  let answer: unknown =
    typeof source === "string" ? await fetch(source, { headers: { Accept: "application/json" } }) : await source();
  if (answer instanceof Response) {
    if (!answer.ok) throw new TokenError(`no token: the application answered ${answer.status}`, answer.status);
    answer = await answer.json();
  }
  const { url, token } = (typeof answer === "string" ? { token: answer } : answer ?? {}) as Partial<Credentials>;
  if (!token) throw new TokenError("no token: the application's answer must have a `token`");
  return { url, token };
}

export function claimsOf(token: string): Claims {
  try {
    const payload = token.split(".")[1]!.replaceAll("-", "+").replaceAll("_", "/");
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(payload), (sign) => sign.charCodeAt(0)))) as Claims;
  } catch {
    return {};
  }
}

/** How long to wait before asking for the next token: until a minute before this one expires, by the application's clock. */
export function renewalDelay({ exp, iat = Date.now() / 1000 }: Claims): number | undefined {
  if (!exp) return undefined;
  const lifetime = (exp - iat) * 1000;
  return Math.max(lifetime / 2, lifetime - 60_000);
}

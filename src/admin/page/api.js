// The API, with the key of this session. The key is kept as long as the tab, and sent in a header only.

const BASE = new URL("../../api/v1/", import.meta.url);
const STORED = "yamabiko.key";

/** What the API has answered instead of what was asked for. `status` is 0 if there was no answer. */
export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** Who has signed in: the `name` of the key, its `scopes`, the `apps`, the `node` that answers and its `version`. */
export let session = null;

export const may = (scope) => session?.scopes.includes(scope) ?? false;

let secret = stored();

/** Asks who the key belongs to. Without `key`, with the one of before. */
export async function signIn(key) {
  if (key !== undefined) secret = key;
  session = await get("key");
  keep(secret);
  return session;
}

export function signOut() {
  session = null;
  secret = "";
  keep("");
}

export const get = (path, query, signal) => request(path, { query, signal });
export const post = (path, body) => request(path, { method: "POST", body });
export const put = (path, body) => request(path, { method: "PUT", body });
export const remove = (path, body) => request(path, { method: "DELETE", body });

/** The path of a resource, from its parts. */
export const path = (...parts) => parts.map(encodeURIComponent).join("/");

/** The response to a request that was accepted. */
export async function open(path, { method = "GET", query = {}, body, signal } = {}) {
  const url = new URL(path, BASE);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null) url.searchParams.set(name, value);
  }
  const headers = {};
  if (secret) headers.Authorization = `Bearer ${secret}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(url, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "unreachable", error.message);
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  const error = new ApiError(response.status, problem.code ?? "", problem.detail ?? problem.error?.message ?? `HTTP ${response.status}`);
  if (session && [401, 403].includes(error.status) && error.code !== "missing_scope") dispatchEvent(new CustomEvent("key-refused", { detail: error }));
  throw error;
}

async function request(path, options) {
  return (await open(path, options)).json();
}

function stored() {
  try {
    return sessionStorage.getItem(STORED) ?? "";
  } catch {
    return "";
  }
}

function keep(key) {
  try {
    if (key) sessionStorage.setItem(STORED, key);
    else sessionStorage.removeItem(STORED);
  } catch {
    // Then the key is asked for again after a reload.
  }
}

// How pages ask the application for signatures, with the options of pusher-js.

import { parsed } from "./json.js";

export interface Signature {
  auth: string;
  channel_data?: string;
  shared_secret?: string;
  user_data?: string;
}

type Done = (error: unknown, data: Signature | null) => void;
type Params = Record<string, string>;

export interface AuthRequest {
  endpoint?: string | undefined;
  headers?: Params;
  params?: Params;
  headersProvider?: () => Params;
  paramsProvider?: () => Params;
  customHandler?: (request: { socketId: string; channelName: string | undefined }, done: Done) => void;
}

export interface AuthOptions {
  authEndpoint?: string;
  auth?: { headers?: Params; params?: Params };
  authorizer?: (channel: any, options: object) => { authorize(socketId: string, done: Done): void };
  channelAuthorization?: AuthRequest;
  userAuthentication?: AuthRequest;
}

/** What pusher-js tells of an error. */
export function described(error: unknown): object {
  const { message, status } = error as { message?: string; status?: number };
  return { type: "AuthError", error: message ?? String(error), status };
}

export const lacking = (key: string) => new Error(`a signature without ${key}`);

/** Asks for the signature of a channel, or of the user. */
export function askForSignature(options: AuthOptions, socketId: string, channel?: { name: string }): Promise<Signature> {
  const request: AuthRequest = channel
    ? (options.channelAuthorization ?? { endpoint: options.authEndpoint, ...options.auth })
    : { endpoint: "/pusher/user-auth", ...options.userAuthentication };
  const { customHandler } = request;
  return new Promise((resolve, reject) => {
    const done: Done = (error, data) => (error || !data ? reject(error ?? lacking("auth")) : resolve(data));
    if (customHandler) customHandler({ socketId, channelName: channel?.name }, done);
    else if (channel && options.authorizer) options.authorizer(channel, options).authorize(socketId, done);
    else post(request, { socket_id: socketId, ...(channel && { channel_name: channel.name }) }).then(resolve, reject);
  });
}

async function post(request: AuthRequest, about: Params): Promise<Signature> {
  const { endpoint = "/pusher/auth" } = request;
  const answer = await fetch(endpoint, {
    method: "POST",
    headers: { ...request.headers, ...request.headersProvider?.() },
    body: new URLSearchParams({ ...about, ...request.params, ...request.paramsProvider?.() }),
  });
  const { status } = answer;
  const signature = parsed(await answer.text());
  if (status !== 200 || !signature?.auth) throw Object.assign(new Error(`${endpoint} answered ${status} without a signature`), { status });
  return signature;
}

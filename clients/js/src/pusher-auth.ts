// How pages ask the application for signatures, with the options of pusher-js.

export interface Signature {
  auth: string;
  channel_data?: string;
  shared_secret?: string;
  user_data?: string;
}

type Done = (error: unknown, data: Signature | null) => void;
type Params = Record<string, string>;

export interface AuthRequest {
  endpoint?: string;
  headers?: Params;
  params?: Params;
  headersProvider?: () => Params;
  paramsProvider?: () => Params;
  customHandler?: (request: { socketId: string; channelName: string }, done: Done) => void;
}

export interface AuthOptions {
  authEndpoint?: string;
  auth?: { headers?: Params; params?: Params };
  authorizer?: (channel: any, options: object) => { authorize(socketId: string, done: Done): void };
  channelAuthorization?: AuthRequest;
  userAuthentication?: AuthRequest;
}

export class AuthError extends Error {
  declare readonly status: number;
  constructor(message: string, status: number) {
    super(message);
    Object.assign(this, { status });
  }
}

/** What pusher-js tells of an error. */
export function described(error: unknown): object {
  const { message, status } = error as { message?: string; status?: number };
  return { type: "AuthError", error: message ?? String(error), ...(status && { status }) };
}

/** Asks for the signature of a channel, or of the user. */
export function askForSignature(options: AuthOptions, socketId: string, channel?: { name: string }): Promise<Signature> {
  const { endpoint, customHandler, ...request }: AuthRequest = channel
    ? (options.channelAuthorization ?? { endpoint: options.authEndpoint ?? "/pusher/auth", ...options.auth })
    : { endpoint: "/pusher/user-auth", ...options.userAuthentication };
  const { authorizer } = options;
  if (!customHandler && !(channel && authorizer)) return post(endpoint ?? "/pusher/auth", socketId, channel?.name, request);
  return new Promise((resolve, reject) => {
    const done: Done = (error, data) => (error || !data ? reject(error ?? new Error("no signature")) : resolve(data));
    if (customHandler) customHandler({ socketId, channelName: channel?.name ?? "" }, done);
    else authorizer!(channel, options).authorize(socketId, done);
  });
}

async function post(endpoint: string, socketId: string, channel: string | undefined, request: AuthRequest): Promise<Signature> {
  const { headers, params, headersProvider, paramsProvider } = request;
  const answer = await fetch(endpoint, {
    method: "POST",
    headers: { "Content-Type": "application/x-www-form-urlencoded", ...headers, ...headersProvider?.() },
    body: String(
      new URLSearchParams({ socket_id: socketId, ...(channel && { channel_name: channel }), ...params, ...paramsProvider?.() }),
    ),
  });
  if (answer.status !== 200) throw new AuthError(`${endpoint} answered ${answer.status}`, answer.status);
  const text = await answer.text();
  try {
    return JSON.parse(text) as Signature;
  } catch {
    throw new AuthError(`${endpoint} did not answer with JSON`, 200);
  }
}

export { connect } from "./connect.js";
export type { State, StateDetail } from "./link.js";
export { SendError, type SendErrorCode } from "./outbox.js";
export { TokenError } from "./token.js";
export type { Connection, ConnectionEvents, ConnectOptions, Credentials, DataOf, Kinds, Message, Outgoing, SendOptions, TokenSource, User, } from "./types.js";

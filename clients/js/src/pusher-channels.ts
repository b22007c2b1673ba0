// The channels of the Pusher protocol, as pusher-js has them.

import { Dispatcher } from "./dispatcher.js";
import { parsed } from "./json.js";
import type { PusherFrame } from "./positions.js";
import { described, lacking, type Signature } from "./pusher-auth.js";
import type { Pusher } from "./pusher.js";

export const isEncrypted = (name: string) => name.startsWith("private-encrypted-");

export class Channel extends Dispatcher {
  subscribed = false;
  subscriptionPending = false;
  subscriptionCount: number | null = null;

  constructor(
    readonly name: string,
    readonly pusher: Pusher,
  ) {
    super();
  }

  /** Sends a client event. */
  trigger(event: string, data: unknown): boolean {
    if (!event.startsWith("client-") || isEncrypted(this.name)) throw new Error(`"${event}" is not a client event of ${this.name}`);
    return this.pusher.send_event(event, data, this.name);
  }

  async subscribe(): Promise<void> {
    if (this.subscribed) return;
    this.subscriptionPending = true;
    const isCurrent = this.pusher.connectionGuard(this);
    try {
      const { auth, channel_data } = await this.sign();
      if (!isCurrent()) return;
      const since = this.pusher.session.last[this.name];
      this.pusher.send_event("pusher:subscribe", { channel: this.name, auth, channel_data, since });
    } catch (error) {
      if (!isCurrent()) return;
      this.subscriptionPending = false;
      this.emit("pusher:subscription_error", described(error));
    }
  }

  unsubscribe(): void {
    this.pusher.unsubscribe(this.name);
  }

  /** The connection has gone. */
  disconnect(): void {
    this.subscribed = this.subscriptionPending = false;
  }

  /** What a subscription is signed with. */
  protected async sign(): Promise<Signature> {
    return { auth: "" };
  }

  handle({ event, data, user_id }: PusherFrame): void {
    const [, internal] = event.split("pusher_internal:");
    if (!internal) return void this.emit(event, data, user_id ? { user_id } : {});
    const value = this.follow(internal, data);
    if (value) this.emit("pusher:" + internal, value);
  }

  /** Follows an internal event. What it returns, the page gets as the data of the event. */
  protected follow(event: string, data: any): unknown {
    if (event === "subscription_succeeded") {
      this.subscriptionPending = false;
      this.subscribed = true;
      return data ?? {};
    }
    if (event !== "subscription_count") return;
    this.subscriptionCount = data.subscription_count;
    return data;
  }
}

export class PrivateChannel extends Channel {
  protected override sign(): Promise<Signature> {
    return this.pusher.sign(this);
  }
}

export interface Member {
  id: any;
  info: any;
}

export class Members {
  members: Record<string, any> = {};
  count = 0;
  myID: any = null;
  me: Member | null = null;

  get(id: any): Member | null {
    return Object.hasOwn(this.members, id) ? { id, info: this.members[id] } : null;
  }

  each(callback: (member: Member | null) => void): void {
    Object.keys(this.members).forEach((id) => callback(this.get(id)));
  }
}

export class PresenceChannel extends PrivateChannel {
  members = new Members();

  protected override async sign(): Promise<Signature> {
    const signature = await super.sign();
    // Without `channel_data`, the member is the user who has signed in.
    if (!signature.channel_data) await this.pusher.user.signinDonePromise;
    const me = signature.channel_data ? JSON.parse(signature.channel_data).user_id : this.pusher.user.user_data?.id;
    if (me === undefined) throw lacking("channel_data");
    this.members.myID = me;
    return signature;
  }

  override disconnect(): void {
    this.members = new Members();
    super.disconnect();
  }

  protected override follow(event: string, data: any): unknown {
    const { members } = this;
    const { presence, user_id: id, user_info: info } = data;
    const member = members.get(id);
    if (event === "member_added") {
      if (!member) members.count++;
      members.members[id] = info;
      return members.get(id);
    }
    if (event === "member_removed") {
      if (!member) return;
      members.count--;
      delete members.members[id];
      return member;
    }
    const value = super.follow(event, data);
    if (!presence) return value;
    members.members = presence.hash;
    members.count = presence.count;
    members.me = members.get(members.myID);
    return members;
  }
}

/** The parts of tweetnacl that encrypted channels need. */
export interface Nacl {
  secretbox: { open(box: Uint8Array, nonce: Uint8Array, key: Uint8Array): Uint8Array | null };
}

const bytes = (base64: string) => Uint8Array.from(atob(base64), (sign) => sign.charCodeAt(0));

export class EncryptedChannel extends PrivateChannel {
  private _key: Uint8Array | undefined;

  protected override async sign(): Promise<Signature> {
    const { shared_secret, ...signature } = await super.sign();
    if (!shared_secret) throw lacking("shared_secret");
    this._key = bytes(shared_secret);
    return signature;
  }

  override async handle(frame: PusherFrame): Promise<void> {
    const { event, data } = frame;
    if (/^(pusher|pusher_internal|yamabiko):/.test(event)) return super.handle(frame);
    const open = () => {
      const { ciphertext, nonce } = data ?? {};
      return this._key && ciphertext && nonce && this.pusher.config.nacl!.secretbox.open(bytes(ciphertext), bytes(nonce), this._key);
    };
    // Without success, perhaps there is a new key.
    const plain = open() || (await this.sign().then(open, () => undefined));
    if (plain) this.emit(event, parsed(new TextDecoder().decode(plain)));
    else this.pusher.connection.emit("error", { type: "DecryptionError", data: { event, channel: this.name } });
  }
}

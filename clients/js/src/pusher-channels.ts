// The channels of the Pusher protocol, as pusher-js has them.

import { Dispatcher } from "./dispatcher.js";
import { parsed } from "./json.js";
import type { PusherFrame } from "./positions.js";
import { described, type Signature } from "./pusher-auth.js";
import type { Pusher } from "./pusher.js";

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
    if (!event.startsWith("client-")) throw new Error(`Event '${event}' does not start with 'client-'`);
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

  handle({ event, data }: PusherFrame): void {
    if (event === "pusher_internal:subscription_succeeded") {
      this.subscriptionPending = false;
      this.subscribed = true;
      this.succeeded(data);
    } else if (event === "pusher_internal:subscription_count") {
      this.subscriptionCount = data.subscription_count;
      this.emit("pusher:subscription_count", data);
    } else if (!event.startsWith("pusher_internal:")) this.emit(event, data, {});
  }

  protected succeeded(data: unknown): void {
    this.emit("pusher:subscription_succeeded", data);
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
    for (const id of Object.keys(this.members)) callback(this.get(id));
  }
}

export class PresenceChannel extends PrivateChannel {
  members = new Members();

  protected override async sign(): Promise<Signature> {
    const signature = await super.sign();
    // Without `channel_data`, the member is the user who has signed in.
    if (!signature.channel_data) await this.pusher.user.signinDonePromise;
    const me = signature.channel_data ? JSON.parse(signature.channel_data).user_id : this.pusher.user.user_data?.id;
    if (me === undefined) throw new Error("Invalid auth response: no `channel_data`, and nobody is signed in");
    this.members.myID = me;
    return signature;
  }

  protected override succeeded({ presence }: { presence: { hash: Record<string, any>; count: number } }): void {
    const { members } = this;
    members.members = presence.hash;
    members.count = presence.count;
    members.me = members.get(members.myID);
    this.emit("pusher:subscription_succeeded", members);
  }

  override disconnect(): void {
    this.members = new Members();
    super.disconnect();
  }

  override handle(frame: PusherFrame): void {
    const { event, data, user_id } = frame;
    const { members } = this;
    if (event === "pusher_internal:member_added") {
      if (!members.get(data.user_id)) members.count++;
      members.members[data.user_id] = data.user_info;
      this.emit("pusher:member_added", members.get(data.user_id));
    } else if (event === "pusher_internal:member_removed") {
      const member = members.get(data.user_id);
      if (!member) return;
      delete members.members[data.user_id];
      members.count--;
      this.emit("pusher:member_removed", member);
    } else if (user_id) this.emit(event, data, { user_id });
    else super.handle(frame);
  }
}

/** The parts of tweetnacl that encrypted channels need. */
export interface Nacl {
  secretbox: { open(box: Uint8Array, nonce: Uint8Array, key: Uint8Array): Uint8Array | null };
}

const bytes = (base64: string) => Uint8Array.from(atob(base64), (sign) => sign.charCodeAt(0));

export class EncryptedChannel extends PrivateChannel {
  private _key: Uint8Array | undefined;
  private readonly _nacl: Nacl;

  constructor(name: string, pusher: Pusher, nacl: Nacl | undefined) {
    super(name, pusher);
    if (!nacl) throw new Error("Encrypted channels need the option `nacl`: tweetnacl");
    this._nacl = nacl;
  }

  override trigger(): boolean {
    throw new Error("Encrypted channels have no client events");
  }

  protected override async sign(): Promise<Signature> {
    const { shared_secret, ...signature } = await super.sign();
    if (!shared_secret) throw new Error(`No shared_secret key in auth payload for encrypted channel: ${this.name}`);
    this._key = bytes(shared_secret);
    return signature;
  }

  override handle(frame: PusherFrame): void {
    if (/^(pusher|pusher_internal|yamabiko):/.test(frame.event)) super.handle(frame);
    else void this._decrypt(frame);
  }

  private async _decrypt({ event, data }: PusherFrame): Promise<void> {
    const open = () => {
      const { ciphertext, nonce } = data ?? {};
      return this._key && ciphertext && nonce ? this._nacl.secretbox.open(bytes(ciphertext), bytes(nonce), this._key) : null;
    };
    let plain = open();
    if (!plain) {
      // Perhaps there is a new key.
      await this.sign().catch(() => {});
      plain = open();
    }
    if (!plain) return void this.pusher.connection.emit("error", { type: "DecryptionError", data: { event, channel: this.name } });
    this.emit(event, parsed(new TextDecoder().decode(plain)));
  }
}

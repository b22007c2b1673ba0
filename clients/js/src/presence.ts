// Who is on the channel, on kinds with `presence = true`.

import type { User } from "./types.js";

export interface Presence {
  list(): User[];
  /** Whether the frame was about presence. */
  receive(frame: Frame): boolean;
}

interface Frame {
  type: string;
  users?: User[];
  data?: { user?: User };
}

export function createPresence(self: () => User | undefined, emit: (event: "join" | "leave" | "users", user?: User) => void): Presence {
  let users: Map<string, User> | undefined;

  // "7" and 7 are the same user.
  const add = (known: Map<string, User>, user: User) => known.set(String(user.id), user);

  return {
    list: () => [...(users?.values() ?? [])],
    receive({ type, users: present, data }) {
      const user = data?.user;
      if (type === "connected" && present) {
        const before = users;
        const now = new Map<string, User>();
        for (const user of [self(), ...present]) if (user) add(now, user);
        users = now;
        // What has changed while the page was away.
        if (before) {
          for (const [id, user] of before) now.has(id) || emit("leave", user);
          for (const [id, user] of now) before.has(id) || emit("join", user);
        }
      } else if (type === "connectOther" && user) {
        users ??= new Map();
        const isNew = !users.has(String(user.id));
        add(users, user);
        if (isNew) emit("join", user);
      } else if (type === "disconnectOther" && user) {
        if (users?.delete(String(user.id))) emit("leave", user);
      } else return false;
      emit("users");
      return true;
    },
  };
}

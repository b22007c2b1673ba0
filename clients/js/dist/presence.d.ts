import type { User } from "./types.js";
export interface Presence {
    list(): User[];
    /** Whether the frame was about presence. */
    receive(frame: Frame): boolean;
}
interface Frame {
    type: string;
    users?: User[];
    data?: {
        user?: User;
    };
}
export declare function createPresence(self: () => User | undefined, emit: (event: "join" | "leave" | "users", user?: User) => void): Presence;
export {};

// Compiled, not run: what the hooks promise to components.

import { expectTypeOf } from "expect-type";
import { ref, type ShallowRef } from "vue";

import type { Message, State, User } from "@yamabiko/client";
import { useYamabiko as useInReact } from "@yamabiko/client/react";
import { useYamabiko as useInVue } from "@yamabiko/client/vue";

type Chat = { message: string; name?: string };

const react = useInReact<"chat">("chat:default", { keep: 10, onMessage: ({ data }) => expectTypeOf(data).toEqualTypeOf<Chat>() });
expectTypeOf(react.messages).toEqualTypeOf<Message<Chat>[]>();
expectTypeOf(react.state).toEqualTypeOf<State>();
expectTypeOf(react.users).toEqualTypeOf<User[]>();
expectTypeOf(react.send({ message: "Hello", target_user_id: 7 }, { ref: "r1" })).resolves.toBeVoid();
useInReact(null, { token: (channel) => `token of ${channel}`, onGap: () => {} });

const vue = useInVue<"chat">(() => "chat:default", { keep: 10, onMessage: ({ data }) => expectTypeOf(data).toEqualTypeOf<Chat>() });
expectTypeOf(vue.messages).toEqualTypeOf<Readonly<ShallowRef<Message<Chat>[]>>>();
expectTypeOf(vue.state.value).toEqualTypeOf<State>();
expectTypeOf(vue.users.value).toEqualTypeOf<User[]>();
expectTypeOf(vue.send({ message: "Hello" })).resolves.toBeVoid();
// @ts-expect-error: `message` is missing
void vue.send({});
// @ts-expect-error: the component does not change it
vue.state.value = "open";
useInVue(ref<string | null>(null));
useInVue("chat:default");

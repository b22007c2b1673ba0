// What `data` looks like on each kind of channel, as in docs/native.md.

/** The `data` with which `user` says `words` on `channel`. */
export function messageFor(channel, user, words, target) {
  const kind = channel.split(":", 1)[0];
  if (kind === "tweet") {
    const { id, name } = user;
    return { tweet: { id: Date.now(), content: words, created_at: new Date().toISOString(), user: { id, name } } };
  }
  if (kind === "progress") return { info: { type: "note", title: words, detail: {} } };
  return { message: words, name: user.name, ...(target && { target_user_id: target }) };
}

/** What Laravel would publish on `channel`, to start from. */
export function sampleFor(channel) {
  const application = { id: 0, name: "Laravel" };
  return JSON.stringify(messageFor(channel, application, "Hello from the application"), null, 2);
}

/** The readable text of a message, or the whole message if its shape is unknown. */
export function plainText(data) {
  if (typeof data?.message === "string") return data.message;
  if (typeof data?.tweet?.content === "string") return data.tweet.content;
  return JSON.stringify(data) ?? "";
}

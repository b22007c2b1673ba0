import { useYamabiko } from "@yamabiko/client/react";
import { useState } from "react";

// Channels and who may join them: routes/channels.php. Tokens: Route::yamabikoToken() in routes/web.php.
export default function YamabikoChat({ channel = "chat:default" }) {
  const { messages, state, send } = useYamabiko(channel);
  const [text, setText] = useState("");
  const [error, setError] = useState("");

  async function submit(event) {
    event.preventDefault();
    try {
      await send({ message: text });
      setText("");
      setError("");
    } catch (refusal) {
      setError(refusal.message);
    }
  }

  return (
    <section>
      <p role="status">{state}</p>
      <ol>
        {messages.map(({ sender, data }, index) => (
          <li key={index}>
            {sender.name}: {data.message}
          </li>
        ))}
      </ol>
      <form onSubmit={submit}>
        <input aria-label="Message" value={text} onChange={(event) => setText(event.target.value)} required />
        <button>Send</button>
      </form>
      <p role="alert">{error}</p>
    </section>
  );
}

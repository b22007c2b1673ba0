// npm install @yamabiko/client

import { connect } from "@yamabiko/client";
import { useEffect, useRef, useState } from "react";

export default function YamabikoChat({ channel = "chat:default" }) {
  const connection = useRef(null);
  const [messages, setMessages] = useState([]);
  const [text, setText] = useState("");

  useEffect(() => {
    const chat = connect(`/websocket/token?channel=${encodeURIComponent(channel)}`);
    connection.current = chat;
    chat.on("message", (message) => setMessages((shown) => [...shown, message]));
    return () => chat.close();
  }, [channel]);

  async function send(event) {
    event.preventDefault();
    await connection.current.send({ message: text, name: connection.current.user.name });
    setText("");
  }

  return (
    <section>
      <ol>
        {messages.map(({ sender, data }, index) => (
          <li key={index}>
            {sender.name}: {data.message}
          </li>
        ))}
      </ol>
      <form onSubmit={send}>
        <input aria-label="Message" value={text} onChange={(event) => setText(event.target.value)} required />
        <button>Send</button>
      </form>
    </section>
  );
}

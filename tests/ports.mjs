// Ports for servers that cannot say which one the kernel gave them, or that come back on the one they had.

import { once } from "node:events";
import { createServer } from "node:net";

// Below the ports that Linux gives to outgoing connections, which would otherwise take one while its server is away.
const FIRST = 10_000;
const END = 32_000;

/**
 * A port of 127.0.0.1 on which nobody listens, and which no other test is given until this process ends.
 * Its lease is a listener on the same port of 127.0.0.2; `tests/it/support/ports.rs` does the same.
 */
export async function ownPort() {
  for (;;) {
    const port = FIRST + Math.floor(Math.random() * (END - FIRST));
    const lease = await listen(port, "127.0.0.2");
    if (!lease) continue;
    const listener = await listen(port, "127.0.0.1");
    if (!listener) continue;
    listener.close();
    await once(listener, "close");
    return port;
  }
}

async function listen(port, host) {
  const listener = createServer().listen(port, host).unref();
  try {
    await once(listener, "listening");
    return listener;
  } catch {
    return undefined;
  }
}

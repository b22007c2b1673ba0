// Ports for servers that cannot say which one the kernel gave them, or that come back on the one they had.

import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer } from "node:net";

// Below the ports that Linux gives to outgoing connections, which would otherwise take one while its server is away.
const FIRST = 10_000;
const END = 32_000;

/**
 * A port of 127.0.0.1 on which nobody listens, and which no other test is given until this process ends.
 * Its lease is a UDP socket on the same port; `tests/it/support/ports.rs` does the same.
 */
export async function ownPort() {
  for (;;) {
    const port = FIRST + Math.floor(Math.random() * (END - FIRST));
    const lease = createSocket("udp4").unref();
    lease.bind({ port, address: "127.0.0.1", exclusive: true });
    if (!(await listens(lease))) continue;
    const listener = createServer().listen(port, "0.0.0.0");
    if (!(await listens(listener))) {
      lease.close();
      continue;
    }
    listener.close();
    await once(listener, "close");
    return port;
  }
}

function listens(socket) {
  return once(socket, "listening").then(() => true, () => false);
}

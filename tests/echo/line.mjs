// The line between pages and nodes.

import { once } from "node:events";
import { connect, createServer } from "node:net";

/** A proxy in front of nodes, whose connections the test cuts. */
export class Line {
  #sockets = new Set();
  static async to(...ports) {
    const line = new Line();
    line.ports = ports;
    line.server = createServer((page) => line.#carry(page)).listen(0, "127.0.0.1");
    await once(line.server, "listening");
    line.port = line.server.address().port;
    return line;
  }

  /** To the first node that answers. */
  #carry(page, ports = [...this.ports]) {
    const port = ports.shift();
    if (port === undefined) return page.destroy();
    const node = connect(port, "127.0.0.1");
    this.#sockets.add(page).add(node);
    node.on("connect", () => node.pipe(page) && page.pipe(node));
    const failed = () => (node.connecting || node.bytesRead === 0 ? this.#carry(page, ports) : page.destroy());
    node.once("error", failed);
    node.once("close", () => this.#sockets.delete(node) && page.end());
    page.on("error", () => node.destroy());
    page.on("close", () => this.#sockets.delete(page) && node.destroy());
  }

  /** Resets every connection. */
  cut() {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  stop() {
    this.cut();
    this.server.close();
  }
}

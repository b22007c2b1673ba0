// A TCP proxy between pages and nodes, whose connections a test cuts.

import { once } from "node:events";
import { connect, createServer } from "node:net";

export class Line {
  /** The connections of pages that carry data, and those to nodes. */
  #pages = new Set();
  #nodes = new Set();

  /** To the first of these ports that answers. */
  static async to(...ports) {
    const line = new Line();
    line.ports = ports;
    line.server = createServer((page) => line.#carry(page, [...ports])).listen(0, "127.0.0.1");
    await once(line.server, "listening");
    line.port = line.server.address().port;
    return line;
  }

  #carry(page, ports) {
    page.on("error", () => {});
    const port = ports.shift();
    if (port === undefined) return page.destroy();
    const node = connect(port, "127.0.0.1");
    node.on("connect", () => {
      this.#pages.add(page);
      this.#nodes.add(node);
      node.pipe(page).pipe(node);
    });
    node.on("error", () => node.connecting || node.bytesRead > 0 || this.#carry(page, ports));
    node.on("close", () => this.#nodes.delete(node) && page.end());
    page.on("close", () => this.#pages.delete(page) && node.destroy());
  }

  /** Resets every connection, and says how many pages had one. */
  cut() {
    const pages = this.#pages.size;
    for (const socket of [...this.#pages, ...this.#nodes]) socket.resetAndDestroy();
    return pages;
  }

  stop() {
    this.cut();
    this.server.close();
  }
}

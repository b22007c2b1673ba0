// An HTTP proxy that lets no WebSocket through, as those of some companies and hotels.

import { once } from "node:events";
import { createServer, request } from "node:http";
import { connect } from "node:net";
import { Transform } from "node:stream";

export class BlockingProxy {
  /** Whether WebSocket is blocked, and whether everything is. */
  blocks = true;
  isDown = false;
  /** Responses arrive byte by byte. */
  drips = false;
  /** What was asked for. */
  upgrades = 0;
  streams = 0;
  posts = 0;
  #sockets = new Set();

  static async to(port) {
    const proxy = new BlockingProxy();
    proxy.server = createServer((asked, answer) => proxy.#carry(port, asked, answer));
    proxy.server.on("upgrade", (asked, socket, head) => proxy.#upgrade(port, asked, socket, head));
    proxy.server.on("connection", (socket) => {
      socket.on("error", () => {});
      if (proxy.isDown) return socket.resetAndDestroy();
      proxy.#sockets.add(socket);
      socket.on("close", () => proxy.#sockets.delete(socket));
    });
    proxy.server.listen(0, "127.0.0.1");
    await once(proxy.server, "listening");
    proxy.port = proxy.server.address().port;
    return proxy;
  }

  #carry(port, { method, url, headers, ...asked }, answer) {
    if (method === "GET") this.streams++;
    if (method === "POST") this.posts++;
    const incoming = arguments[1];
    const node = request({ port, host: "127.0.0.1", method, path: url, headers }, (response) => {
      answer.writeHead(response.statusCode, response.headers);
      answer.flushHeaders();
      response.on("error", () => answer.destroy());
      (this.drips ? response.pipe(drip()) : response).pipe(answer);
    });
    node.on("error", () => answer.destroy());
    answer.on("close", () => node.destroy());
    incoming.pipe(node);
  }

  #upgrade(port, { method, url, rawHeaders }, socket, head) {
    this.upgrades++;
    socket.on("error", () => {});
    if (this.blocks) return socket.end("HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    const node = connect(port, "127.0.0.1", () => {
      const lines = rawHeaders.reduce((lines, text, n) => lines + text + (n % 2 ? "\r\n" : ": "), `${method} ${url} HTTP/1.1\r\n`);
      node.write(`${lines}\r\n`);
      node.write(head);
      node.pipe(socket).pipe(node);
    });
    node.on("error", () => socket.destroy());
    node.on("close", () => socket.destroy());
    socket.on("close", () => node.destroy());
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

function drip() {
  return new Transform({
    transform(chunk, _, done) {
      for (const byte of chunk) this.push(Buffer.of(byte));
      done();
    },
  });
}

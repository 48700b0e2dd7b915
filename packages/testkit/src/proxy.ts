import { connect, createServer, type Socket } from "node:net";

/** A TCP proxy on loopback between two parties, to be slow or to break at will. */
export interface Proxy {
  readonly address: string;
  /** Added to every piece, each way. */
  delayMs: number;
  /** Sees every piece, each way, as it is on the wire. */
  listener: ((piece: Buffer) => void) | null;
  /** Bytes carried so far, both ways. */
  readonly carried: number;
  /** Breaks every connection and refuses new ones until `mend`. */
  cut(): void;
  mend(): void;
  /** Breaks every connection once this many more bytes have gone through; new ones are accepted. */
  cutAfter(bytes: number): void;
  /** Lets each connection carry this many more bytes and then nothing, without breaking it, until `release`. */
  holdAfter(bytes: number): void;
  release(): void;
  stop(): Promise<void>;
}

/** Starts a proxy to `host:port`. */
export async function startProxy(target: string): Promise<Proxy> {
  const [host = "127.0.0.1", port = ""] = target.split(":");
  const sockets = new Set<Socket>();
  let refusing = false;
  let carried = 0;
  let cutAt = Infinity;
  let holdBytes = Infinity;
  const held = new Set<() => void>();
  const breakAll = () => {
    for (const socket of sockets) socket.destroy();
  };
  const proxy: { delayMs: number; listener: ((piece: Buffer) => void) | null } = { delayMs: 0, listener: null };
  const server = createServer((near) => {
    if (refusing) {
      near.destroy();
      return;
    }
    const far = connect({ host, port: Number(port) });
    let ownCarried = 0;
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on("error", () => {});
      from.on("close", () => {
        sockets.delete(from);
        to.destroy();
      });
      from.on("data", (piece) => {
        carried += piece.length;
        ownCarried += piece.length;
        proxy.listener?.(piece);
        if (carried >= cutAt) {
          cutAt = Infinity;
          breakAll();
          return;
        }
        if (ownCarried > holdBytes) {
          from.pause();
          held.add(() => {
            to.write(piece);
            from.resume();
          });
          return;
        }
        if (proxy.delayMs > 0) setTimeout(() => to.write(piece), proxy.delayMs);
        else if (!to.write(piece)) {
          from.pause();
          to.once("drain", () => from.resume());
        }
      });
      from.on("end", () => setTimeout(() => to.end(), proxy.delayMs));
    }
  });
  await new Promise<void>((resolve) => server.listen({ host: "127.0.0.1", port: 0 }, resolve));
  const own = server.address();
  if (typeof own !== "object" || !own) throw new Error("the proxy has no address");
  return {
    address: `127.0.0.1:${own.port}`,
    get delayMs() {
      return proxy.delayMs;
    },
    set delayMs(value: number) {
      proxy.delayMs = value;
    },
    get listener() {
      return proxy.listener;
    },
    set listener(value) {
      proxy.listener = value;
    },
    get carried() {
      return carried;
    },
    cut: () => {
      refusing = true;
      breakAll();
    },
    mend: () => {
      refusing = false;
    },
    cutAfter: (bytes) => {
      cutAt = carried + bytes;
    },
    holdAfter: (bytes) => {
      holdBytes = bytes;
    },
    release: () => {
      holdBytes = Infinity;
      for (const carry of held) carry();
      held.clear();
    },
    stop: () =>
      new Promise((resolve) => {
        breakAll();
        server.close(() => resolve());
      }),
  };
}

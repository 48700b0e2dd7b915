import { createServer } from "node:net";

/** A loopback port that is free now. Whoever uses it should do so at once: nothing reserves it. */
export function freePort(): Promise<number> {
  return probe(0).then((port) => {
    if (port === null) throw new Error("no loopback port is free");
    return port;
  });
}

/** True when nothing listens on this loopback port. */
export async function isPortFree(port: number): Promise<boolean> {
  return (await probe(port)) !== null;
}

function probe(port: number): Promise<number | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(null));
    server.listen({ host: "127.0.0.1", port, exclusive: true }, () => {
      const address = server.address();
      const chosen = typeof address === "object" && address ? address.port : null;
      server.close(() => resolve(chosen));
    });
  });
}

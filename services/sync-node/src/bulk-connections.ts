import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { BULK_MAGIC, TICKET_BYTES } from "@scoutsync/protocol";
import type { Speaker } from "@scoutsync/trust";

interface Awaited {
  /** Whose call it is. */
  member: string;
  take(socket: Socket): void;
}

/** Gives out tickets for bulk connections, and takes those connections that come with one. */
export class BulkConnections {
  readonly #awaited = new Map<string, Awaited>();
  readonly #speakerOf: (socket: Socket) => Pick<Speaker, "member" | "accuse">;

  /** `speakerOf` says who has opened a connection. */
  constructor(speakerOf: (socket: Socket) => Pick<Speaker, "member" | "accuse">) {
    this.#speakerOf = speakerOf;
  }

  /**
   * A ticket for the call of a member, good for one connection and until the signal aborts, or `waitMs` have passed. `opened` is
   * what `take` makes of the connection, null when nobody came.
   */
  offer<T>(
    { member, signal, waitMs = 0 }: { member: string; signal: AbortSignal; waitMs?: number },
    take: (socket: Socket) => T,
  ): { ticket: Buffer; opened: Promise<T | null> } {
    const ticket = randomBytes(TICKET_BYTES);
    const key = ticket.toString("hex");
    const opened = new Promise<T | null>((resolve) => {
      const done = (taken: T | null) => {
        clearTimeout(timer);
        signal.removeEventListener("abort", none);
        this.#awaited.delete(key);
        resolve(taken);
      };
      const none = () => done(null);
      const timer = waitMs > 0 ? setTimeout(none, waitMs) : undefined;
      signal.addEventListener("abort", none, { once: true });
      this.#awaited.set(key, { member, take: (socket) => done(take(socket)) });
    });
    return { ticket, opened };
  }

  /** Takes a connection of which nothing has been read that HTTP/2 would want. One without a good ticket is closed. */
  accept(socket: Socket): void {
    let came = Buffer.alloc(0);
    const read = () => {
      for (let more = socket.read() as Buffer | null; more; more = socket.read() as Buffer | null) came = Buffer.concat([came, more]);
      const whole = BULK_MAGIC.length + TICKET_BYTES;
      if (came.length < whole && BULK_MAGIC.subarray(0, came.length).equals(came.subarray(0, BULK_MAGIC.length))) return;
      socket.off("readable", read);
      const isBulk = came.subarray(0, BULK_MAGIC.length).equals(BULK_MAGIC);
      const known = isBulk ? this.#awaited.get(came.subarray(BULK_MAGIC.length).toString("hex")) : undefined;
      const speaker = this.#speakerOf(socket);
      // A ticket is its holder's: another member that got hold of it gets nothing for it.
      if (known && speaker.member === known.member) {
        socket.setTimeout(0);
        known.take(socket);
        return;
      }
      speaker.accuse("a connection that is no call, without a ticket of its own that is good now");
      socket.destroy();
    };
    socket.once("end", () => socket.destroy());
    socket.on("readable", read);
  }
}

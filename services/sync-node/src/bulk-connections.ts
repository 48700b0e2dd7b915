import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { givePiece, SyncError } from "@scoutsync/core";
import { BULK_MAGIC, frameHead, TICKET_BYTES, type BulkFrame } from "@scoutsync/protocol";
import { Wakeup } from "@scoutsync/session";
import type { Speaker } from "@scoutsync/trust";

/** A caller that was given a ticket has come with it by then, or does not come: the bytes then go through the call. */
const WAIT_MS = 15_000;
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

  /** A ticket for the call of a member, good for one connection and until the signal aborts. `opened` is null when nobody came. */
  offer(member: string, signal: AbortSignal): { ticket: Buffer; opened: Promise<BulkSender | null> } {
    const ticket = randomBytes(TICKET_BYTES);
    const key = ticket.toString("hex");
    const opened = new Promise<BulkSender | null>((resolve) => {
      const done = (sender: BulkSender | null) => {
        clearTimeout(timer);
        signal.removeEventListener("abort", none);
        this.#awaited.delete(key);
        resolve(sender);
      };
      const none = () => done(null);
      const timer = setTimeout(none, WAIT_MS);
      signal.addEventListener("abort", none, { once: true });
      this.#awaited.set(key, { member, take: (socket) => done(new BulkSender(socket, signal)) });
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

/** Frames on their way to the caller that opened the connection. */
export class BulkSender {
  readonly #socket: Socket;
  readonly #signal: AbortSignal;
  readonly #moved = new Wakeup();

  constructor(socket: Socket, signal: AbortSignal) {
    this.#socket = socket;
    this.#signal = signal;
    signal.addEventListener("abort", this.#cut, { once: true });
    socket.on("error", () => {});
    for (const event of ["drain", "close"] as const) socket.on(event, this.#moved.raise);
    // The end of the other side's half, whenever it comes, closes both.
    socket.resume();
  }

  /** The bytes are given away. Resolves when more may be sent. Throws where the caller has closed the connection, or its call is over. */
  async send(frame: BulkFrame): Promise<void> {
    const socket = this.#socket;
    socket.cork();
    socket.write(frameHead(frame));
    if ("bytes" in frame) {
      const { bytes } = frame;
      socket.write(bytes, () => givePiece(bytes));
    }
    socket.uncork();
    await this.#moved.until(() => !socket.writableNeedDrain || socket.destroyed, this.#signal);
    this.#signal.throwIfAborted();
    if (socket.destroyed) {
      throw new SyncError({
        code: "PEER_FAILED",
        message: "the caller closed the bulk connection before all had come",
        action: "Try again; what has come is kept.",
      });
    }
  }

  /** Says that this was all, and resolves when the caller has taken it and closes. */
  async finish(): Promise<void> {
    this.#socket.write(frameHead(null));
    await this.#moved.until(() => this.#socket.destroyed, this.#signal);
    this.#signal.throwIfAborted();
  }

  close(): void {
    this.#signal.removeEventListener("abort", this.#cut);
    this.#socket.destroy();
  }

  readonly #cut = (): void => void this.#socket.destroy();
}

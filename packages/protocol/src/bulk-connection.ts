import type { OnReadOpts, Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { BULK_MAGIC, FrameParser, noFrame, type BulkFrame } from "./bulk-frames.ts";
import { BulkSender } from "./bulk-ends.ts";

// The side that opens a bulk connection.

/** From so many bytes on a connection of their own is worth its opening. */
const BULK_FROM_BYTES = 8 * 1024 * 1024;
/** Frames that wait for whoever reads them; then the connection is not read on. */
const MAX_WAITING = 4;
/** A connection that is not there by then is not waited for, milliseconds. */
const CONNECT_MS = 10_000;

/** Opens a connection as a call's own was, with bytes read into memory of the reader's choice. Throws, or emits errors. */
export type BulkDial = (onread: OnReadOpts) => Socket;

/** Where a bulk connection could not be opened, none is asked for again. */
const without = new WeakSet<object>();

/** How to open a bulk connection for so many bytes beside the calls of a client; undefined where that is not worth it, or in vain. */
export function bulkDialOf(client: { readonly dialBulk?: BulkDial }, bytes = BULK_FROM_BYTES): BulkDial | undefined {
  return bytes < BULK_FROM_BYTES || without.has(client) ? undefined : client.dialBulk;
}

/** Somebody on the way lets only gRPC through. */
export function giveUpBulk(client: object): void {
  without.add(client);
}

/** Opens a connection and shows the ticket there. `over` is called when it is not there, or not any more, maybe more than once. */
function open(dial: BulkDial, ticket: Uint8Array, onread: OnReadOpts, over: () => void): Socket {
  const socket = dial(onread);
  const late = setTimeout(() => socket.destroy(), CONNECT_MS);
  const ended = () => {
    clearTimeout(late);
    over();
  };
  // Why it ended early is for the call to say.
  for (const event of ["error", "end", "close"] as const) socket.on(event, ended);
  // The ticket is shown to nobody before it is known who is there.
  socket.once(socket instanceof TLSSocket ? "secureConnect" : "connect", () => {
    clearTimeout(late);
    socket.write(Buffer.concat([BULK_MAGIC, ticket]));
  });
  socket.resume();
  return socket;
}

/** The frames of one bulk connection, on the side that opened it. */
export class BulkConnection {
  private readonly socket: Socket;
  private readonly frames: BulkFrame[] = [];
  private isComplete = false;
  private isOver = false;
  private failure: Error | null = null;
  private wake: () => void = () => {};

  /** Throws what `dial` throws. Nothing comes where the ticket is not, or no longer, taken. */
  constructor(dial: BulkDial, ticket: Uint8Array) {
    const parser = new FrameParser((frame) => {
      if (frame) this.frames.push(frame);
      else this.isComplete = true;
    });
    const callback = (bytes: number) => {
      try {
        parser.came(bytes);
      } catch (error) {
        this.failure = error instanceof Error ? error : new Error(String(error));
        this.socket.destroy();
      }
      this.wake();
      return this.frames.length < MAX_WAITING;
    };
    this.socket = open(dial, ticket, { buffer: () => parser.room(), callback }, () => {
      this.isOver = true;
      this.wake();
    });
  }

  /** The next frame; null after the last one, and where the connection ended early: then `complete` is false. Throws PEER_FAILED. */
  async next(): Promise<BulkFrame | null> {
    for (;;) {
      const frame = this.frames.shift();
      if (frame) {
        if (this.frames.length < MAX_WAITING) this.socket.resume();
        return frame;
      }
      if (this.failure) throw this.failure;
      if (this.isComplete || this.isOver) return null;
      await new Promise<void>((resolve) => (this.wake = resolve));
    }
  }

  /** The other side has said that this is all. */
  get complete(): boolean {
    return this.isComplete;
  }

  close(): void {
    this.socket.destroy();
  }
}

/** Opens a bulk connection to send on, until the signal aborts; null where the other side does not take the ticket. */
export async function dialBulkSender(dial: BulkDial, ticket: Uint8Array, signal?: AbortSignal): Promise<BulkSender | null> {
  return new Promise((resolve, reject) => {
    let socket: Socket | null = null;
    const close = () => socket?.destroy();
    const done = (sender: BulkSender | null) => {
      clearTimeout(late);
      signal?.removeEventListener("abort", close);
      if (!sender) close();
      resolve(sender);
    };
    const late = setTimeout(() => done(null), CONNECT_MS);
    let isTaken = false;
    const parser = new FrameParser((frame) => {
      // The other side says once that the ticket is taken, and nothing else.
      if (frame || isTaken) throw noFrame();
      isTaken = true;
      if (socket) done(new BulkSender(socket, signal));
    });
    const callback = (bytes: number) => {
      try {
        parser.came(bytes);
      } catch {
        close();
      }
      return true;
    };
    try {
      socket = open(dial, ticket, { buffer: () => parser.room(), callback }, () => done(null));
      signal?.addEventListener("abort", close, { once: true });
    } catch (error) {
      clearTimeout(late);
      reject(error);
    }
  });
}

import type { Socket } from "node:net";
import { givePiece, SyncError, Wakeup } from "@scoutsync/core";
import { frameHead, FrameParser, type BulkFrame } from "./bulk-frames.ts";
import { readInto } from "./read-into.ts";

// The two ends of a bulk connection whose ticket has been taken, whichever side opened it.

/** Frames that wait for whoever reads them; then the connection is not read on. */
const MAX_WAITING = 4;

/** Frames on their way to the other side. */
export class BulkSender {
  readonly #socket: Socket;
  readonly #signal: AbortSignal | undefined;
  readonly #moved = new Wakeup();

  /** The signal closes the connection. */
  constructor(socket: Socket, signal?: AbortSignal) {
    this.#socket = socket;
    this.#signal = signal;
    signal?.addEventListener("abort", this.#cut, { once: true });
    socket.setNoDelay(true);
    socket.on("error", () => {});
    for (const event of ["drain", "close"] as const) socket.on(event, this.#moved.raise);
    // The end of the other side's half, whenever it comes, closes both.
    socket.resume();
  }

  /** The bytes are given away. Resolves when more may be sent. Throws PEER_FAILED where the other side has closed the connection, or the signal's reason. */
  async send(frame: BulkFrame): Promise<void> {
    const socket = this.#socket;
    socket.cork();
    socket.write(frameHead(frame));
    if ("bytes" in frame) {
      const { bytes } = frame;
      socket.write(bytes, () => givePiece(bytes));
    }
    socket.uncork();
    await this.#sent();
  }

  /** Says that no more of this comes; other frames may follow. Throws as `send`. */
  async end(): Promise<void> {
    this.#socket.write(frameHead(null));
    await this.#sent();
  }

  /** Says that this was all, and resolves when the other side has taken it and closes. */
  async finish(): Promise<void> {
    this.#socket.write(frameHead(null));
    await this.#moved.until(() => this.#socket.destroyed, this.#signal);
    this.#signal?.throwIfAborted();
  }

  close(): void {
    this.#signal?.removeEventListener("abort", this.#cut);
    this.#socket.destroy();
  }

  async #sent(): Promise<void> {
    const socket = this.#socket;
    await this.#moved.until(() => !socket.writableNeedDrain || socket.destroyed, this.#signal);
    this.#signal?.throwIfAborted();
    if (socket.destroyed) throw endedEarly();
  }

  readonly #cut = (): void => void this.#socket.destroy();
}

/** Frames as they come from the side that opened the connection, which hears that its ticket is taken. */
export class BulkReceiver {
  readonly #socket: Socket;
  readonly #signal: AbortSignal;
  readonly #moved = new Wakeup();
  readonly #frames: (BulkFrame | null)[] = [];
  #failure: Error | null = null;

  /** The signal closes the connection. */
  constructor(socket: Socket, signal: AbortSignal) {
    this.#socket = socket;
    this.#signal = signal;
    signal.addEventListener("abort", this.#cut, { once: true });
    const parser = new FrameParser((frame) => void this.#frames.push(frame));
    /** Bytes of this number have been put where the frames want them. */
    const came = (bytes: number): boolean => {
      try {
        parser.came(bytes);
      } catch (error) {
        this.#failure = error instanceof Error ? error : new Error(String(error));
        socket.destroy();
      }
      this.#moved.raise();
      return this.#failure === null && this.#frames.length < MAX_WAITING;
    };
    if (!readInto(socket, { buffer: () => parser.room(), callback: came })) {
      socket.on("data", (bytes: Buffer) => {
        let mayGoOn = true;
        for (let at = 0; at < bytes.length && this.#failure === null;) {
          const some = bytes.copy(parser.room(), 0, at);
          at += some;
          mayGoOn = came(some);
        }
        if (!mayGoOn) socket.pause();
      });
    }
    socket.on("error", () => {});
    for (const event of ["end", "close"] as const) socket.on(event, this.#moved.raise);
    socket.write(frameHead(null));
    socket.resume();
  }

  /** The next frame; null where the other side says that no more of this comes. Throws PEER_FAILED, and the signal's reason. */
  async next(): Promise<BulkFrame | null> {
    const socket = this.#socket;
    await this.#moved.until(
      () => this.#frames.length > 0 || this.#failure !== null || socket.readableEnded || socket.destroyed,
      this.#signal,
    );
    this.#signal.throwIfAborted();
    const frame = this.#frames.shift();
    if (this.#frames.length < MAX_WAITING) socket.resume();
    if (frame !== undefined) return frame;
    throw this.#failure ?? endedEarly();
  }

  close(): void {
    this.#signal.removeEventListener("abort", this.#cut);
    this.#socket.destroy();
  }

  readonly #cut = (): void => void this.#socket.destroy();
}

function endedEarly(): SyncError {
  return new SyncError({
    code: "PEER_FAILED",
    message: "the other side closed the bulk connection before all had come",
    action: "Try again; what has come is kept.",
  });
}

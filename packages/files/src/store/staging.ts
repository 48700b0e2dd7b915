import { createHash, type Hash } from "node:crypto";
import { closeSync, constants, fstatSync, fsync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import { promisify } from "node:util";
import { SyncError } from "@scoutsync/core";
import { withRoot, type RootContext } from "../context.ts";
import { errorCode } from "../paths/folder.ts";
import { hashOpen } from "./hash.ts";
import { fileFloor } from "./root-disk.ts";

const { O_CREAT, O_NOFOLLOW, O_RDWR, O_TRUNC } = constants;
const PIECE_BYTES = 1024 * 1024;
/** What fits into a processor's own memory. */
const AT_HAND_BYTES = 256 * 1024;
const sync = promisify(fsync);

/** A file that is being received: what of it is on disk, and the running hash of that. */
interface Incoming {
  fd: number;
  size: number;
  at: number;
  /** Null when pieces come in any order: then the whole is read back at the end. */
  sum: Hash | null;
  /** Bytes written since they were last sent to the disk, and that being done. */
  unsynced: number;
  syncing: Promise<void> | null;
  /** Why it has to be received anew: the kernel tells once that bytes could not be written, and counts them as written from then on. */
  failure: Error | null;
}

/** A large file goes to the disk while it comes, not only when it is whole. */
const SYNC_EVERY_BYTES = 32 * 1024 * 1024;

/** Files up to this size are received and read many at once, bytes. */
export const SMALL_BYTES = 64 * 1024;

/** A file that came whole. */
export interface SmallFile {
  /** The SHA-256 it has to have, lower-case hex. */
  hash: string;
  bytes: Uint8Array;
}

/** The name of what is received or copied until its entry is placed. */
export const stagedName = (hash: string): string => hash;

/**
 * Files on their way in, named by the hash they have to have. What is there after a cut is hashed again and gone on from;
 * nothing is visible before the whole has its hash and is durable.
 */
export class Staging {
  private readonly context: RootContext;
  private readonly incoming = new Map<string, Incoming>();
  private readonly whole = new Set<string>();
  /** Files that are not received any more while something of them is on its way to the disk. */
  private readonly closing = new Map<string, Promise<void>>();
  private reserved = 0;

  constructor(context: RootContext) {
    this.context = context;
  }

  /** True when all bytes are here, durable and verified. */
  has(hash: string): boolean {
    return this.whole.has(hash);
  }

  /**
   * Begins to receive, or goes on: returns from which byte. Throws DISK_FULL where the rest would leave too little room.
   */
  async begin(hash: string, size: number): Promise<number> {
    await this.closing.get(hash);
    const known = this.incoming.get(hash);
    if (known) return known.at;
    const { limits, disk } = this.context;
    const { free, total } = disk.room();
    const floor = fileFloor(limits, total);
    const open = withRoot(this.context, ({ staging }) => {
      try {
        return openSync(staging.at(stagedName(hash)), O_RDWR | O_CREAT | O_NOFOLLOW, 0o600);
      } catch (error) {
        throw this.failed(error);
      }
    });
    const incoming: Incoming = { fd: open, size, at: 0, sum: createHash("sha256"), unsynced: 0, syncing: null, failure: null };
    try {
      const there = Number(fstatSync(open, { bigint: true }).size);
      if (there > size) ftruncateSync(open, 0);
      const needed = this.reserved + size - (there > size ? 0 : there);
      if (free - floor < needed) throw this.tooLarge({ size, needed, free, floor });
      const sum = createHash("sha256");
      const piece = Buffer.allocUnsafe(Math.min(PIECE_BYTES, there));
      while (incoming.at < there && there <= size) {
        const read = readSync(open, piece, 0, piece.length, incoming.at);
        if (read === 0) break;
        sum.update(piece.subarray(0, read));
        incoming.at += read;
      }
      incoming.sum = sum;
    } catch (error) {
      closeSync(open);
      throw error;
    }
    this.incoming.set(hash, incoming);
    this.reserved += size - incoming.at;
    return incoming.at;
  }

  /**
   * Receives small files whole, and makes them durable together. Throws DISK_FULL; throws FILE_CORRUPT after all the others
   * were taken where one is not what was announced.
   */
  async accept(files: readonly SmallFile[]): Promise<void> {
    const { limits, disk } = this.context;
    const size = files.reduce((sum, { bytes }) => sum + bytes.length, 0);
    const { free, total } = disk.room();
    const floor = fileFloor(limits, total);
    if (free - floor < this.reserved + size) throw this.tooLarge({ size, needed: this.reserved + size, free, floor });
    for (const { hash } of files) await this.closing.get(hash);
    let wrong: SyncError | null = null;
    const written: { hash: string; fd: number }[] = [];
    try {
      withRoot(this.context, ({ staging }) => {
        for (const { hash, bytes } of files) {
          const found = createHash("sha256").update(bytes).digest("hex");
          if (found !== hash) {
            wrong = corrupt(hash, `has SHA-256 ${found}`);
            continue;
          }
          const before = this.incoming.get(hash);
          if (before) {
            this.drop(hash, before);
            // What becomes of that file is its own affair.
            staging.remove(stagedName(hash));
          }
          const fd = openSync(staging.at(stagedName(hash)), O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600);
          written.push({ hash, fd });
          writeAll(fd, bytes, 0);
        }
      });
      const synced = await Promise.allSettled(written.map(({ fd }) => sync(fd)));
      for (const one of synced) if (one.status === "rejected") throw one.reason;
      for (const { hash } of written) this.whole.add(hash);
    } catch (error) {
      this.context.lack.bytes = size;
      throw this.failed(error);
    } finally {
      for (const { fd } of written) closeSync(fd);
    }
    if (wrong) throw wrong as SyncError;
  }

  /** Appends bytes at an offset that has to be the next one. Throws DISK_FULL, FILE_CORRUPT. */
  write(hash: string, offset: number, bytes: Uint8Array): void {
    const incoming = this.of(hash);
    if (offset !== incoming.at || offset + bytes.length > incoming.size)
      throw corrupt(hash, "came in another order, or longer, than it was announced");
    // Piece by piece, so that what is written is still at hand when it is hashed.
    for (let at = 0; at < bytes.length; at += AT_HAND_BYTES) {
      const some = bytes.subarray(at, at + AT_HAND_BYTES);
      this.put(hash, incoming, offset + at, some);
      incoming.sum?.update(some);
    }
  }

  /** Writes bytes anywhere into the file: pieces of a delta. */
  place(hash: string, offset: number, bytes: Uint8Array): void {
    const incoming = this.of(hash);
    if (offset + bytes.length > incoming.size) throw corrupt(hash, "came longer than it was announced");
    incoming.sum = null;
    this.put(hash, incoming, offset, bytes);
  }

  /** Resolves when more of a file may come: when the disk is behind no further than by what is on its way there, and as much again. */
  async keptUp(hash: string): Promise<void> {
    const incoming = this.incoming.get(hash);
    if (incoming?.syncing && incoming.unsynced >= SYNC_EVERY_BYTES) await incoming.syncing;
  }

  /** Makes what was received durable and checks it. Throws FILE_CORRUPT, and forgets it, where it is not what was announced. */
  async finish(hash: string): Promise<void> {
    const incoming = this.of(hash);
    try {
      const found = incoming.sum ? incoming.sum.digest("hex") : (await hashOpen(incoming.fd)).hash;
      if (found !== hash || Number(fstatSync(incoming.fd, { bigint: true }).size) !== incoming.size)
        throw corrupt(hash, `has SHA-256 ${found}`);
      await sync(incoming.fd);
      // Of two that sync a file at once one is told what went wrong.
      await incoming.syncing;
      if (incoming.failure !== null) throw incoming.failure;
      this.whole.add(hash);
    } catch (error) {
      incoming.failure = error as Error;
      throw this.failed(error);
    } finally {
      this.drop(hash, incoming);
    }
  }

  /** Stops receiving; what is on disk is gone on from next time, unless it is to be forgotten. */
  leave(hash: string): void {
    const incoming = this.incoming.get(hash);
    if (!incoming) return;
    // Pieces in any order say nothing about what is between them.
    if (!incoming.sum) ftruncateSync(incoming.fd, 0);
    this.drop(hash, incoming);
  }

  /** True for what is being received, or is whole and waited for. */
  isUsing(hash: string): boolean {
    return this.incoming.has(hash) || this.whole.has(hash);
  }

  /** What was staged has been moved or copied to where it belongs. */
  used(hash: string): void {
    this.whole.delete(hash);
  }

  close(): void {
    for (const [hash, incoming] of this.incoming) this.drop(hash, incoming);
  }

  private put(hash: string, incoming: Incoming, offset: number, bytes: Uint8Array): void {
    if (incoming.failure !== null) {
      this.drop(hash, incoming);
      throw this.failed(incoming.failure);
    }
    try {
      writeAll(incoming.fd, bytes, offset);
    } catch (error) {
      const failure = this.failed(error);
      if (failure instanceof SyncError && failure.code === "DISK_FULL") {
        // Room that nobody's only copy needs: what others have is fetched again.
        ftruncateSync(incoming.fd, 0);
        this.context.lack.bytes = incoming.size;
        this.drop(hash, incoming);
      }
      throw failure;
    }
    incoming.at = Math.max(incoming.at, offset + bytes.length);
    incoming.unsynced += bytes.length;
    if (incoming.unsynced >= SYNC_EVERY_BYTES && !incoming.syncing) {
      incoming.unsynced = 0;
      incoming.syncing = sync(incoming.fd)
        .catch((error: Error) => void (incoming.failure = error))
        .finally(() => (incoming.syncing = null));
    }
    this.reserved = Math.max(0, this.reserved - bytes.length);
  }

  private of(hash: string): Incoming {
    const incoming = this.incoming.get(hash);
    if (incoming) return incoming;
    throw corrupt(hash, "came though nobody had asked for it");
  }

  private drop(hash: string, incoming: Incoming): void {
    if (this.incoming.get(hash) !== incoming) return;
    this.incoming.delete(hash);
    this.reserved = Math.max(0, this.reserved - (incoming.size - incoming.at));
    // Never under a call that is still under way.
    if (!incoming.syncing) return shut(incoming);
    const closed = incoming.syncing.then(() => {
      shut(incoming);
      this.closing.delete(hash);
    });
    // Whoever receives it next is told.
    closed.catch(() => {});
    this.closing.set(hash, closed);
  }

  private failed(error: unknown): unknown {
    const code = errorCode(error);
    if (code !== "ENOSPC" && code !== "EDQUOT") return error;
    return this.noRoom("there is no room left", error);
  }

  private tooLarge({ size, needed, free, floor }: { size: number; needed: number; free: number; floor: number }): SyncError {
    this.context.lack.bytes = needed;
    const others = needed > size ? `, and ${needed - size} of others under way,` : "";
    const kept = floor > 0 ? `, of which ${floor} are kept free` : "";
    return this.noRoom(
      `${needed - Math.max(0, free - floor)} bytes are lacking for a file of ${size} bytes${others}: ${free} are free${kept},`,
    );
  }

  private noRoom(what: string, cause?: unknown): SyncError {
    const { name, disk } = this.context;
    return new SyncError({
      code: "DISK_FULL",
      message: `${what} on the disk of the root "${name}" (${disk.path})`,
      action: "Free space there. Nothing was lost; it goes on by itself.",
      cause,
    });
  }
}

/** What is gone on with next time is what the disk has taken. */
function shut({ fd, failure }: Incoming): void {
  try {
    if (failure !== null) ftruncateSync(fd, 0);
  } finally {
    closeSync(fd);
  }
}

function writeAll(fd: number, bytes: Uint8Array, offset: number): void {
  let done = 0;
  while (done < bytes.length) done += writeSync(fd, bytes, done, bytes.length - done, offset + done);
}

function corrupt(hash: string, what: string): SyncError {
  return new SyncError({
    code: "FILE_CORRUPT",
    message: `the file announced with SHA-256 ${hash} ${what}`,
    action: "Nothing was changed. It is asked for again; if this stays, look at the node it came from.",
  });
}

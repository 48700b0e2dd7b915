import { createHash, type Hash } from "node:crypto";
import { closeSync, constants, fstatSync, fsync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import { promisify } from "node:util";
import { SyncError } from "@scoutsync/core";
import { withRoot, type RootContext } from "../context.ts";
import { errorCode } from "../paths/folder.ts";
import { hashOpen } from "./hash.ts";
import { fileFloor } from "./root-disk.ts";

const { O_CREAT, O_NOFOLLOW, O_RDWR } = constants;
const PIECE_BYTES = 1024 * 1024;
const sync = promisify(fsync);

/** A file that is being received: what of it is on disk, and the running hash of that. */
interface Incoming {
  fd: number;
  size: number;
  at: number;
  /** Null when pieces come in any order: then the whole is read back at the end. */
  sum: Hash | null;
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
    const incoming: Incoming = { fd: open, size, at: 0, sum: createHash("sha256") };
    try {
      const there = Number(fstatSync(open, { bigint: true }).size);
      if (there > size) ftruncateSync(open, 0);
      const needed = this.reserved + size - (there > size ? 0 : there);
      if (free - floor < needed) throw this.tooLarge({ size, needed, free, floor });
      const sum = createHash("sha256");
      const piece = Buffer.allocUnsafe(PIECE_BYTES);
      while (incoming.at < there && there <= size) {
        const read = readSync(open, piece, 0, PIECE_BYTES, incoming.at);
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

  /** Appends bytes at an offset that has to be the next one. Throws DISK_FULL, FILE_CORRUPT. */
  write(hash: string, offset: number, bytes: Uint8Array): void {
    const incoming = this.of(hash);
    if (offset !== incoming.at || offset + bytes.length > incoming.size)
      throw corrupt(hash, "came in another order, or longer, than it was announced");
    this.put(hash, incoming, offset, bytes);
    incoming.sum?.update(bytes);
  }

  /** Writes bytes anywhere into the file: pieces of a delta. */
  place(hash: string, offset: number, bytes: Uint8Array): void {
    const incoming = this.of(hash);
    if (offset + bytes.length > incoming.size) throw corrupt(hash, "came longer than it was announced");
    incoming.sum = null;
    this.put(hash, incoming, offset, bytes);
  }

  /** Makes what was received durable and checks it. Throws FILE_CORRUPT, and forgets it, where it is not what was announced. */
  async finish(hash: string): Promise<void> {
    const incoming = this.of(hash);
    try {
      const found = incoming.sum ? incoming.sum.digest("hex") : (await hashOpen(incoming.fd)).hash;
      if (found !== hash || Number(fstatSync(incoming.fd, { bigint: true }).size) !== incoming.size) {
        ftruncateSync(incoming.fd, 0);
        throw corrupt(hash, `has SHA-256 ${found}`);
      }
      await sync(incoming.fd);
      this.whole.add(hash);
    } catch (error) {
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

  /** What was staged has been moved or copied to where it belongs. */
  used(hash: string): void {
    this.whole.delete(hash);
  }

  close(): void {
    for (const [hash, incoming] of this.incoming) this.drop(hash, incoming);
  }

  private put(hash: string, incoming: Incoming, offset: number, bytes: Uint8Array): void {
    try {
      let done = 0;
      while (done < bytes.length) done += writeSync(incoming.fd, bytes, done, bytes.length - done, offset + done);
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
    closeSync(incoming.fd);
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

function corrupt(hash: string, what: string): SyncError {
  return new SyncError({
    code: "FILE_CORRUPT",
    message: `the file announced with SHA-256 ${hash} ${what}`,
    action: "Nothing was changed. It is asked for again; if this stays, look at the node it came from.",
  });
}

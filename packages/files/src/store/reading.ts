import { closeSync, fstatSync, readSync } from "node:fs";
import { SyncError } from "@scoutsync/core";
import { withRoot, type RootContext } from "../context.ts";
import { errorCode, inFolderOf } from "../paths/folder.ts";
import { printOf } from "../scan/print.ts";
import type { OpenRoot } from "./root-disk.ts";
import { SMALL_BYTES } from "./staging.ts";

const MAX_OPEN = 8;
/** A file that nobody read for so long is closed, so that a disk can be unmounted. */
const IDLE_MS = 2_000;

interface Reader {
  fd: number;
  size: number;
  /** Of a file in the root, which a program may write into while it is read; "" in the store. */
  print: string;
}

/** Serves bytes by hash: from a file of the root that is as it was when its hash was taken, else from the store. */
export class Reading {
  private readonly context: RootContext;
  private readonly readers = new Map<string, Reader>();
  private idle: NodeJS.Timeout | null = null;

  constructor(context: RootContext) {
    this.context = context;
  }

  /** At most `length` bytes from `offset`; less only at the end. Throws NOT_FOUND where these bytes are not here (any more). */
  read(hash: string, offset: number, length: number, memory?: ArrayBuffer): Uint8Array<ArrayBuffer> {
    const reader = this.open(hash);
    const { fd, size } = reader;
    const there = Math.max(0, Math.min(length, size - offset));
    const bytes = memory && memory.byteLength >= there ? new Uint8Array(memory, 0, there) : new Uint8Array(there);
    let done = 0;
    while (done < bytes.length) {
      const read = readSync(fd, bytes, done, bytes.length - done, offset + done);
      if (read === 0) {
        this.close();
        throw this.notHere(hash);
      }
      done += read;
    }
    if (offset + there >= size && hasChanged(reader)) {
      this.close();
      throw this.notHere(hash);
    }
    return bytes;
  }

  /** Small files whole, in this order: "large" is read in pieces instead, and of "missing" the bytes are not here (any more). */
  readSmall(hashes: readonly string[]): (Uint8Array<ArrayBuffer> | "large" | "missing")[] {
    return withRoot(this.context, (open) =>
      hashes.map((hash) => {
        const found = this.findIn(open, hash);
        if (!found) return "missing";
        try {
          if (found.size > SMALL_BYTES) return "large";
          const bytes = new Uint8Array(found.size);
          const isWhole = found.size === 0 || readSync(found.fd, bytes, 0, found.size, 0) === found.size;
          return isWhole && !hasChanged(found) ? bytes : "missing";
        } finally {
          closeSync(found.fd);
        }
      }),
    );
  }

  /** Runs with an open file that holds these bytes. */
  async using<T>(hash: string, work: (fd: number, size: number) => Promise<T>): Promise<T> {
    const { fd, size } = this.open(hash);
    this.readers.delete(hash);
    try {
      return await work(fd, size);
    } finally {
      closeSync(fd);
    }
  }

  /** Lets go of every file. */
  close(): void {
    if (this.idle) clearTimeout(this.idle);
    this.idle = null;
    for (const { fd } of this.readers.values()) closeSync(fd);
    this.readers.clear();
  }

  private open(hash: string): Reader {
    let reader = this.readers.get(hash);
    // Displaced since, maybe: the same bytes are in the store then.
    if (reader && hasChanged(reader)) {
      this.close();
      reader = undefined;
    }
    if (!reader) {
      if (this.readers.size >= MAX_OPEN) this.close();
      reader = this.find(hash);
      this.readers.set(hash, reader);
    }
    this.idle ??= setTimeout(() => this.close(), IDLE_MS);
    this.idle.refresh();
    this.idle.unref();
    return reader;
  }

  private find(hash: string): Reader {
    const found = withRoot(this.context, (open) => this.findIn(open, hash));
    if (found) return found;
    throw this.notHere(hash);
  }

  private findIn({ root, objects }: OpenRoot, hash: string): Reader | null {
    const { manifest } = this.context;
    for (const row of manifest.withHash(hash)) {
      try {
        const fd = inFolderOf(root, row.path, (folder, name) => folder.read(name));
        const stats = fstatSync(fd, { bigint: true });
        if (stats.isFile() && printOf(stats) === row.print) return { fd, size: row.size, print: row.print };
        closeSync(fd);
      } catch (error) {
        if (!["ENOENT", "ENOTDIR", "ELOOP", "EACCES"].includes(errorCode(error))) throw error;
      }
    }
    const object = manifest.object(hash);
    return object && objects.look(object.id) ? { fd: objects.read(object.id), size: object.size, print: "" } : null;
  }

  private notHere(hash: string): SyncError {
    return new SyncError({
      code: "NOT_FOUND",
      message: `no file of the root "${this.context.name}" holds the bytes with SHA-256 ${hash} just now`,
      action: "It was changed or removed since it was listed; read the list again.",
    });
  }
}

/** True for bytes that may be others than those that were asked for: whoever gets them must not take the node for a liar. */
function hasChanged({ fd, print }: Reader): boolean {
  return print !== "" && printOf(fstatSync(fd, { bigint: true })) !== print;
}

import { createHash } from "node:crypto";
import { open, realpath, rename, rm, stat, type FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import { SyncError } from "@scoutsync/core";
import { Batch, FileListEnd } from "@scoutsync/protocol";
import { LAYOUT_VERSION, MAGIC, SECTION_HEAD_BYTES, Tags, fromFileSystem, type BundleHead } from "./layout.ts";

/** Writes one bundle beside its path; it gets its name only when it is whole and on the medium. */
export class BundleWriter {
  readonly path: string;
  readonly #partial: string;
  readonly #file: FileHandle;
  readonly #sum = createHash("sha256");
  bytes = 0;

  private constructor(path: string, partial: string, file: FileHandle) {
    this.path = path;
    this.#partial = partial;
    this.#file = file;
  }

  /** Throws BUNDLE_UNREADABLE when nothing can be written there. */
  static async create(output: string): Promise<BundleWriter> {
    const path = await fileAt(output);
    const partial = `${path}.${process.pid}.part`;
    try {
      const writer = new BundleWriter(path, partial, await open(partial, "w"));
      const version = Buffer.alloc(2);
      version.writeUInt16BE(LAYOUT_VERSION);
      await writer.#put(Buffer.concat([MAGIC, version]));
      return writer;
    } catch (error) {
      throw fromFileSystem(error, path);
    }
  }

  head(head: BundleHead): Promise<void> {
    return this.#section(Tags.head, Buffer.from(JSON.stringify(head)));
  }

  /** One message of a GetChanges stream. */
  batch(message: Batch): Promise<void> {
    return this.#section(Tags.batch, Batch.encode(message).finish());
  }

  /** An encoded `FileOffer`. */
  entries(offer: Uint8Array): Promise<void> {
    return this.#section(Tags.entries, offer);
  }

  /** An encoded `FileBytes`. */
  fileBytes(piece: Uint8Array): Promise<void> {
    return this.#section(Tags.fileBytes, piece);
  }

  listEnd(end: FileListEnd): Promise<void> {
    return this.#section(Tags.listEnd, FileListEnd.encode(end).finish());
  }

  /** Ends the bundle and gives it its name. Only after this there is a file at `path`. */
  async finish(): Promise<void> {
    await this.#section(Tags.tail, Buffer.alloc(0));
    try {
      await this.#file.sync();
      await this.#file.close();
      await rename(this.#partial, this.path);
      await syncDirectory(dirname(this.path));
    } catch (error) {
      throw fromFileSystem(error, this.path);
    }
  }

  /** Removes what was written so far. */
  async discard(): Promise<void> {
    await this.#file.close().catch(() => {});
    await rm(this.#partial, { force: true });
  }

  async #section(tag: string, body: Uint8Array): Promise<void> {
    const head = Buffer.alloc(SECTION_HEAD_BYTES);
    head.write(tag, "latin1");
    head.writeUInt32BE(body.length, 4);
    try {
      await this.#put(head);
      await this.#put(body);
      await this.#put(this.#sum.copy().digest());
    } catch (error) {
      throw fromFileSystem(error, this.path);
    }
  }

  async #put(bytes: Uint8Array): Promise<void> {
    this.#sum.update(bytes);
    for (let at = 0; at < bytes.length;) at += (await this.#file.write(bytes, at)).bytesWritten;
    this.bytes += bytes.length;
  }
}

/**
 * Where a bundle named so belongs: where a link leads. Its name is taken over when it is whole, so what is no file would be gone:
 * a folder, `/dev/stdout`, the device of the stick itself. Throws BUNDLE_UNREADABLE there.
 */
async function fileAt(path: string): Promise<string> {
  const there = await stat(path).catch(() => null);
  if (!there) return path;
  if (there.isFile()) return realpath(path);
  throw new SyncError({
    code: "BUNDLE_UNREADABLE",
    message: `${path} is ${there.isDirectory() ? "a folder" : "no file"}`,
    action: "Name a file with -o: it appears there when it is whole.",
  });
}

/** Makes the new name durable. Some file systems of sticks cannot; there the rename itself has to do. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, "r").catch(() => null);
  await directory?.sync().catch(() => {});
  await directory?.close();
}

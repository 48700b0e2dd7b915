import { createHash } from "node:crypto";
import { open, type FileHandle } from "node:fs/promises";
import type { SyncError } from "@scoutsync/core";
import { Batch, checkProtocol } from "@scoutsync/protocol";
import {
  DIGEST_BYTES,
  LAYOUT_VERSION,
  MAGIC,
  MAX_SECTION_BYTES,
  SECTION_HEAD_BYTES,
  START_BYTES,
  Tags,
  fromFileSystem,
  tooNew,
  unreadable,
  type BundleHead,
} from "./layout.ts";

const CONTENT: ReadonlySet<string> = new Set([Tags.batch, Tags.entries, Tags.fileBytes, Tags.listEnd]);

interface Section {
  tag: string;
  body: Buffer;
}

/** Reads one bundle from its beginning; nothing is handed out before its SHA-256 has been checked. */
export class BundleReader {
  readonly path: string;
  readonly #file: FileHandle;
  readonly #sum = createHash("sha256");

  private constructor(path: string, file: FileHandle) {
    this.path = path;
    this.#file = file;
  }

  /** Throws BUNDLE_UNREADABLE or PROTOCOL_VERSION. */
  static async open(path: string): Promise<{ reader: BundleReader; head: BundleHead }> {
    let file: FileHandle;
    try {
      file = await open(path, "r");
    } catch (error) {
      throw fromFileSystem(error, path);
    }
    const reader = new BundleReader(path, file);
    try {
      return { reader, head: await reader.#head() };
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** The messages of the stream that the bundle holds, each checked. Throws when the file ends before its end. */
  async *batches(): AsyncGenerator<Batch> {
    for await (const { tag, body } of this.sections()) {
      if (tag !== Tags.batch) throw unreadable(this.path, `holds a section "${tag}" among changes`);
      const batch = this.#decode(body);
      checkProtocol(batch.protocol, this.path, "this program");
      yield batch;
    }
  }

  /** The sections after the head, each checked, but those that may be passed over. Throws when the file ends before its end. */
  async *sections(): AsyncGenerator<Section> {
    for (;;) {
      const section = await this.#section();
      const { tag } = section;
      if (tag === Tags.tail) {
        if (await this.#take(1, { orNothing: true })) throw unreadable(this.path, "goes on after its end");
        return;
      }
      if (CONTENT.has(tag)) yield section;
      else this.#passOver(tag);
    }
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  async #head(): Promise<BundleHead> {
    const start = await this.#take(START_BYTES, { orNothing: true });
    if (!start?.subarray(0, MAGIC.length).equals(MAGIC)) throw unreadable(this.path, "is not a scoutsync bundle");
    const version = start.readUInt16BE(MAGIC.length);
    if (version > LAYOUT_VERSION) throw tooNew(this.path, `is laid out as version ${version}`);
    let section = await this.#section();
    for (; section.tag !== Tags.head; section = await this.#section()) this.#passOver(section.tag);
    const head = parseHead(section.body);
    if (!head) throw unreadable(this.path, "does not say what it holds");
    checkProtocol(head.protocol, this.path, "this program");
    return head;
  }

  async #section(): Promise<Section> {
    const head = await this.#take(SECTION_HEAD_BYTES);
    const tag = head.toString("latin1", 0, 4);
    const length = head.readUInt32BE(4);
    if (length > MAX_SECTION_BYTES) throw this.#damaged();
    const body = await this.#take(length);
    const expected = this.#sum.copy().digest();
    if (!(await this.#take(DIGEST_BYTES)).equals(expected)) throw this.#damaged();
    return { tag, body };
  }

  /** The section is whole, so an unknown tag is what somebody meant. */
  #passOver(tag: string): void {
    const first = tag.charAt(0);
    if (first !== first.toLowerCase() || first === first.toUpperCase()) throw tooNew(this.path, `holds a section "${tag}"`);
  }

  #decode(body: Buffer): Batch {
    try {
      return Batch.decode(body);
    } catch {
      throw this.#damaged();
    }
  }

  #damaged(): SyncError {
    return unreadable(this.path, "is damaged: its checksum does not match its bytes");
  }

  async #take(length: number): Promise<Buffer>;
  async #take(length: number, options: { orNothing: true }): Promise<Buffer | null>;
  async #take(length: number, options?: { orNothing: true }): Promise<Buffer | null> {
    const bytes = Buffer.allocUnsafe(length);
    let got = 0;
    while (got < length) {
      const { bytesRead } = await this.#file.read(bytes, got, length - got).catch((error: unknown) => {
        throw fromFileSystem(error, this.path);
      });
      if (bytesRead === 0) {
        if (options) return null;
        throw unreadable(this.path, "is cut off: it ends before its end");
      }
      got += bytesRead;
    }
    this.#sum.update(bytes);
    return bytes;
  }
}

function parseHead(body: Buffer): BundleHead | null {
  try {
    const head = JSON.parse(body.toString("utf8")) as Partial<BundleHead>;
    const texts = [head.version, head.database, head.node, head.run, head.since, head.created];
    const { revocations, vector } = head;
    if (vector !== undefined) texts.push(vector);
    if (revocations !== undefined) texts.push(revocations.content, revocations.signature);
    return typeof head.protocol === "number" && texts.every((text) => typeof text === "string") ? (head as BundleHead) : null;
  } catch {
    return null;
  }
}

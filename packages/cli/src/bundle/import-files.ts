import { SyncError, throwForRoom, type FileListEnd, type FileRefusal } from "@scoutsync/core";
import {
  FileBytes,
  fileClient,
  FileOffer,
  fromWireEnd,
  fromWireEntry,
  FileListEnd as WireEnd,
  formatCursors,
  seqIn,
} from "@scoutsync/protocol";
import type { NodeConnection } from "../connect.ts";
import { Tags, unreadable, type BundleHead } from "./layout.ts";
import type { BundleReader } from "./reader.ts";

export interface ImportedFiles {
  root: string;
  /** Name of the node the bundle was exported from, and when. */
  from: string;
  created: string;
  /** Entries in the bundle, files whose bytes were taken from it, and what came of them. */
  entries: number;
  files: number;
  placed: number;
  removed: number;
  conflicts: number;
  /** What the node did not take now: paths with the reason. */
  refused: { path: string; code: string; message: string }[];
  /** The root now holds exactly what the exporting one held. */
  verified: boolean;
}

type Put = Awaited<ReturnType<ReturnType<typeof fileClient>["openPut"]>>;

/**
 * Puts what a bundle holds into the same root of the node, as a session does: what is there already is not taken again, a
 * file that was cut goes on where it was, and nothing is visible before its SHA-256 has been checked. Every section is
 * checked before it is used. Throws what reading the file or the node refuses, DISK_FULL after all that there was room for; what was
 * committed before stays.
 */
export async function importFiles(
  client: NodeConnection,
  reader: BundleReader,
  { root = "", index = "", node, since, created }: BundleHead,
  onProgress: (done: number, total: number) => void,
): Promise<ImportedFiles> {
  const put = await fileClient(client).openPut({ root, name: node, index });
  try {
    if (put.ready.received < seqIn(since, index)) throw gap(client.address, reader.path, { root, index, received: put.ready.received });
    const taken = new Offers(put);
    let end: FileListEnd | null = null;
    for await (const { tag, body } of reader.sections()) {
      if (end) throw unreadable(reader.path, "goes on after the end of its list");
      if (tag === Tags.entries) await taken.offer(decoded(reader, () => FileOffer.decode(body)));
      else if (tag === Tags.fileBytes) await taken.bytes(decoded(reader, () => FileBytes.decode(body)));
      else if (tag === Tags.listEnd) {
        await taken.commit();
        end = decoded(reader, () => fromWireEnd(WireEnd.decode(body), ""));
      } else throw unreadable(reader.path, `holds a section "${tag}" among files`);
      onProgress(taken.entries, taken.entries);
    }
    if (!end) throw unreadable(reader.path, "holds a list of files without its end");
    const isWhole = !taken.refused.some(({ retry }) => retry);
    const there = await put.done({ index, seq: isWhole ? end.seq : put.ready.received, digest: end.digest });
    throwForRoom(taken.refused, "Import the file again then.");
    const { entries, files, placed, removed, conflicts } = taken;
    const refused = taken.refused.map(({ path, code, message }) => ({ path, code, message }));
    const verified = there.digest === end.digest && there.pending === 0 && refused.length === 0;
    return { root, from: node, created, entries, files, placed, removed, conflicts, refused, verified };
  } finally {
    put.cancel();
  }
}

/** One offer after the other: its entries, the bytes that are wanted of those in the bundle, and the commit. */
class Offers {
  readonly #put: Put;
  /** What is wanted of the offer under way: up to where it has been sent, and its size. */
  readonly #wanted = new Map<string, { at: number; size: number }>();
  #isOpen = false;
  readonly refused: FileRefusal[] = [];
  entries = 0;
  files = 0;
  placed = 0;
  removed = 0;
  conflicts = 0;

  constructor(put: Put) {
    this.#put = put;
  }

  async offer({ entries }: FileOffer): Promise<void> {
    await this.commit();
    const wants = await this.#put.offer(entries.map(fromWireEntry));
    this.#isOpen = true;
    this.entries += entries.length;
    for (const { hash, offset, size, recipe } of wants) {
      // A bundle holds files whole: chunks that nobody can give make the node want all of it.
      const [rest] = recipe ? await this.#put.recipe(hash, new Uint8Array()) : [];
      this.#wanted.set(hash, { at: rest?.offset ?? offset, size });
    }
  }

  async bytes({ sha256, offset, chunk }: FileBytes): Promise<void> {
    const want = this.#wanted.get(sha256);
    const skipped = want ? want.at - Number(offset) : chunk.length;
    if (!want || skipped >= chunk.length || skipped < 0) return;
    await this.#put.bytes(sha256, want.at, chunk.subarray(skipped));
    want.at += chunk.length - skipped;
    if (want.at >= want.size) this.files += 1;
  }

  async commit(): Promise<void> {
    if (!this.#isOpen) return;
    const missing = [...this.#wanted].filter(([, { at, size }]) => at < size).map(([hash]) => hash);
    const { placed, removed, conflicts, refused } = await this.#put.commit(missing);
    this.placed += placed;
    this.removed += removed;
    this.conflicts += conflicts;
    this.refused.push(...refused);
    this.#wanted.clear();
    this.#isOpen = false;
  }
}

function decoded<T>(reader: BundleReader, decode: () => T): T {
  try {
    return decode();
  } catch (cause) {
    throw unreadable(reader.path, `holds a section that makes no sense: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
}

function gap(address: string, path: string, { root, index, received }: { root: string; index: string; received: number }): SyncError {
  const since = received === 0 ? "" : ` --since ${formatCursors([{ index, seq: received }])}`;
  return new SyncError({
    code: "BATCH_GAP",
    message: `${path} begins after what the root "${root}" at ${address} has of that node`,
    action: `Import the earlier bundles first, or export again with --files ${root}${since}`,
  });
}

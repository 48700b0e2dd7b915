import { SyncError, Wakeup, type FileEntry, type FileWant } from "@scoutsync/core";
import { DELTA_FROM_BYTES, SMALL_BYTES, type FileRoot, type Intake, type SmallFile } from "@scoutsync/files";
import type { FilePart } from "./file-peer.ts";

/** Bytes on their way to the root's thread: enough that neither side waits for the other. */
const MAX_UNWRITTEN = 4;

/** A file that another session is receiving is waited for this long, milliseconds; then it is for the next session. */
const LONGEST_WAIT_MS = 30_000;

/** Files that some session of this process is receiving, until they are here or given up: a second one waits for the first. */
const underWay = new WeakMap<FileRoot, Map<string, Wakeup>>();

interface Receiving {
  want: FileWant;
  at: number;
  inPieces: boolean;
  /** What has come of a small file, which goes into the root whole, with others; null for any other. */
  held: Uint8Array[] | null;
}

/** Small files that go into the root together: at most so many, and bytes. */
const GROUP_FILES = 64;
const GROUP_BYTES = 1024 * 1024;

/**
 * Entries and bytes of one peer on their way into a root, whoever drives: the pulling side here, or a peer that puts.
 * Offer, then bytes for what is wanted, then commit; again for the next entries.
 */
export class Reception {
  private readonly root: FileRoot;
  private readonly source: string;
  private readonly peer: string;
  private readonly receiving = new Map<string, Receiving>();
  private readonly finishing = new Set<Promise<void>>();
  private readonly writing = new Set<Promise<void>>();
  /** Received by other sessions, and needed here. */
  private readonly awaited = new Set<string>();
  private group: SmallFile[] = [];
  private offered: readonly FileEntry[] = [];
  private failure: Error | null = null;
  /** Files for which there is no room here, by hash: the others do not wait for them. */
  private readonly lacking = new Map<string, { path: string; message: string }>();
  /** Files received whole, so far. */
  received = 0;

  constructor(root: FileRoot, source: string, peer: string) {
    this.root = root;
    this.source = source;
    this.peer = peer;
  }

  /** Takes in what needs no bytes, and says which bytes are wanted for the rest. */
  async offer(entries: readonly FileEntry[]): Promise<{ wants: FileWant[]; intake: Intake }> {
    this.offered = entries;
    const intake = await this.root.receive(entries, this.source, this.peer);
    return { wants: await this.want(intake.wants), intake };
  }

  /** What the root misses of what it knows already. */
  async wantMissing(): Promise<FileWant[]> {
    this.offered = [];
    const { wants } = await this.root.heal();
    return this.want(wants);
  }

  private async want(wants: Intake["wants"]): Promise<FileWant[]> {
    const others = underWay.get(this.root) ?? new Map<string, Wakeup>();
    underWay.set(this.root, others);
    const wanted: FileWant[] = [];
    for (const { hash, size, hasBasis, path } of wants) {
      if (others.has(hash)) {
        this.awaited.add(hash);
        continue;
      }
      others.set(hash, new Wakeup());
      const recipe = hasBasis && size >= DELTA_FROM_BYTES;
      const want: FileWant = { hash, size, offset: 0, recipe };
      const isSmall = size <= SMALL_BYTES;
      this.receiving.set(hash, { want, at: 0, inPieces: recipe, held: isSmall ? [] : null });
      this.paths.set(hash, path);
      if (isSmall) {
        if (size === 0) await this.hold(hash, 0, new Uint8Array());
        else wanted.push(want);
        continue;
      }
      const begun = await this.begin(want, path);
      if (begun === null) continue;
      if (!recipe) want.offset = begun;
      this.of(hash).at = want.offset;
      if (want.offset === size && !recipe) this.whole(hash);
      else wanted.push(want);
    }
    // Many small ones are not to wait for a large one that may turn out not to fit.
    return wanted.sort((a, b) => Number(a.size > SMALL_BYTES) - Number(b.size > SMALL_BYTES));
  }

  /** From which byte a file is to come; null where there is no room for it. */
  private async begin({ hash, size }: FileWant, path: string): Promise<number | null> {
    try {
      return await this.root.begin(hash, size);
    } catch (error) {
      if (!(error instanceof SyncError) || error.code !== "DISK_FULL") throw error;
      this.lacking.set(hash, { path, message: error.message.replace(`. ${error.action}`, "") });
      this.release(hash);
      return null;
    }
  }

  private readonly paths = new Map<string, string>();

  /** The parts of a wanted file that are not in the version that is here. */
  async recipe(hash: string, recipe: Uint8Array): Promise<FilePart[]> {
    const { want } = this.of(hash);
    const parts = await this.root.assemble(hash, want.size, this.paths.get(hash) ?? "", recipe);
    this.of(hash).at = want.size - parts.reduce((sum, { length }) => sum + length, 0);
    if (parts.length === 0) this.whole(hash);
    return parts.map(({ offset, length }) => ({ hash, offset, length }));
  }

  /** Fetched whole after all: its chunks could not be had. Returns what is to come. */
  async allFrom(hash: string): Promise<FilePart> {
    const receiving = this.of(hash);
    const { size } = receiving.want;
    await this.root.leave(hash);
    receiving.inPieces = false;
    receiving.at = await this.root.begin(hash, size);
    return { hash, offset: receiving.at, length: size - receiving.at };
  }

  /** Resolves when more may come. Throws what has gone wrong with bytes before. */
  async bytes(hash: string, offset: number, bytes: Uint8Array): Promise<void> {
    if (this.failure) throw this.failure;
    const receiving = this.of(hash);
    if (receiving.held) return this.hold(hash, offset, bytes);
    receiving.at += bytes.length;
    const written = receiving.inPieces ? this.root.patch(hash, offset, bytes) : this.root.write(hash, offset, bytes);
    this.track(this.writing, written);
    if (receiving.at >= receiving.want.size) this.whole(hash);
    await this.mayGoOn();
  }

  /** Bytes of a small file: kept until it is whole, and then until there are enough to be worth a trip to the root's thread. */
  private async hold(hash: string, offset: number, bytes: Uint8Array): Promise<void> {
    const receiving = this.of(hash);
    const { want, held } = receiving;
    if (!held || offset !== receiving.at || offset + bytes.length > want.size) {
      throw new SyncError({
        code: "FILE_CORRUPT",
        message: `the file announced with SHA-256 ${hash} came in another order, or longer, than it was announced`,
        action: "Nothing was changed. It is asked for again; if this stays, look at the node it came from.",
      });
    }
    held.push(bytes);
    receiving.at += bytes.length;
    if (receiving.at < want.size) return;
    this.group.push({ hash, bytes: held.length === 1 && held[0] ? held[0] : Buffer.concat(held) });
    receiving.held = null;
    if (this.group.length >= GROUP_FILES || this.group.reduce((sum, one) => sum + one.bytes.length, 0) >= GROUP_BYTES) this.accept();
    await this.mayGoOn();
  }

  private accept(): void {
    const group = this.group;
    if (group.length === 0) return;
    this.group = [];
    const accepted = this.root
      .accept(group)
      .then(() => {
        this.received += group.length;
      })
      .finally(() => {
        for (const { hash } of group) this.release(hash);
      });
    this.track(this.writing, accepted);
  }

  private async mayGoOn(): Promise<void> {
    while (this.writing.size >= MAX_UNWRITTEN) await Promise.race(this.writing);
  }

  /** These cannot be had; the entries that need them are refused for now. */
  async missing(hash: string): Promise<void> {
    if (!this.receiving.has(hash)) return;
    this.release(hash);
    await this.root.leave(hash);
  }

  /** Everything that can be had is here: takes the offered entries in. */
  async commit(): Promise<Intake> {
    this.accept();
    await Promise.all([...this.writing, ...this.finishing]);
    for (const hash of this.receiving.keys()) await this.missing(hash);
    if (this.failure) {
      const failure = this.failure;
      this.failure = null;
      throw failure;
    }
    await this.others();
    const intake = await this.root.receive(this.offered, this.source, this.peer);
    for (const { path, message } of this.lacking.values()) intake.refused.push({ path, code: "DISK_FULL", message, retry: true });
    for (const { path, hash, isOptional } of intake.wants) {
      if (isOptional || this.lacking.has(hash)) continue;
      const message = `the bytes of "${path}" could not be had now`;
      intake.refused.push({ path, code: "FILE_CHANGED", message, retry: true });
    }
    this.offered = [];
    this.lacking.clear();
    return intake;
  }

  private async others(): Promise<void> {
    const others = underWay.get(this.root);
    const late = AbortSignal.timeout(LONGEST_WAIT_MS);
    for (const hash of this.awaited) await others?.get(hash)?.until(() => !others.has(hash), late);
    this.awaited.clear();
  }

  /** Lets go of everything; what is on disk is gone on with next time. */
  async leave(): Promise<void> {
    this.group = [];
    await Promise.allSettled([...this.writing, ...this.finishing]);
    for (const hash of this.receiving.keys()) await this.missing(hash).catch(() => {});
  }

  private whole(hash: string): void {
    const { want } = this.of(hash);
    const done = this.root.finish(want.hash).then(
      () => {
        this.received += 1;
        this.release(hash);
      },
      (error: unknown) => {
        this.release(hash);
        throw error;
      },
    );
    this.track(this.finishing, done);
  }

  private track(among: Set<Promise<void>>, work: Promise<void>): void {
    const tracked: Promise<void> = work
      .catch((error: unknown) => {
        this.failure ??= error instanceof Error ? error : new Error(String(error));
      })
      .finally(() => among.delete(tracked));
    among.add(tracked);
  }

  private release(hash: string): void {
    this.receiving.delete(hash);
    const others = underWay.get(this.root);
    const released = others?.get(hash);
    others?.delete(hash);
    released?.raise();
  }

  private of(hash: string): Receiving {
    const receiving = this.receiving.get(hash);
    if (receiving) return receiving;
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `bytes came for ${hash.slice(0, 64)}, which nobody had asked for`,
      action: "Offer an entry first, and send what is wanted for it.",
    });
  }
}

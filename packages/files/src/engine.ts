import { setTimeout as pause } from "node:timers/promises";
import { formatVector, SyncError, type Review, type FileEntry } from "@scoutsync/core";
import { Departure } from "./apply/departure.ts";
import { EntryIntake, type Intake, type Want } from "./apply/intake.ts";
import { Placement } from "./apply/placement.ts";
import { recover } from "./apply/recovery.ts";
import { cut, DELTA_FROM_BYTES, ranges, readRecipe, recipeOf, type Chunk } from "./chunks/recipe.ts";
import { withRoot, type FileLimits, type RootContext } from "./context.ts";
import type {
  FileListing,
  FileRootCalls,
  FileRootOptions,
  FileRootState,
  FileStatus,
  ListPage,
  ListRequest,
  StoredVersion,
} from "./file-root.ts";
import { Manifest } from "./manifest/manifest.ts";
import { entryOf, State } from "./manifest/rows.ts";
import { checkPath, pathProblem } from "./paths/check-path.ts";
import { Part } from "./paths/part.ts";
import { FileReviews, type Decision } from "./review/reviews.ts";
import { Deletions, SIGHTING_GAP_US } from "./scan/deletions.ts";
import { DiskClock } from "./scan/disk-clock.ts";
import { IgnoreRules, KnownDatabases } from "./scan/exclusions.ts";
import { Lookout } from "./scan/lookout.ts";
import { Looks } from "./scan/looks.ts";
import { inBrief, type ScanReport } from "./scan/report.ts";
import { Scanner } from "./scan/scanner.ts";
import { adoptObjects, settleObjects } from "./store/objects.ts";
import { Reading } from "./store/reading.ts";
import { forgetVersions, type ForgetOptions, type Forgotten } from "./store/retention.ts";
import { RootDisk } from "./store/root-disk.ts";
import { lockRoot, refuseInRoot } from "./store/root-lock.ts";
import { Staging, type SmallFile } from "./store/staging.ts";
import { Trouble } from "./trouble.ts";

const DEFAULT_LIMITS: FileLimits = { maxSizeBytes: 64 * 1024 ** 3, minFreeBytes: 1024 ** 3 };
const DAY_US = 86_400_000_000;
/** Every file is read again this often, µs: what a disk has changed by itself is found then. */
const SCRUB_EVERY_US = 7 * DAY_US;
const STATE_WORDS = ["here", "wanted", "ignored", "suspect", "forgotten", "leaving"] as const;

/** Injected by tests and by the thread that serves it. */
export interface EngineSeams {
  /** A look that nobody had asked for is over. */
  onLooked?: () => void;
  /** Unix microseconds. */
  nowUs?: () => number;
  diskClock?: DiskClock;
  /** Called between any two steps that last. */
  reached?: (step: string) => void;
  /** How long a deletion's second look waits, milliseconds. */
  sightingGapMs?: number;
}

/** One root, in the thread that owns it. What writes takes turns; what reads does not wait. */
export class FileRootEngine implements FileRootCalls {
  private readonly context: RootContext;
  private readonly options: FileRootOptions;
  private readonly manifest: Manifest;
  private readonly staging: Staging;
  private readonly placement: Placement;
  private readonly scanner: Scanner;
  private readonly deletions: Deletions;
  private readonly looks: Looks;
  private readonly departure: Departure;
  private readonly intake: EntryIntake;
  private readonly reading: Reading;
  private readonly judgements: FileReviews;
  private turn: Promise<unknown> = Promise.resolve();
  private scanning: Promise<unknown> = Promise.resolve();
  private lookout: Lookout | null = null;
  private readonly onLooked: () => void;
  private isReady = false;
  /** Releases the root's lock; null while it is not held. */
  private unlock: (() => void) | null = null;
  private readonly trouble: Trouble;

  private constructor(options: FileRootOptions, seams: EngineSeams) {
    this.options = options;
    this.onLooked = seams.onLooked ?? (() => {});
    this.manifest = new Manifest(options.manifestPath);
    this.context = {
      name: options.name,
      nodeName: options.nodeName,
      manifest: this.manifest,
      disk: new RootDisk(options.name, options.path),
      databases: new KnownDatabases(options.databases),
      limits: { ...DEFAULT_LIMITS, ...options.limits },
      sightingGapUs: seams.sightingGapMs === undefined ? SIGHTING_GAP_US : seams.sightingGapMs * 1000,
      lack: { bytes: 0 },
      rules: new IgnoreRules(options.exclude, ""),
      nowUs: seams.nowUs ?? (() => Math.round((performance.timeOrigin + performance.now()) * 1000)),
      diskClock: seams.diskClock ?? new DiskClock(),
      reached: seams.reached ?? (() => {}),
    };
    this.trouble = new Trouble(this.context, options.manifestPath);
    this.staging = new Staging(this.context);
    this.placement = new Placement(this.context, this.staging);
    this.scanner = new Scanner(this.context);
    this.deletions = new Deletions(this.context);
    this.looks = new Looks(this.context, { scanner: this.scanner, deletions: this.deletions, exclude: options.exclude });
    this.departure = new Departure(this.context);
    this.reading = new Reading(this.context);
    const { placement, scanner, staging, deletions } = this;
    this.intake = new EntryIntake(this.context, { placement, scanner, staging });
    this.judgements = new FileReviews(this.context, { placement, deletions, scanner });
  }

  /** Opens a root. One that was never there is refused with ROOT_UNAVAILABLE; one that was is waited for. */
  static async open(options: FileRootOptions, seams: EngineSeams = {}): Promise<FileRootEngine> {
    const engine = new FileRootEngine(options, seams);
    try {
      await engine.exclusively(() => engine.prepare());
    } catch (error) {
      if (engine.manifest.get("root_id") === null || (error instanceof SyncError && error.code === "ROOT_IN_USE")) {
        engine.letGo();
        engine.manifest.close();
        throw error;
      }
    }
    return engine;
  }

  state(): FileRootState {
    const { manifest } = this;
    return {
      name: this.options.name,
      path: this.options.path,
      index: manifest.indexId,
      seq: manifest.seq,
      digest: manifest.digestHex,
      ...manifest.count(),
      conflicts: manifest.withLosers().reduce((sum, { losers }) => sum + losers.filter(({ resolved }) => !resolved).length, 0),
      wanted: manifest.inState(State.wanted).length + manifest.inState(State.suspect).length,
      missing: manifest.missing().length,
      brake: this.deletions.brake,
      problem: this.trouble.current?.message ?? "",
      problemCode: this.trouble.current?.code ?? "",
      part: manifest.part?.prefixes ?? null,
      tooLarge: this.intake.claims.tooLargeText(),
      refused: manifest.lastRefusal(),
    };
  }

  async noteRefused(peer: string, what: string): Promise<void> {
    const { manifest, context } = this;
    manifest.transaction(() => manifest.refuse(peer, [what], context.nowUs()));
  }

  async scan({
    deep = false,
    folders,
    confirm = false,
  }: {
    deep?: boolean;
    folders?: readonly string[];
    confirm?: boolean;
  }): Promise<ScanReport> {
    // One look at a time: a second one would read the same files again.
    const before = this.scanning;
    const run = (async () => {
      await before.catch(() => {});
      const { report, isSettled } = await this.looks.look({ deep, folders }, (work) => this.exclusively(work));
      await this.exclusively(() => this.departure.carryOut());
      if (!isSettled) return report;
      let { gone, missing } = await this.exclusively(async () => this.deletions.confirm());
      if (confirm && missing > 0 && !this.deletions.brake) {
        await pause(this.context.sightingGapUs / 1000);
        const second = await this.exclusively(async () => this.deletions.confirm());
        gone += second.gone;
        missing = second.missing;
      }
      await this.exclusively(() => withRoot(this.context, (open) => settleObjects(this.context, open)));
      await this.exclusively(async () => this.looks.noteSeen("now and then"));
      return { ...report, changed: report.changed + gone, missing };
    })();
    this.scanning = run;
    return run;
  }

  async keepLooking(everyMs: number): Promise<void> {
    const { manifest } = this;
    this.lookout ??= new Lookout({
      path: this.options.path,
      everyMs,
      folders: () => ["", ...manifest.folders()],
      look: async (folders) => {
        const isScrub = !folders && this.context.nowUs() - Number(manifest.get("scrubbed_us") ?? "0") > SCRUB_EVERY_US;
        await this.scan(folders ? { folders, confirm: true } : { confirm: true, deep: isScrub });
        if (isScrub) manifest.set("scrubbed_us", String(this.context.nowUs()));
        this.onLooked();
      },
    });
    this.lookout.start();
  }

  async list({ index, seq, ...filter }: ListRequest): Promise<ListPage> {
    const after = this.manifest.placeOf([{ index, seq }]);
    const { rows: entries, isEnd } = this.manifest.listed({ after, ...filter });
    return {
      entries,
      index: this.manifest.indexId,
      seq: isEnd ? Math.max(after, this.manifest.seq) : (entries.at(-1)?.seq ?? after),
      isEnd,
    };
  }

  receive(entries: readonly FileEntry[], source: string, peer: string): Promise<Intake> {
    return this.exclusively(() => this.intake.receive(entries, source, peer));
  }

  async received(index: string): Promise<number> {
    this.intake.listBegins();
    return this.manifest.received(index);
  }

  noteReceived(index: string, seq: number, heardAs: string): Promise<void> {
    return this.noticing(async () => this.manifest.noteReceived(index, seq, { heardAs, nowUs: this.context.nowUs() }));
  }

  noteAcknowledged(seq: number): Promise<void> {
    return this.noticing(async () => this.manifest.noteAcknowledged(seq));
  }

  forget(options: ForgetOptions): Promise<Forgotten> {
    return this.exclusively(() =>
      withRoot(this.context, async (open) => {
        await settleObjects(this.context, open);
        return forgetVersions(this.context, open, this.staging, options);
      }),
    );
  }

  async cursors(): Promise<{ index: string; seq: number }[]> {
    this.intake.listBegins();
    return this.manifest.cursors();
  }

  async cursorsOf(index: string): Promise<{ index: string; seq: number }[]> {
    return this.manifest.cursorsOf(index);
  }

  async placeOf(cursors: readonly { index: string; seq: number }[]): Promise<number> {
    const { manifest, context } = this;
    if (manifest.isExceededBy(cursors)) manifest.noticePutBack(context.nowUs());
    return manifest.placeOf(cursors);
  }

  async nothingFor(index: string, seq: number): Promise<boolean> {
    return this.manifest.nothingFor(index, seq);
  }

  async holds(hashes: readonly string[]): Promise<boolean[]> {
    return hashes.map((hash) => this.placement.has(hash));
  }

  async limitTo(prefixes: readonly string[] | null): Promise<boolean> {
    const part = prefixes === null ? null : new Part(prefixes);
    const asText = (of: Part | null) => JSON.stringify(of?.prefixes ?? null);
    if (asText(part) === asText(this.manifest.part)) return false;
    await this.exclusively(async () => {
      this.departure.limit(part);
      this.context.rules = this.looks.readRules();
      await this.departure.carryOut();
    });
    return true;
  }

  heal(): Promise<{ healed: number; wants: Want[] }> {
    return this.exclusively(() => this.intake.heal());
  }

  async begin(hash: string, size: number): Promise<number> {
    await this.exclusively(async () => {});
    return this.noticing(() => this.staging.begin(hash, size));
  }

  async accept(files: readonly SmallFile[]): Promise<void> {
    await this.exclusively(async () => {});
    await this.noticing(() => this.staging.accept(files));
  }

  async write(hash: string, offset: number, bytes: Uint8Array): Promise<void> {
    await this.noticing(async () => this.staging.write(hash, offset, bytes));
    await this.staging.keptUp(hash);
  }

  async finish(hash: string): Promise<void> {
    await this.noticing(() => this.staging.finish(hash));
  }

  async leave(hash: string): Promise<void> {
    this.staging.leave(hash);
  }

  async read(hash: string, offset: number, length: number, memory?: ArrayBuffer): Promise<Uint8Array<ArrayBuffer>> {
    return this.reading.read(hash, offset, length, memory);
  }

  async readSmall(hashes: readonly string[]): Promise<(Uint8Array<ArrayBuffer> | "large" | "missing")[]> {
    return this.reading.readSmall(hashes);
  }

  async locate(path: string): Promise<FileEntry> {
    checkPath(path);
    const row = this.manifest.row(path);
    const silent = row?.state === State.ignored || row?.state === State.forgotten || row?.state === State.leaving;
    if (row?.kind === "file" && !silent) return entryOf(row);
    throw new SyncError({
      code: "NOT_FOUND",
      message: `the root "${this.options.name}" has no file "${path.slice(0, 200)}"`,
      action: "See what it has with `scoutsync files list`.",
    });
  }

  recipe(hash: string, size: number): Promise<Uint8Array<ArrayBuffer>> {
    return this.reading.using(hash, (fd, there) => recipeOf(fd, Math.min(size, there)));
  }

  async assemble(hash: string, size: number, path: string, recipe: Uint8Array): Promise<{ offset: number; length: number }[]> {
    const chunks = readRecipe(recipe, size);
    await this.begin(hash, size);
    const missing = new Map<string, Chunk[]>();
    for (const chunk of chunks) missing.set(chunk.id, [...(missing.get(chunk.id) ?? []), chunk]);
    const row = this.manifest.row(path);
    if (row?.kind === "file" && row.size >= DELTA_FROM_BYTES) {
      await this.reading.using(row.hash, (fd, there) =>
        cut(fd, there, ({ id, length }, bytes) => {
          const places = missing.get(id);
          if (!places) return;
          // The hash of a piece has only to be good enough to try: the whole file's hash decides.
          for (const place of places) if (place.length === length) this.staging.place(hash, place.offset, bytes);
          missing.delete(id);
        }),
      );
    }
    return ranges([...missing.values()].flat().sort((a, b) => a.offset - b.offset));
  }

  async patch(hash: string, offset: number, bytes: Uint8Array): Promise<void> {
    await this.noticing(async () => this.staging.place(hash, offset, bytes));
    await this.staging.keptUp(hash);
  }

  async reviews(): Promise<Review[]> {
    const { current } = this.trouble;
    return this.judgements.list(current?.code === "ROOT_UNAVAILABLE" ? current.message : "");
  }

  async resolve(id: string, decision: Decision): Promise<Review | null> {
    if (id === this.judgements.rootReviewId && this.trouble.current?.code === "ROOT_UNAVAILABLE") {
      const [found] = await this.reviews();
      if (decision !== "release") {
        throw new SyncError({
          code: "INVALID_ARGUMENT",
          message: "another folder is only ever released to be this root",
          action: "Give --release, or put the folder back.",
        });
      }
      await this.releaseRoot();
      return found ? { ...found, resolved: true } : null;
    }
    return this.exclusively(() => this.judgements.resolve(id, decision));
  }

  restore(path: string, hash: string): Promise<FileEntry> {
    return this.exclusively(async () => {
      checkPath(path);
      if (this.manifest.part?.has(path) === false) throw this.outside(path);
      return this.judgements.restore(path, hash);
    });
  }

  async absent(paths: readonly string[]): Promise<{ path: string; reason: string }[]> {
    return paths.flatMap((path) => {
      const problem = pathProblem(path);
      if (problem !== null) return [{ path, reason: `${problem}: it can name no file of a root` }];
      const row = this.manifest.row(path);
      if (row?.kind === "file" && row.state === State.here && row.missingUs === 0) return [];
      if (row?.kind === "gone") return [{ path, reason: "was deleted" }];
      return [{ path, reason: row?.state === State.ignored ? "is left alone here" : "is not here yet" }];
    });
  }

  async versions(path: string): Promise<StoredVersion[]> {
    return this.manifest
      .objectsOf(path)
      .map(({ hash, size, why, author, modifiedUs, storedUs }) => ({ hash, size, why, author, modifiedUs, storedUs }));
  }

  async files(under: string, after: string, limit: number): Promise<FileListing[]> {
    return this.manifest.list(under, after, limit).map(({ path, kind, size, hash, modifiedUs, author, version, state }) => ({
      path,
      kind,
      size,
      hash,
      modifiedUs,
      author,
      version: formatVector(version),
      state: STATE_WORDS[state],
    }));
  }

  async status(): Promise<FileStatus> {
    return {
      state: this.state(),
      stored: this.manifest.storedCount(),
      remarks: inBrief([...this.scanner.remarks.values(), ...this.intake.claims.tooLarge.values()]),
      refusals: this.manifest.refusals(100),
    };
  }

  async close(): Promise<void> {
    this.lookout?.stop();
    await this.turn.catch(() => {});
    this.reading.close();
    this.staging.close();
    if (this.isReady) this.looks.noteSeen("at the end");
    this.letGo();
    this.manifest.close();
  }

  private letGo(): void {
    this.unlock?.();
    this.unlock = null;
  }

  /** One after the other, each on a root that is the one it was and has no cut step left. */
  private exclusively<T>(work: () => Promise<T>): Promise<T> {
    const run = this.turn.then(() =>
      this.noticing(async () => {
        await this.prepare();
        try {
          const result = await work();
          this.trouble.eased();
          return result;
        } catch (error) {
          // Steps may have been cut as by a crash: nothing else happens here before they are finished or undone.
          this.isReady = false;
          throw error;
        }
      }),
    );
    this.turn = run.catch(() => {});
    return run;
  }

  /** What stands in the way of the root as a whole is part of its state. */
  private async noticing<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      const failure = this.trouble.note(error);
      if (this.trouble.current?.code === "ROOT_UNAVAILABLE") {
        this.isReady = false;
        // Its disk can be unmounted; the lock is taken again with the root.
        this.letGo();
      }
      throw failure;
    }
  }

  /** The root is marked, its store known, and what a crash cut is finished or undone. */
  private async prepare(): Promise<void> {
    const { manifest, context } = this;
    // A machine that was put back while it ran learns the time, and nothing else tells it.
    if (context.diskClock.wasSetAhead() && this.unlock) manifest.beginRun();
    if (this.isReady) return;
    if (!this.unlock) refuseInRoot(context.disk.path);
    if (manifest.get("root_id") === null) {
      const found = context.disk.identity();
      manifest.set("root_id", found ?? context.disk.mark());
    }
    if (!this.unlock) {
      this.unlock = withRoot(context, () => lockRoot(context.disk.path));
      manifest.beginRun();
      // From here on time counts.
      if (manifest.get("aged_us") === null) manifest.age(context.nowUs(), Infinity);
      withRoot(context, (open) => this.looks.meet(open));
    }
    await recover(context);
    // What a lost manifest knew of, and what a crash left between the store and the manifest.
    await withRoot(context, (open) => adoptObjects(context, open));
    context.rules = this.looks.readRules();
    withRoot(context, ({ staging }) => {
      for (const dirent of staging.names()) {
        const name = dirent.name.toString();
        // Copies for steps that are over. What is being received has a hash for a name and is gone on with, unless it is stored by now.
        const isStored = !this.staging.isUsing(name) && manifest.object(name) !== null;
        if ((name.length < 64 || isStored) && dirent.isFile()) staging.remove(name);
      }
    });
    this.isReady = true;
  }

  private outside(path: string): SyncError {
    return new SyncError({
      code: "FORBIDDEN",
      message: `"${path}" is outside of the folders that this node has of the root "${this.options.name}"`,
      action: "Restore it at a node that has all of the root.",
    });
  }

  /** A person says that the folder is this root: what is in it is joined anew, as by a node that has never been here. */
  private async releaseRoot(): Promise<void> {
    const { manifest, context } = this;
    const id = context.disk.identity() ?? context.disk.mark();
    manifest.transaction(() => {
      manifest.forgetEntries();
      manifest.set("root_id", id);
    });
    await this.exclusively(async () => {});
  }
}

import { closeSync, fstatSync, fsync, type BigIntStats } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { promisify } from "node:util";
import { lengthProblem, nameProblem, OWN_ROOT, STORE_FOLDER } from "../paths/check-path.ts";
import { errorCode, type Folder, inFolderOf } from "../paths/folder.ts";
import { ownEntry, plannerOf, withRoot, type RootContext } from "../context.ts";
import { type FileEntry, EMPTY_VECTOR } from "@scoutsync/core";
import { entryOf, State, type ManifestRow } from "../manifest/rows.ts";
import { next } from "../plan/plan.ts";
import { hashOpen } from "../store/hash.ts";
import { belongsToDatabase, excludedName, isDatabase } from "./exclusions.ts";
import { inodeIn, isRacy, modifiedIn, printOf } from "./print.ts";
import type { Remark, ScanReport } from "./report.ts";

/** Hashes written to the manifest in one transaction, and files open at once. */
const GROUP = 32;
/** Other work of the thread gets its turn this often, milliseconds. */
const TURN_MS = 15;
const sync = promisify(fsync);

interface Candidate {
  path: string;
  name: string;
  stats: BigIntStats;
  row: ManifestRow | null;
}

/** A file about to be read, as it was before. */
interface Opened {
  candidate: Candidate;
  fd: number;
  before: BigIntStats;
  /** By the disk's clock, Unix microseconds. */
  openedUs: number;
}

/** A file that was read from its beginning to its end while nothing changed it. */
interface Read extends Opened {
  hash: string;
  stats: BigIntStats;
  /** When its print was taken, by the disk's clock, Unix microseconds. */
  seenUs: number;
}

export interface ScanOptions {
  /** Read every file again, whatever its print says. */
  deep?: boolean | undefined;
  /** Only these folders ("" = the root), and those below them that are new. */
  folders?: readonly string[] | undefined;
}

/**
 * Looks at a root and writes down what differs from what is known. Absence is only noted here (`missing`): what becomes of
 * it is decided by `Deletions`, and only for folders that could be read whole.
 */
export class Scanner {
  private readonly context: RootContext;
  /** Everything that is left alone, by path. */
  readonly remarks = new Map<string, Remark>();
  private lastTurn = 0;

  constructor(context: RootContext) {
    this.context = context;
  }

  /** `exclusively` runs what writes the manifest apart from everything else that does. */
  async scan({ deep = false, folders }: ScanOptions, exclusively: <T>(work: () => Promise<T>) => Promise<T>): Promise<ScanReport> {
    const report: ScanReport = { changed: 0, missing: 0, hashed: 0, busy: 0 };
    this.context.databases.refresh();
    const waiting = [...(folders ?? [""])];
    if (!folders) this.remarks.clear();
    for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
      const folder = path;
      const below = await exclusively(() => this.scanFolder(folder, deep, report));
      for (const child of below) if (!folders || child.isNew) waiting.push(child.path);
      await this.breathe();
    }
    return report;
  }

  /** Looks at one path only. */
  async look(path: string): Promise<void> {
    await withRoot(this.context, async ({ root }) => {
      const report: ScanReport = { changed: 0, missing: 0, hashed: 0, busy: 0 };
      const row = this.context.manifest.row(path);
      let stats: BigIntStats | null;
      let siblings: Set<string>;
      try {
        [stats, siblings] = inFolderOf(root, path, (folder, name) => [
          folder.look(name),
          new Set(["wal", "shm"].map((end) => `${name}-${end}`).filter((beside) => folder.look(beside) !== null)),
        ]);
      } catch (error) {
        const code = errorCode(error);
        if (code === "ENOENT" || code === "ENOTDIR" || code === "ELOOP") return;
        if (code !== "EACCES" && code !== "EPERM" && code !== "EIO") throw error;
        // Nobody can say what is there; everything else goes on.
        this.remark(path, "unreadable", `cannot be read (${code}); nothing of it counts as deleted`);
        return;
      }
      const name = path.split("/").pop() ?? "";
      if (!stats || this.leftAlone(root, path, name, stats, siblings, row)) return;
      if (stats.isDirectory()) this.noteFolder(path, row, report);
      else if (stats.isFile()) await this.readGroup(root, [{ path, name, stats, row }], report);
    });
  }

  /** One folder without those below it, which are returned. */
  private scanFolder(path: string, deep: boolean, report: ScanReport): Promise<{ path: string; isNew: boolean }[]> {
    return withRoot(this.context, async ({ root }) => {
      const below: { path: string; isNew: boolean }[] = [];
      let listing: { name: string; stats: BigIntStats | null; problem: string | null }[];
      let dev: bigint;
      try {
        [listing, dev] = path === "" ? [list(root), root.dev] : inFolderOf(root, `${path}/.`, (folder) => [list(folder), folder.dev]);
      } catch (error) {
        const code = errorCode(error);
        // Gone since its parent was read, or not a folder any more: the parent's next look says so.
        if (code === "ENOENT" || code === "ENOTDIR" || code === "ELOOP") return below;
        this.remark(path, "unreadable", `cannot be read (${code}); nothing below it counts as deleted`);
        return below;
      }
      if (dev !== root.dev) {
        this.remark(path, "mount", "is another file system; it is left alone, and nothing below it counts as deleted");
        return below;
      }
      if (path !== "" && listing.some(({ name }) => name === STORE_FOLDER)) {
        this.remark(path, "mount", `${OWN_ROOT}; it is left alone here, and nothing below it counts as deleted`);
        return below;
      }
      const { manifest, rules } = this.context;
      const rows = new Map(manifest.children(path).map((row) => [row.path, row]));
      const siblings = new Set(listing.map(({ name }) => name));
      const candidates: Candidate[] = [];
      const seen = new Set<string>();
      const folded = new Map<string, string>();
      for (const { name, stats, problem } of listing) {
        if (path === "" && name === STORE_FOLDER) continue;
        const full = path === "" ? name : `${path}/${name}`;
        seen.add(full);
        if (problem !== null || !stats) {
          this.remark(full, "name", problem ?? "went away while it was looked at");
          continue;
        }
        const row = rows.get(full) ?? null;
        if (this.leftAlone(root, full, name, stats, siblings, row)) continue;
        const fold = name.toLowerCase();
        const twin = folded.get(fold);
        if (twin !== undefined) this.remark(full, "case", `differs from "${twin}" only in case; both are kept apart`);
        folded.set(fold, name);
        if (stats.isDirectory()) {
          const isNew = row?.kind !== "folder";
          this.noteFolder(full, row, report);
          below.push({ path: full, isNew });
        } else if (stats.isFile()) {
          // What was in the folder that had this name is not there any more: it stands nowhere else.
          if (row?.kind === "folder") for (const child of manifest.children(full)) this.noteMissing(child, this.context.nowUs(), report);
          const known = row?.kind === "file" && row.state === State.here && !row.racy && row.print === printOf(stats);
          // As earlier versions told of a restored file: under that size nobody can fetch it.
          const isWrong = row?.size !== Number(stats.size);
          if (!known || isWrong || deep) candidates.push({ path: full, name, stats, row });
          else if (row.missingUs > 0) manifest.observe(full, { missingUs: 0 });
        }
      }
      const nowUs = this.context.nowUs();
      for (const row of rows.values()) {
        if (seen.has(row.path) || row.kind === "gone") continue;
        if (row.state !== State.here) continue;
        if (rules.ignores(row.path, row.kind === "folder")) this.setAside(row);
        else this.noteMissing(row, nowUs, report);
      }
      for (let at = 0; at < candidates.length; at += GROUP) {
        await this.readGroup(root, candidates.slice(at, at + GROUP), report);
        await this.breathe();
      }
      return below;
    });
  }

  /** After a look at everything: what is still known below what is no folder by now is missing, whatever has been forgotten since. */
  noteBelowNoFolder(report: ScanReport): void {
    for (const row of this.context.manifest.belowNoFolder()) this.noteMissing(row, this.context.nowUs(), report);
  }

  /** A missing folder's files are missing, too: all of it is one absence. */
  private noteMissing(row: ManifestRow, nowUs: number, report: ScanReport): void {
    const { manifest } = this.context;
    const rows = row.kind === "folder" ? [row, ...manifest.below(row.path)] : [row];
    manifest.transaction(() => {
      for (const one of rows) {
        if (one.state !== State.here || one.kind === "gone") continue;
        report.missing += 1;
        // A first sighting under a clock that was ahead would be the only one until that time has come.
        if (one.missingUs === 0 || one.missingUs > nowUs) manifest.observe(one.path, { missingUs: nowUs });
      }
    });
  }

  /** True for what is not synced; what is known of it then stays as it is, and counts neither as here nor as deleted. */
  private leftAlone(
    root: Folder,
    path: string,
    name: string,
    stats: BigIntStats,
    siblings: ReadonlySet<string>,
    row: ManifestRow | null,
  ): boolean {
    const { databases, rules, limits } = this.context;
    const aside = (kind: Remark["kind"] | null, reason: string) => {
      if (kind) this.remark(path, kind, reason);
      if (row && row.kind !== "gone" && row.state === State.here) this.setAside(row);
      return true;
    };
    const problem = nameProblem(name) ?? lengthProblem(path);
    if (problem !== null) return name.startsWith(".scoutsync-") ? aside(null, "") : aside("name", problem);
    const excluded = stats.isDirectory()
      ? null
      : databases.has(stats)
        ? "a database of this node is synced as rows"
        : (excludedName(name, siblings) ?? (belongsToDatabase(root, databases, path) ? "belongs to a database" : null));
    if (excluded !== null) return aside("excluded", excluded);
    if (rules.ignores(path, stats.isDirectory())) return aside(null, "");
    if (!stats.isDirectory() && !stats.isFile())
      return aside("kind", stats.isSymbolicLink() ? "is a link; links are left alone" : "is no regular file");
    if (stats.isFile() && Number(stats.size) > limits.maxSizeBytes)
      return aside("size", `has ${stats.size} bytes, more than the ${limits.maxSizeBytes} that are synced`);
    if (row?.state === State.ignored || row?.state === State.forgotten) this.takeBack(row);
    return false;
  }

  /** What comes to be left alone, with everything below a folder, counts neither as here nor as deleted. */
  private setAside(row: ManifestRow): void {
    const { manifest } = this.context;
    manifest.transaction(() => {
      // Below a file, too: it may stand where a folder was a moment ago.
      for (const one of [row, ...manifest.below(row.path)])
        if (one.state !== State.leaving) manifest.observe(one.path, { state: State.ignored, missingUs: 0 });
    });
  }

  /** What was left alone takes part again; what is not there then is fetched, not deleted. */
  private takeBack(row: ManifestRow): void {
    const { manifest } = this.context;
    manifest.transaction(() => {
      manifest.relist(row, State.here, this.context.nowUs());
      // What others have told of it meanwhile was passed over.
      manifest.forgetReceived();
    });
  }

  /**
   * After a look at everything: what is no longer left alone, by the rules or for what it is, and is not there, counts neither
   * as here nor as deleted. Whoever has it brings it back, since all lists are read again, under a new name: what others had
   * from this node would else not be sent to it.
   */
  forgetWhatIsNoLongerIgnored(): void {
    const { manifest, rules } = this.context;
    let hasForgotten = false;
    manifest.transaction(() => {
      for (const row of manifest.inState(State.ignored)) {
        if (row.kind === "gone" || this.remarks.has(row.path) || !this.concerns(row)) continue;
        const above = row.path.split("/").slice(0, -1);
        if (above.some((_, depth) => rules.ignores(above.slice(0, depth + 1).join("/"), true))) continue;
        // With a folder that is not there nothing in it is.
        for (const one of row.kind === "folder" ? [row, ...manifest.below(row.path)] : [row])
          manifest.observe(one.path, { state: State.forgotten, missingUs: 0 });
        hasForgotten = true;
      }
      if (!hasForgotten) return;
      manifest.reindex();
      manifest.forgetReceived();
    });
  }

  /** True when a path that was left alone is not any more. */
  private concerns({ path, kind }: ManifestRow): boolean {
    const name = path.split("/").pop() ?? "";
    return excludedName(name) === null && nameProblem(name) === null && !this.context.rules.ignores(path, kind === "folder");
  }

  private noteFolder(path: string, row: ManifestRow | null, report: ScanReport): void {
    const { manifest } = this.context;
    if (row?.kind === "folder") {
      if (row.missingUs > 0 || row.state === State.wanted) manifest.observe(path, { missingUs: 0, state: State.here });
      return;
    }
    const nowUs = this.context.nowUs();
    const version = next(row?.version ?? EMPTY_VECTOR, plannerOf(this.context));
    const entry = ownEntry(this.context, {
      path,
      kind: "folder",
      hash: "",
      size: 0,
      mode: 7,
      modifiedUs: nowUs,
      version,
      stampUs: nowUs,
      losers: row?.losers ?? [],
    });
    manifest.transaction(() => manifest.write({ entry, source: "", print: "", racy: false, state: State.here }, nowUs));
    report.changed += 1;
  }

  /** Reads files of one folder and writes down what they hold, in one transaction. */
  private async readGroup(root: Folder, group: Candidate[], report: ScanReport): Promise<void> {
    const opened: Opened[] = [];
    try {
      for (const candidate of group) {
        const one = this.open(root, candidate);
        if (one) opened.push(one);
      }
      // Who writes into a mapped file changes its time by the first write after the page was on the disk, and by no later one.
      await Promise.all(opened.filter(({ before }) => this.context.diskClock.mayBeUnwritten(before)).map(({ fd }) => sync(fd)));
      const read: Read[] = [];
      for (const one of opened) {
        const found = await this.readOne(one, report);
        if (found) read.push(found);
      }
      this.context.reached("files read");
      const lasting = await this.makeDurable(root, read, report);
      this.context.manifest.transaction(() => {
        for (const one of lasting) this.record(one, report);
      });
      this.context.reached("files recorded");
    } finally {
      for (const { fd } of opened) closeSync(fd);
    }
  }

  /** Returns those whose bytes are on the disk, under their names. What has changed since it was read is left for the next look. */
  private async makeDurable(root: Folder, read: readonly Read[], report: ScanReport): Promise<readonly Read[]> {
    const unwritten = read.filter(({ stats }) => this.context.diskClock.mayBeUnwritten(stats));
    const [first] = unwritten;
    if (!first) return read;
    // Written to again before it was read, maybe, in the tick of the change that was known.
    const fresh = new Set(unwritten.filter(({ stats, openedUs }) => isRacy(stats, openedUs)));
    await Promise.all([...fresh].map(({ fd }) => sync(fd)));
    try {
      inFolderOf(root, first.candidate.path, (folder) => folder.sync());
    } catch (error) {
      if (!["ENOENT", "ENOTDIR", "ELOOP", "EACCES"].includes(errorCode(error))) throw error;
      // The folder itself has another name by now: the next look meets its files there.
      report.busy += read.length;
      return [];
    }
    const lasting = read.filter((one) => !fresh.has(one) || printOf(fstatSync(one.fd, { bigint: true })) === printOf(one.stats));
    report.busy += read.length - lasting.length;
    return lasting;
  }

  /** Null for what is no file to be read after all. */
  private open(root: Folder, candidate: Candidate): Opened | null {
    let fd: number;
    try {
      fd = inFolderOf(root, candidate.path, (folder, name) => folder.read(name));
    } catch (error) {
      const code = errorCode(error);
      if (code === "EACCES" || code === "EIO" || code === "EPERM") this.remark(candidate.path, "unreadable", `cannot be read (${code})`);
      // Anything else: it became something else this moment, and the next look says what.
      return null;
    }
    let kept = false;
    try {
      const before = fstatSync(fd, { bigint: true });
      if (!before.isFile() || this.context.databases.has(before)) return null;
      if (isDatabase(fd)) {
        this.remark(candidate.path, "excluded", "a database is synced as rows (--db), not as a file");
        const { row } = candidate;
        if (row && row.state === State.here)
          this.context.manifest.transaction(() => this.context.manifest.observe(row.path, { state: State.ignored }));
        return null;
      }
      kept = true;
      return { candidate, fd, before, openedUs: this.context.diskClock.nowUs() };
    } finally {
      if (!kept) closeSync(fd);
    }
  }

  private async readOne(opened: Opened, report: ScanReport): Promise<Read | null> {
    const { hash } = await hashOpen(opened.fd);
    report.hashed += 1;
    const seenUs = this.context.diskClock.nowUs();
    const stats = fstatSync(opened.fd, { bigint: true });
    if (printOf(opened.before) === printOf(stats)) return { ...opened, hash, stats, seenUs };
    report.busy += 1;
    return null;
  }

  private record({ candidate: { path }, hash, stats, seenUs }: Read, report: ScanReport): void {
    const { manifest } = this.context;
    const nowUs = this.context.nowUs();
    const row = manifest.row(path);
    const print = printOf(stats);
    const racy = isRacy(stats, seenUs);
    const mode = Number(stats.mode >> 6n) & 7;
    if (row?.kind === "file" && row.hash === hash) {
      if (row.mode === mode && row.size === Number(stats.size)) {
        manifest.observe(path, { print, racy, missingUs: 0, state: State.here });
        return;
      }
    } else if (row?.kind === "file" && this.isSuspect(row, print, Number(stats.size))) {
      manifest.observe(path, { print, racy: false, missingUs: 0, state: State.suspect });
      return;
    }
    const modifiedUs = Number(stats.mtimeNs / 1000n);
    const entry: FileEntry = ownEntry(this.context, {
      path,
      kind: "file",
      hash,
      size: Number(stats.size),
      mode,
      modifiedUs,
      version: next(row?.version ?? EMPTY_VECTOR, plannerOf(this.context)),
      stampUs: stampOf(row, modifiedUs, this.context.diskClock.nowUs()),
      losers: row?.losers ?? [],
    });
    manifest.write({ entry, source: "", print, racy, state: State.here }, nowUs);
    report.changed += 1;
  }

  /**
   * Other bytes in the very file and under the very time that were known, long after it: no program's edit, but a disk's, or a
   * crash's. Another file under that time is what a program put there that gives times to its files (from an archive). One that has
   * grown was read while a long write went on, which has the time of its beginning.
   */
  private isSuspect(row: ManifestRow, print: string, size: number): boolean {
    if (modifiedIn(row.print) !== modifiedIn(print) || inodeIn(row.print) !== inodeIn(print) || size > row.size) return false;
    return row.state === State.suspect || (row.state === State.here && !row.racy && row.print !== "");
  }

  remark(path: string, kind: Remark["kind"], reason: string): void {
    this.remarks.set(path, { path, kind, reason });
  }

  private async breathe(): Promise<void> {
    if (performance.now() - this.lastTurn < TURN_MS) return;
    await turn();
    this.lastTurn = performance.now();
  }
}

/** Names that are no valid UTF-8 have a problem and are not looked at: Node would look at another name. */
function list(folder: Folder): { name: string; stats: BigIntStats | null; problem: string | null }[] {
  return folder.names().map((dirent) => {
    const bytes = Buffer.from(dirent.name);
    const name = bytes.toString("utf8");
    if (!Buffer.from(name, "utf8").equals(bytes)) return { name, stats: null, problem: "is not valid UTF-8" };
    return { name, stats: folder.look(name), problem: null };
  });
}

/**
 * When a version was written: its modification time, where that can be: after what it followed, and not to come, by the clock that
 * gave it. A process's own idea of the time is behind after sleep, and what is written then would be taken for older than it is.
 */
function stampOf(row: ManifestRow | null, modifiedUs: number, nowUs: number): number {
  const latest = Math.min(modifiedUs > 0 ? modifiedUs : nowUs, nowUs);
  return Math.max(latest, row ? entryOf(row).stampUs + 1 : 0);
}

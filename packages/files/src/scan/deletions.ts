import { withRoot, ownEntry, plannerOf, type RootContext } from "../context.ts";
import { State, type ManifestRow } from "../manifest/rows.ts";
import { errorCode, inFolderOf, type Folder } from "../paths/folder.ts";
import { next } from "../plan/plan.ts";

/** A second look that comes sooner proves nothing, µs: editors take a file away for a moment when they save. */
export const SIGHTING_GAP_US = 1_000_000;
/** Where more than so many, and more than this share of the root's files go at once, a person decides. */
const BRAKE_FILES = 20;
const BRAKE_SHARE = 0.1;

/** A mass delete that is held back. */
export interface Brake {
  sinceUs: number;
  /** Files that are missing and are nowhere else in the root. */
  files: number;
  of: number;
}

/** What is to come of what is missing: a deletion needs two sightings, and a person where most of a root would go. */
export class Deletions {
  private readonly context: RootContext;

  constructor(context: RootContext) {
    this.context = context;
  }

  get brake(): Brake | null {
    const text = this.context.manifest.get("brake");
    return text === null || text === "" ? null : (JSON.parse(text) as Brake);
  }

  /** The second look at what was missing. Returns how many tombstones it wrote, and how many are still missing. */
  confirm({ released = false }: { released?: boolean } = {}): { gone: number; missing: number } {
    const { manifest } = this.context;
    const nowUs = this.context.nowUs();
    const missing = manifest.missing();
    if (missing.length === 0) {
      this.setBrake(null);
      return { gone: 0, missing: 0 };
    }
    const absent = withRoot(this.context, ({ root }) => missing.filter((row) => this.isAbsent(root, row)));
    const due = absent.filter((row) => released || nowUs - row.missingUs >= this.context.sightingGapUs);
    const lost = absent.filter((row) => row.kind === "file" && !manifest.withHash(row.hash).some((other) => other.missingUs === 0));
    const { files } = manifest.count();
    if (!released && lost.length > Math.max(BRAKE_FILES, files * BRAKE_SHARE)) {
      this.setBrake({ sinceUs: this.brake?.sinceUs ?? nowUs, files: lost.length, of: files });
      return { gone: 0, missing: absent.length };
    }
    manifest.transaction(() => {
      this.setBrake(null);
      for (const row of due) this.bury(row, nowUs);
    });
    return { gone: due.length, missing: absent.length - due.length };
  }

  /** Nothing that is missing counts any more: seen under other rules, or in another folder. */
  forget(): void {
    const { manifest } = this.context;
    manifest.transaction(() => {
      for (const row of manifest.missing()) manifest.observe(row.path, { missingUs: 0 });
      this.setBrake(null);
    });
  }

  /** A person says that nothing was meant to be deleted: what is missing is fetched again. */
  undo(): number {
    const { manifest } = this.context;
    const missing = manifest.missing();
    manifest.transaction(() => {
      for (const row of missing) manifest.observe(row.path, { missingUs: 0, state: State.wanted });
      this.setBrake(null);
    });
    return missing.length;
  }

  /**
   * Of what is missing, what was written down after this number is not known to be deleted: whoever has it brings it back, also who
   * has it from this run, as where a session came before the first look.
   */
  doubt(after: number): void {
    const { manifest } = this.context;
    const doubtful = manifest.missing().filter(({ seq }) => seq > after);
    if (doubtful.length === 0) return;
    manifest.transaction(() => {
      for (const { path } of doubtful) manifest.observe(path, { missingUs: 0, state: State.forgotten });
      manifest.reindex();
      manifest.forgetReceived();
    });
  }

  private bury(row: ManifestRow, nowUs: number): void {
    const seconds = Math.round((nowUs - row.missingUs) / 1e6);
    const entry = ownEntry(this.context, {
      path: row.path,
      kind: "gone",
      hash: "",
      size: 0,
      mode: 0,
      modifiedUs: nowUs,
      stampUs: Math.max(nowUs, row.stampUs + 1),
      version: next(row.version, plannerOf(this.context)),
      before: row.hash,
      cause: `missing on ${this.context.nodeName} in two looks ${seconds} s apart`,
      losers: row.losers,
    });
    this.context.manifest.write({ entry, source: "", print: "", racy: false, state: State.here }, nowUs);
  }

  /** Looked for once more; only "there is no such name" counts. */
  private isAbsent(root: Folder, row: ManifestRow): boolean {
    const { manifest } = this.context;
    try {
      if (inFolderOf(root, row.path, (folder, name) => folder.look(name)) === null) return true;
    } catch (error) {
      const code = errorCode(error);
      if (code === "ENOENT" || code === "ENOTDIR") return true;
      // EACCES, EIO, ELOOP: nobody can say. The next scan looks again from the start.
    }
    manifest.transaction(() => manifest.observe(row.path, { missingUs: 0 }));
    return false;
  }

  private setBrake(brake: Brake | null): void {
    if ((this.context.manifest.get("brake") ?? "") === "" && brake === null) return;
    this.context.manifest.set("brake", brake === null ? "" : JSON.stringify(brake));
  }
}

import { closeSync, readFileSync } from "node:fs";
import { withRoot, type RootContext } from "../context.ts";
import { IGNORE_FILE } from "../paths/check-path.ts";
import { adoptObjects } from "../store/objects.ts";
import { noteSeen, seenIn, type OpenRoot } from "../store/root-disk.ts";
import type { Deletions } from "./deletions.ts";
import { IgnoreRules } from "./exclusions.ts";
import type { ScanReport } from "./report.ts";
import type { Scanner, ScanOptions } from "./scanner.ts";

const MAX_IGNORE_BYTES = 1024 * 1024;
/** Which folder it is, whatever its mark says. */
const placeOf = ({ root }: OpenRoot): string => `${root.dev}:${root.ino}`;
/** What the folder says of how far its manifest is lags behind so much at most while looks find changes, µs. */
const NOTE_EVERY_US = 60_000_000;
/** A look is repeated when the ignore rules have changed, so often at most. */
const MAX_LOOKS_AT_RULES = 3;

type Exclusively = <T>(work: () => Promise<T>) => Promise<T>;

/** Looks whose outcome counts: under one set of rules from the beginning to the end, and at the folder that was there before. */
export class Looks {
  private readonly context: RootContext;
  private readonly scanner: Scanner;
  private readonly deletions: Deletions;
  /** Patterns of the configuration. */
  private readonly exclude: readonly string[];
  /** When the folder was last told how far its manifest is, Unix microseconds. */
  private notedUs = 0;

  constructor(context: RootContext, parts: { scanner: Scanner; deletions: Deletions; exclude: readonly string[] }) {
    this.context = context;
    this.scanner = parts.scanner;
    this.deletions = parts.deletions;
    this.exclude = parts.exclude;
  }

  /**
   * The folder at the beginning of a run. One that says less of how far its manifest is than that noted of it is an earlier state
   * of it. Where the manifest went on after the last note, as before a crash, that is not known of what was written since.
   */
  meet(open: OpenRoot): void {
    const { manifest } = this.context;
    const noted = manifest.get("seen");
    if (noted === null) return;
    if (seenIn(open) < Number(noted)) manifest.set("place", "another");
    else if (manifest.seq > Number(noted)) manifest.set("in_doubt_after", String(Math.min(Number(noted), this.inDoubtAfter ?? Infinity)));
  }

  /** What was written down after this number, and is not there, may have gone with the folder's state. Null where nothing is in doubt. */
  private get inDoubtAfter(): number | null {
    const text = this.context.manifest.get("in_doubt_after") ?? "";
    return text === "" ? null : Number(text);
  }

  /** In the folder first: where that says less than the manifest, it is an earlier state of it. */
  noteSeen(when: "now and then" | "at the end"): void {
    const { manifest } = this.context;
    const nowUs = this.context.nowUs();
    if (when === "now and then" && nowUs - this.notedUs <= NOTE_EVERY_US) return;
    this.notedUs = nowUs;
    if (manifest.get("seen") === String(manifest.seq)) return;
    try {
      withRoot(this.context, (open) => noteSeen(open, manifest.seq));
      manifest.set("seen", String(manifest.seq));
    } catch {
      // Only an aid: where it cannot be written, both say less than they could.
    }
  }

  /**
   * A look under rules that were the same before it and when it began. Where they have changed, what is missing has been seen
   * once at most by those that count now: not at all; everything is looked at again, so that a look under new rules, or one
   * that finds the rules file itself deleted, ends like any other. Not settled: they change faster than that.
   */
  async look(options: ScanOptions, exclusively: Exclusively): Promise<{ report: ScanReport; isSettled: boolean }> {
    let { deep, folders } = options;
    const report: ScanReport = { changed: 0, missing: 0, hashed: 0, busy: 0 };
    const place = await exclusively(async () => withRoot(this.context, placeOf));
    const isMoved = (this.context.manifest.get("place") ?? place) !== place;
    const { inDoubtAfter } = this;
    if (isMoved || inDoubtAfter !== null) folders = undefined;
    if (isMoved) {
      await exclusively(() => withRoot(this.context, (open) => adoptObjects(this.context, open)));
    }
    for (let looks = 0; looks < MAX_LOOKS_AT_RULES; looks++) {
      const others = await exclusively(() => this.refreshRules());
      const { changed, hashed, busy } = await this.scanner.scan({ deep, folders }, exclusively);
      report.changed += changed;
      report.hashed += hashed;
      report.busy = busy;
      if (!folders) {
        await exclusively(async () => {
          this.scanner.forgetWhatIsNoLongerIgnored();
          this.scanner.noteBelowNoFolder(report);
        });
      }
      if (inDoubtAfter !== null) {
        await exclusively(async () => {
          this.deletions.doubt(inDoubtAfter);
          this.context.manifest.set("in_doubt_after", "");
        });
      }
      if (isMoved || this.context.manifest.get("place") === null) {
        await exclusively(async () => {
          // In a copy of the folder that was there before, nobody has deleted what is not in it.
          if (isMoved) this.deletions.undo();
          this.context.manifest.set("place", place);
        });
      }
      if (!others) return { report, isSettled: true };
      await exclusively(async () => this.deletions.forget());
      [deep, folders] = [false, undefined];
    }
    return { report, isSettled: false };
  }

  /** Rules are read before each look. True when they are others: all lists are then read again. */
  private async refreshRules(): Promise<boolean> {
    const { context } = this;
    const { manifest } = context;
    context.rules = this.readRules();
    const print = `${context.rules.print} ${context.limits.maxSizeBytes}`;
    const before = manifest.get("rules");
    if (before === print) return false;
    manifest.transaction(() => {
      if (before !== null) manifest.forgetReceived();
      manifest.set("rules", print);
    });
    return before !== null;
  }

  /** Those of the configuration, of the root's own file, and of the part that the node is limited to. */
  readRules(): IgnoreRules {
    const text = withRoot(this.context, ({ root }) => {
      const stats = root.look(IGNORE_FILE);
      if (!stats?.isFile() || stats.size > MAX_IGNORE_BYTES) return "";
      const fd = root.read(IGNORE_FILE);
      try {
        return readFileSync(fd, "utf8");
      } finally {
        closeSync(fd);
      }
    });
    return new IgnoreRules(this.exclude, text, this.context.manifest.part);
  }
}

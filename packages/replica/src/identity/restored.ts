import { SyncError, type VersionVector } from "@scoutsync/core";
import type { Database } from "better-sqlite3";
import { readMeta, writeMeta } from "../schema/install.ts";
import type { Knowledge } from "./knowledge.ts";

const RESTORED = "restored";

/**
 * A replica that once had more than it has now, as after a backup was restored. What it lost may be elsewhere, and what
 * it holds may be long out of date, so it serves no one before it has pulled once.
 */
export class Restored {
  private readonly db: Database;
  private readonly knowledge: Knowledge;
  /** Serve all the same: nobody is left to pull from. */
  private readonly serveAnyway: boolean;
  private why: string;

  constructor(db: Database, knowledge: Knowledge, serveAnyway: boolean) {
    this.db = db;
    this.knowledge = knowledge;
    this.serveAnyway = serveAnyway;
    this.why = readMeta(db, RESTORED) ?? "";
  }

  /** What stands in the way of serving; empty when nothing does. */
  get problem(): string {
    if (this.why === "" || this.serveAnyway) return "";
    return `it was restored (${this.why}): it serves no one until it has pulled from another node once`;
  }

  /** True when it is noted, or is no matter. */
  get isKnown(): boolean {
    return this.serveAnyway || this.why !== "";
  }

  /** True when `before`, what this database once had, is not all here. */
  lacks(before: VersionVector): boolean {
    const { vector } = this.knowledge;
    return [...before].some(([origin, sequence]) => sequence > (vector.get(origin) ?? 0));
  }

  /** True when somebody has more of what this database wrote than it has itself. */
  isOutlived(by: VersionVector): boolean {
    for (const [origin, sequence] of by) {
      const oid = this.knowledge.numberOf(origin);
      if (oid !== undefined && !this.knowledge.covers(oid, sequence) && this.knowledge.isOwn(oid)) return true;
    }
    return false;
  }

  /** Remembers it; part of the caller's transaction. `keep` when it has committed. */
  note(why: string): { keep(): void } {
    writeMeta(this.db, RESTORED, why);
    return { keep: () => (this.why = why) };
  }

  /** A stream of another node was applied to its end. Part of the caller's transaction; `keep` when it has committed. */
  pulled(): { keep(): void } {
    if (this.why !== "") writeMeta(this.db, RESTORED, "");
    return { keep: () => (this.why = "") };
  }

  /** Throws RESTORED while nobody may be served. */
  check(): void {
    if (this.problem === "") return;
    throw new SyncError({
      code: "RESTORED",
      message: `this database serves no one yet: ${this.problem}`,
      action:
        "Let it sync with a node that was not restored. Where none is left, start it with --serve-restored: then what it holds counts.",
    });
  }
}

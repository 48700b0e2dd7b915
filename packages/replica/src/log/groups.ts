import type { Database } from "better-sqlite3";
import type { ChangeGroup } from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import { rowStatement } from "../kept-statements.ts";

/** A larger group is sent and applied batch by batch: its transaction would keep the application from writing. */
export const LARGEST_GROUP = 100_000;
/** Newest groups remembered; an older one is applied batch by batch by whoever has been away for so long. */
const GROUPS_KEPT = 10_000;

/**
 * Which changes belong together: those of one drain, so that what an application committed in one transaction becomes
 * visible in one on every replica. Nothing in SQL tells where a transaction ended, but a drain never splits one.
 */
export class Groups {
  private readonly db: Database;
  private readonly knowledge: Knowledge;

  constructor(options: { db: Database; knowledge: Knowledge }) {
    this.db = options.db;
    this.knowledge = options.knowledge;
  }

  /** Notes that an origin's changes from `first` to `last` belong together. Groups of one, and too large ones, are none. */
  note(origin: number, first: number, last: number): void {
    if (last <= first || last - first >= LARGEST_GROUP) return;
    const { lastInsertRowid: n } = this.db
      .prepare("INSERT INTO _scoutsync_group(oid, first, last) VALUES(?, ?, ?)")
      .run(origin, first, last);
    if (Number(n) % 1_000 === 0) this.db.prepare("DELETE FROM _scoutsync_group WHERE n <= ?").run(Number(n) - GROUPS_KEPT);
  }

  /** The last sequence of the group in the middle of which `at` is; null when everything up to `at` is whole. */
  endAfter(origin: number, at: number): number | null {
    const last = this.db
      .prepare("SELECT max(last) FROM _scoutsync_group WHERE oid = ? AND last > ? AND first <= ?")
      .pluck()
      .get(origin, at, at) as number | null;
    return last;
  }

  /** The groups that lie wholly between two vectors of local origins, for a receiver that will pass them on. */
  between(from: ReadonlyMap<number, number>, to: ReadonlyMap<number, number>): ChangeGroup[] {
    const select = rowStatement(
      this.db,
      "SELECT first, last FROM _scoutsync_group WHERE oid = ? AND first > ? AND last <= ? ORDER BY last",
    );
    const groups: ChangeGroup[] = [];
    for (const [oid, upTo] of to) {
      if (upTo <= (from.get(oid) ?? 0)) continue;
      for (const { first, last } of select.all(oid, from.get(oid) ?? 0, upTo) as { first: number; last: number }[]) {
        groups.push({ origin: this.knowledge.nameOf(oid), first, last });
      }
    }
    return groups;
  }

  /** Takes over what a peer says of groups. It decides only how much is sent at once, so it needs no proof. */
  learn(groups: readonly ChangeGroup[]): void {
    for (const { origin, first, last } of groups) {
      const oid = this.knowledge.numberOf(origin);
      if (oid !== undefined && this.endAfter(oid, last - 1) !== last) this.note(oid, first, last);
    }
  }
}

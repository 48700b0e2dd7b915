import type { Database } from "better-sqlite3";
import type { ChangeGroup } from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import { rowStatement } from "../kept-statements.ts";
import { readMeta, writeMeta } from "../schema/install.ts";

/** A larger group is sent and applied batch by batch: its transaction would keep the application from writing. */
export const LARGEST_GROUP = 100_000;
/** Newest groups remembered; an older one is applied batch by batch by whoever has been away for so long. */
const GROUPS_KEPT = 10_000;

/** In the metadata: JSON of the parts of a group that is not drained to its end. */
const OPEN = "open group";

/** What a run drained of a group: its changes after `after`. */
interface Part {
  origin: number;
  after: number;
}

/**
 * Which changes belong together: those of one drain, so that what an application committed in one transaction becomes
 * visible in one on every replica. Nothing in SQL tells where a transaction ended, but a drain never splits one.
 *
 * Where a node was killed in the middle of a drain, the next run goes on under an origin of its own. The group then has a part in
 * each: that of the later origin is stored with a `first` that is no sequence but minus the number of the origin which it continues,
 * and goes to others with a `first` of 0, behind a group of one change of that origin.
 */
export class Groups {
  private readonly db: Database;
  private readonly knowledge: Knowledge;
  /** As in the file. */
  private open: readonly Part[] = [];

  constructor(options: { db: Database; knowledge: Knowledge }) {
    this.db = options.db;
    this.knowledge = options.knowledge;
    this.reload();
  }

  /** Call after a rollback. */
  reload(): void {
    this.open = JSON.parse(readMeta(this.db, OPEN) ?? "[]") as Part[];
  }

  /** A turn ends in the middle of the group that began after a sequence of this run: should it be killed, the next one goes on with it. */
  leaveOpen(after: number): void {
    const { lastDot } = this.knowledge;
    if (!lastDot || lastDot.sequence === after || this.open.some((part) => part.origin === lastDot.origin && part.after === after)) return;
    this.setOpen([...this.openBefore, { origin: lastDot.origin, after }]);
  }

  /** The group that began after a sequence of this run, or in a run before, ends here. */
  end(after: number): void {
    const { lastDot } = this.knowledge;
    const parts = [...this.openBefore, ...(lastDot ? [{ origin: lastDot.origin, after }] : [])]
      .map((part) => ({ ...part, last: this.knowledge.entries.get(part.origin) ?? 0 }))
      .filter((part) => part.last > part.after);
    if (parts.reduce((sum, part) => sum + part.last - part.after, 0) <= LARGEST_GROUP) {
      let before = 0;
      for (const part of parts) {
        this.note(part.origin, before === 0 ? part.after + 1 : -before, part.last);
        before = part.origin;
      }
    }
    if (this.open.length > 0) this.setOpen([]);
  }

  /** Parts of runs before this one. */
  private get openBefore(): Part[] {
    return this.open.filter(({ origin }) => !this.knowledge.isSelf(origin));
  }

  private setOpen(parts: readonly Part[]): void {
    writeMeta(this.db, OPEN, JSON.stringify(parts));
    this.open = parts;
  }

  /** Notes that an origin's changes from `first` to `last` belong together. Groups of one, and too large ones, are none. */
  private note(origin: number, first: number, last: number): void {
    if (last <= first || last - Math.max(first, 0) >= LARGEST_GROUP) return;
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

  /** The origin with whose last changes this one's first belong together; null where it begins with a group of its own. */
  continued(origin: number): number | null {
    const first = rowStatement(this.db, "SELECT first FROM _scoutsync_group WHERE oid = ? ORDER BY last LIMIT 1").get(origin) as
      | { first: number }
      | undefined;
    return first && first.first < 0 ? -first.first : null;
  }

  /** The groups that lie wholly between two vectors of local origins, for a receiver that will pass them on. */
  between(from: ReadonlyMap<number, number>, to: ReadonlyMap<number, number>): ChangeGroup[] {
    const select = rowStatement(
      this.db,
      "SELECT first, last FROM _scoutsync_group WHERE oid = ? AND (first > ? OR first < 0) AND last > ? AND last <= ? ORDER BY last",
    );
    const groups: ChangeGroup[] = [];
    for (const [oid, upTo] of to) {
      const after = from.get(oid) ?? 0;
      if (upTo <= after) continue;
      const origin = this.knowledge.nameOf(oid);
      for (const { first, last } of select.all(oid, after, after, upTo) as { first: number; last: number }[]) {
        const before = first < 0 ? this.knowledge.nameOf(-first) : undefined;
        const at = to.get(-first) ?? 0;
        if (before !== undefined) groups.push({ origin: before, first: at, last: at });
        groups.push({ origin, first: Math.max(first, 0), last });
      }
    }
    return groups;
  }

  /** Takes over what a peer says of groups. It decides only how much is sent at once, so it needs no proof. */
  learn(groups: readonly ChangeGroup[]): void {
    groups.forEach(({ origin, first, last }, i) => {
      const oid = this.knowledge.numberOf(origin);
      if (oid === undefined || this.endAfter(oid, last - 1) === last) return;
      const before = this.knowledge.numberOf(groups[i - 1]?.origin ?? "");
      this.note(oid, first === 0 && before !== undefined ? -before : first, last);
    });
  }
}

import type { Random } from "@scoutsync/testkit";
import type { Database } from "better-sqlite3";

/** A table without a key whose rows are equal to each other all the time: what counts is how many there are. */
export const BAG = "CREATE TABLE bag(v, w TEXT)";

/** How many rows there are of each kind. */
export type Counts = Map<string, number>;

export function countBag(db: Database): Counts {
  const rows = db.prepare("SELECT quote(v) || ' ' || quote(w) AS row, count(*) AS n FROM bag GROUP BY 1 ORDER BY 1").all();
  return new Map((rows as { row: string; n: number }[]).map(({ row, n }) => [row, n]));
}

/** What an application does to such a table. */
export function bagStatement(random: Random): string {
  const v = random.pick(["NULL", "1", "1.0", "'1'", "x'31'"]);
  const choice = random.below(10);
  if (choice < 5) return `INSERT INTO bag VALUES(${v}, 'w${random.below(2)}')`;
  if (choice < 6) return "INSERT INTO bag SELECT v, w FROM bag ORDER BY quote(v), w LIMIT 2";
  if (choice < 9) return `DELETE FROM bag WHERE rowid IN (SELECT rowid FROM bag WHERE quote(v) = quote(${v}) ORDER BY rowid LIMIT 1)`;
  return `DELETE FROM bag WHERE quote(v) = quote(${v})`;
}

interface Change {
  author: number;
  uncertain: () => boolean;
  counts: Counts;
}

/** What writers were told is committed in the bag. */
export class BagLedger {
  private readonly changes: Change[] = [];

  /** One statement of a committed transaction: how many there were before and after. */
  committed(author: number, uncertain: () => boolean, before: Counts, after: Counts): void {
    const counts: Counts = new Map();
    for (const row of new Set([...before.keys(), ...after.keys()])) {
      const difference = (after.get(row) ?? 0) - (before.get(row) ?? 0);
      if (difference !== 0) counts.set(row, difference);
    }
    if (counts.size > 0) this.changes.push({ author, uncertain, counts });
  }

  /**
   * What is wrong with these counts. No row is lost that nobody deleted, none comes back: an author deletes no row twice,
   * but two authors may have meant the same one.
   */
  failures(held: Counts): string[] {
    const found: string[] = [];
    const rows = new Set([...held.keys(), ...this.changes.flatMap(({ counts }) => [...counts.keys()])]);
    for (const row of rows) {
      let [certain, possible, deleted] = [0, 0, 0];
      const byAuthor = new Map<number, number>();
      for (const { author, uncertain, counts } of this.changes) {
        const n = counts.get(row) ?? 0;
        if (n > 0) possible += n;
        if (n > 0 && !uncertain()) certain += n;
        if (n < 0) deleted -= n;
        if (n < 0 && !uncertain()) byAuthor.set(author, (byAuthor.get(author) ?? 0) - n);
      }
      const [least, most] = [certain - deleted, possible - Math.max(0, ...byAuthor.values())];
      const there = held.get(row) ?? 0;
      if (there < least) found.push(`R1 of bag rows ${row} at least ${least} should be there, and ${there} are`);
      if (there > most) found.push(`of bag rows ${row} at most ${most} should be there, and ${there} are`);
    }
    return found;
  }
}

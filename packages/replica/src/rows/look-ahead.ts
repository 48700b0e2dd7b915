import type { SqlValue } from "@scoutsync/core";

/** Keys remembered of one pass: some 50 MB. */
const MOST_KEYS = 500_000;
/** Passes before integers are asked for one by one: somebody writes to the table in between. */
const MOST_PASSES = 3;

/** Key of a row, and what its column holds. */
export type Holding = readonly [key: SqlValue[], value: SqlValue];

/**
 * Rows that hold one of many integers in a column which no index finds: one pass over their table is for all of them, where there was one
 * for each. Of rows that are deleted or changed meanwhile it still has the keys, of what comes to the table none: `written` says so.
 */
export class LookAhead {
  private readonly ids: ReadonlySet<bigint>;
  private readonly read: (ids: ReadonlySet<bigint>) => Iterable<Holding>;
  private found: Map<bigint, SqlValue[][]> | null = null;
  /** Those that hold what is no integer, and may be equal to one. */
  private others: SqlValue[][] = [];
  private passes = 0;

  constructor(ids: ReadonlySet<bigint>, read: (ids: ReadonlySet<bigint>) => Iterable<Holding>) {
    this.ids = ids;
    this.read = read;
  }

  /** A row has come to the table, or changed. */
  written(): void {
    this.found = null;
  }

  /** Keys of the rows that may hold `id`; null where that is to be asked. */
  keysOf(id: SqlValue): readonly SqlValue[][] | null {
    if (typeof id !== "bigint" || !this.ids.has(id)) return null;
    const found = this.found ?? this.pass();
    return found && [...(found.get(id) ?? []), ...this.others];
  }

  private pass(): ReadonlyMap<bigint, SqlValue[][]> | null {
    if (this.passes++ >= MOST_PASSES) return null;
    const found = new Map<bigint, SqlValue[][]>();
    this.others = [];
    let count = 0;
    for (const [key, value] of this.read(this.ids)) {
      if (++count > MOST_KEYS) {
        this.passes = MOST_PASSES;
        return null;
      }
      if (typeof value !== "bigint") this.others.push(key);
      else {
        const keys = found.get(value);
        if (keys) keys.push(key);
        else found.set(value, [key]);
      }
    }
    this.found = found;
    return found;
  }
}

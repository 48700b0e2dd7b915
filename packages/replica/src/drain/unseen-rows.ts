import type { Database } from "better-sqlite3";
import { type CellValue, Ref } from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import { dependants } from "../rows/foreign-keys.ts";
import { asUnseeing } from "../rows/local-writes.ts";
import { isAlive } from "../rows/registers.ts";
import { ownedDots, type RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { packKey } from "../rows/values.ts";
import type { Table } from "../schema/catalog.ts";
import { parentsOutOfSight } from "../schema/out-of-sight.ts";

/**
 * Rows that are out of their tables and not deleted: parked ones, those that another row stands for, and those whose table
 * the application has dropped. The application that deletes what they refer to cannot see them, so its delete says nothing of them.
 */
export class UnseenRows {
  private readonly db: Database;
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  /** By number of a table, the identities of its rows that are referred to; read once per drain. */
  private readonly named = new Map<number, ReadonlySet<string>>();
  /** Tables, by number, to which rows of tables referred that have gone. */
  private outOfSight: ReadonlySet<number> = new Set();

  constructor({ db, rows, knowledge }: { db: Database; rows: RowStore; knowledge: Knowledge }) {
    this.db = db;
    this.rows = rows;
    this.knowledge = knowledge;
  }

  /** Call at the start of a drain. */
  forget(): void {
    this.named.clear();
    this.outOfSight = parentsOutOfSight(this.db);
  }

  /** True when rows may refer to one of this table that went with theirs: which ones they referred to nobody can tell. */
  mayReferTo(table: Table): boolean {
    return this.outOfSight.has(table.tid);
  }

  /**
   * True when rows in their tables refer to this one, which has gone from its own: an application that leaves them there means
   * to. `image`: its last values.
   */
  areLeftBy(state: RowState, id: bigint | null, image: readonly CellValue[]): boolean {
    const { table } = state;
    // They refer to the row that has its integer now.
    if (id !== null && this.rows.of(table).read([id]) !== null) return false;
    const refers = ({ child, column }: Table["referencedBy"][number]) =>
      !column.soft && id !== null && this.rows.of(child).keysWhere(column.name, id).length > 0;
    return (
      table.referencedBy.some(refers) || dependants(this.rows, state, id, this.rows.references.concrete(table, image).values).length > 0
    );
  }

  /** True when such a row refers to this one; where references are by value, when there is any that may. */
  referTo(state: RowState): boolean {
    return state.table.dependants.some(({ child }) => this.rows.waiting({ table: child, limit: 1 }).length > 0) || this.name(state);
  }

  /** True when such a row names this one. */
  name({ table, identity }: RowState): boolean {
    if (!table.surrogate || table.referencedBy.length === 0) return false;
    let named = this.named.get(table.tid);
    if (!named) this.named.set(table.tid, (named = this.namesOf(table)));
    return named.has(`${identity.origin}:${identity.sequence}`);
  }

  private namesOf(parent: Table): ReadonlySet<string> {
    const names = new Set<string>();
    for (const child of new Set(parent.referencedBy.map((reference) => reference.child))) {
      const unseen = [...this.rows.waiting({ table: child }), ...(this.rows.same.exist ? this.rows.joined(child) : [])];
      for (const row of unseen) {
        if (!isAlive(row, this.knowledge)) continue;
        const cells = this.rows.cells(row);
        for (const { index, parent: target } of child.references) {
          const ref = cells[index];
          if (target === parent && ref instanceof Ref) names.add(`${ref.origin}:${ref.sequence}`);
        }
      }
    }
    return names;
  }
}

/**
 * True where more may be known of a row than its table shows: what others wrote to it under a name that its table has not here yet, as
 * their node has renamed it. The application has seen nothing of that.
 */
export function isHeldElsewhere(rows: RowStore, { table, identity, key }: RowState): boolean {
  return rows.absent.some((other) => {
    if (other.surrogate !== table.surrogate || other.keyless !== table.keyless || other.key.length !== table.key.length) return false;
    return rows.out.withKey(other.tid, key ?? packKey(other.key, [new Ref(identity.origin, identity.sequence)])) !== undefined;
  });
}

/**
 * Deletes of this run that nobody has yet, those beyond sequence `shared`, become ones of an application that saw nothing, where rows of a
 * table that has gone may have referred to the deleted one: what it had those refer to instead went with their table, and others
 * have them as they were. Inside a write transaction, drained, with the tables that are left.
 */
export function unseeDeletes(parts: { db: Database; rows: RowStore; knowledge: Knowledge }, shared: number): void {
  const { db, rows, knowledge } = parts;
  const { self } = knowledge;
  const parents = parentsOutOfSight(db);
  if (self === null || parents.size === 0) return;
  const unseen = new UnseenRows(parts);
  const slots = db
    .prepare("SELECT DISTINCT slot FROM _scoutsync_log WHERE oid = ? AND sequence > ? AND tid = ?")
    .safeIntegers(true)
    .pluck();
  for (const table of rows.tables.filter(({ tid, absent }) => absent === null && parents.has(tid))) {
    for (const slot of slots.all(self, shared, -table.tid) as bigint[]) {
      const state = rows.atLog(-table.tid, slot);
      if (state?.place.kind !== "dead") continue;
      const isUnshared = ({ origin, sequence, alive }: RowState["deletes"][number]) => !alive && origin === self && sequence > shared;
      const [id, cells] = [rows.outId(state), rows.cells(state)];
      if (!state.deletes.some(isUnshared) || unseen.areLeftBy(state, id, cells)) continue;
      state.deletes = state.deletes.map((write) => (isUnshared(write) ? asUnseeing(write, knowledge) : write));
      rows.saveOut(state, false, id, cells, ownedDots(state));
    }
  }
}

import type { Knowledge } from "../identity/knowledge.ts";
import type { RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import type { Table } from "../schema/catalog.ts";

/** A row's identity by the name of its origin, as another database can keep it. */
export interface RowName {
  origin: string;
  sequence: number;
}

/** Where a row is that another database refers to. */
export interface FoundRow {
  /** The row as it is named now: copies that were joined name their rows anew. */
  self: RowName;
  /** The row that is in the table for it: itself, unless it is one with another row that is. */
  stands: RowName;
  id: bigint;
  /** False for a deleted row, which has the integer no more. */
  live: boolean;
}

/** Transactions of which it is known which rows they touched. Who is further behind looks at every row. */
const REMEMBERED = 256;
/** Rows touched by them, all in all. */
const MOST_TOUCHED = 200_000;

/**
 * A database as those see it that refer to its rows: which integer is which row now, and in which transactions that changed.
 * Only their own thread asks.
 */
export class LinkedParent {
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  /** Counts transactions that touched rows. */
  generation = 0;
  private log: { generation: number; names: RowName[] }[] = [];

  constructor({ rows, knowledge }: { rows: RowStore; knowledge: Knowledge }) {
    this.rows = rows;
    this.knowledge = knowledge;
  }

  /** Call before a transaction commits: what it touched can be asked for from here on. */
  seal(): void {
    const { touched } = this.rows;
    if (touched === null || touched.size === 0) return;
    // Where a row has come or gone, others may have come to stand for it, or it for them.
    for (const row of this.rows.same.exist ? touched.values() : [])
      for (const other of this.rows.same.of(row)) touched.set(`${other.origin}:${other.sequence}`, other);
    const names = [...touched.values()].map(({ origin, sequence }) => ({ origin: this.knowledge.nameOf(origin), sequence }));
    touched.clear();
    this.log.push({ generation: ++this.generation, names });
    for (let sum = this.log.reduce((all, entry) => all + entry.names.length, 0); this.log.length > REMEMBERED || sum > MOST_TOUCHED;)
      sum -= this.log.shift()?.names.length ?? sum;
  }

  /** Names of rows touched after a generation; null where that is not known any more. */
  since(generation: number): RowName[] | null {
    if (generation === this.generation) return [];
    const entries = this.log.filter((entry) => entry.generation > generation);
    return entries.length === this.generation - generation ? entries.flatMap(({ names }) => names) : null;
  }

  /** Null where no such table takes part. */
  private table(name: string): Table | null {
    return this.rows.tables.find((table) => table.name.toLowerCase() === name && table.surrogate) ?? null;
  }

  /** Why rows of a table cannot be referred to by a column; null when they can, or nothing is known of such a table here. */
  refusal(table: string, key: string): string | null {
    const found = this.rows.tables.find(({ name, where }) => name.toLowerCase() === table && where === null);
    if (!found || (found.surrogate && found.key[0]?.name.toLowerCase() === key)) return null;
    return `"${table}.${key}" is no INTEGER PRIMARY KEY that the other database hands out`;
  }

  private nameOf({ identity }: Pick<RowState, "identity">): RowName {
    return { origin: this.knowledge.nameOf(identity.origin), sequence: identity.sequence };
  }

  /** The row that has this integer in its table; null when none has. */
  holder(table: string, id: bigint): RowName | null {
    const parent = this.table(table);
    const state = parent && this.rows.byId(parent, id);
    return state ? this.nameOf(state) : null;
  }

  /** The row that has, or as a deleted one last had, this integer; null when there never was one. */
  rowAt(table: string, id: bigint): RowName | null {
    const parent = this.table(table);
    const state = parent && (this.rows.byId(parent, id) ?? this.rows.deadAt(parent, id));
    return state ? this.nameOf(state) : null;
  }

  /** Where the row is; null when it is not here, or waits for a place. */
  find(table: string, { origin, sequence }: RowName): FoundRow | null {
    const parent = this.table(table);
    const oid = this.knowledge.numberOf(origin);
    if (!parent || oid === undefined) return null;
    const ref = { origin: oid, sequence };
    const stands = this.rows.references.representative(parent, ref);
    const id = this.rows.references.idOf(parent, stands);
    if (id !== null) {
      const state = this.rows.byId(parent, id);
      if (!state) return null;
      const itself = stands === ref;
      return { self: itself ? this.nameOf(state) : { origin, sequence }, stands: this.nameOf(state), id, live: true };
    }
    const dead = this.rows.references.deadParent(parent, stands);
    if (!dead) return null;
    const self = this.nameOf(dead.state);
    return { self, stands: self, id: dead.id, live: false };
  }

  /** The row that had this integer until a sync gave it, not long ago, to the one that has it now; null for all others. */
  formerAt(table: string, id: bigint): RowName | null {
    const parent = this.table(table);
    const state = parent && this.rows.former.has(parent, id) ? this.rows.byId(parent, id) : null;
    const meant = state && this.rows.former.meant(state);
    return meant && this.nameOf({ identity: meant });
  }

  /** Somebody has said whom references to this integer mean. Inside a write transaction. */
  answered(table: string, id: bigint): void {
    const parent = this.table(table);
    if (parent) this.rows.former.answered(parent, id);
  }

  /** True where the row that has this integer was born here after a time, Unix microseconds. */
  isBornHereAfter(table: string, id: bigint, us: number): boolean {
    const parent = this.table(table);
    const state = parent && this.rows.byId(parent, id);
    return state != null && state.birth.time > us && this.knowledge.isOwn(state.birth.origin);
  }

  /** True for a row that was born here: by an application of this database, not by a sync. */
  isBornHere(name: RowName): boolean {
    const oid = this.knowledge.numberOf(name.origin);
    return oid !== undefined && this.knowledge.isOwn(oid);
  }
}

import type { Database } from "better-sqlite3";
import { type CellValue, Ref, type SqlValue } from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import { lacksTarget } from "../rows/foreign-keys.ts";
import type { RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { bindable } from "../rows/table-store.ts";
import { type Bindable, sameValue } from "../rows/values.ts";
import type { Table } from "../schema/catalog.ts";
import { refuseForged } from "./never-made.ts";
import type { Placement } from "./placement.ts";

const NO_RAW_TEXT: readonly number[] = [];

/** A row that has just been born says nothing but what its table shows. */
const NOTHING_ELSE: RowState["own"] = new Map();

/** Rows of surrogate tables that nothing but their births has written: most of what a replica gets, inserted without merging. */
export class PlainBirths {
  private readonly db: Database;
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  private readonly placement: Placement;
  private readonly lastSequences = new Map<number, number>();
  private readonly ids = new Map<Table, Map<number, Map<number, bigint | null>>>();
  /** Integers that rows may hold as they are: no row had one when the batch began, or when it was asked for. */
  private readonly nobody = new Map<Table, Set<bigint>>();
  private movesSeen = 0;
  private clashing = false;

  constructor(options: { db: Database; rows: RowStore; knowledge: Knowledge; placement: Placement }) {
    this.db = options.db;
    this.rows = options.rows;
    this.knowledge = options.knowledge;
    this.placement = options.placement;
  }

  /** Before every batch: nothing is remembered from one to the next. */
  begin(): void {
    this.lastSequences.clear();
    this.ids.clear();
    this.nobody.clear();
  }

  /** Largest sequence of an origin that the log holds: a birth beyond it is new without looking. */
  isNew(origin: number, sequence: number): boolean {
    refuseForged(this.knowledge, origin, sequence);
    let last = this.lastSequences.get(origin);
    if (last === undefined) this.lastSequences.set(origin, (last = this.rows.lastSequence(origin)));
    if (sequence <= last) return false;
    this.lastSequences.set(origin, sequence);
    return true;
  }

  /**
   * Inserts at once when nothing stands in the way; false leaves everything to the general path. `mayBeRaw`: some value
   * may be text that is not UTF-8, which is bound as bytes.
   */
  insert(
    table: Table,
    id: bigint,
    birth: { origin: number; sequence: number; time: number; context: number },
    identity: { origin: number; sequence: number },
    cells: readonly CellValue[],
    mayBeRaw: boolean,
  ): boolean {
    if (this.placement.isAwaited(identity.origin, identity.sequence) || this.rows.same.names(identity)) return false;
    // Another copy's row of this name may be here, deleted or under another integer.
    if (identity !== birth && this.rows.log.hasAlias(identity.origin, identity.sequence)) return false;
    let values = cells;
    if (table.references.length > 0 || table.linked.length > 0) {
      const resolved = [...cells];
      for (const { index, target } of table.linked) {
        const value = resolved[index];
        // A bare integer may be one that means a row here, and a row may be stood for by another.
        if (typeof value === "bigint" || this.rows.linked.hasStoodFor(target)) return false;
        if (!(value instanceof Ref)) continue;
        const shown = this.rows.linked.idOf(target, value);
        if (!sameValue(this.rows.linked.refOf(target, shown), value)) return false;
        resolved[index] = shown;
      }
      for (const { index, parent } of table.references) {
        const value = resolved[index];
        // Whoever has, had or comes to have the integer is not meant: looked up once.
        if (typeof value === "bigint" && !this.namesNobody(parent, value)) return false;
        if (!(value instanceof Ref)) continue;
        const target = this.idOf(parent, value);
        if (target === null || this.rows.of(parent).bare.has(target)) return false;
        resolved[index] = target;
      }
      values = resolved;
    }
    // What it refers to by value may have been deleted by someone who did not know of it.
    if (table.dependsOn.length > 0 && lacksTarget(this.rows, table, id, values as SqlValue[])) return false;
    // Once one integer was taken the next ones mostly are, too.
    const mayClash = this.clashing || this.rows.of(table).keptBack !== null;
    if (mayClash && this.rows.byId(table, id)) return false;
    if (this.rows.former.has(table, id)) return false;
    // Rows that a deleted one left behind may show its integer.
    if (table.referencedBy.length > 0 && this.rows.wasUsed(table, id)) return false;
    this.clashing = false;
    try {
      const bound = mayBeRaw ? bindable(values) : { values: values as Bindable[], raw: NO_RAW_TEXT };
      this.rows.of(table).insert(id, bound.values, bound.raw);
    } catch (error) {
      if (!((error as { code?: string }).code ?? "").startsWith("SQLITE_CONSTRAINT") || !this.db.inTransaction) throw error;
      this.clashing = true;
      return false;
    }
    const rowSum = this.rows.hashes.hash(table, id, values as SqlValue[], NOTHING_ELSE);
    this.rows.touchedRow(table, identity);
    this.rows.digest.add(table.tid, rowSum);
    this.rows.of(table).addPlain(id, birth.origin, birth.sequence, birth.time, birth.context, rowSum);
    return true;
  }

  private namesNobody(parent: Table, id: bigint): boolean {
    let known = this.nobody.get(parent);
    if (!known) this.nobody.set(parent, (known = new Set()));
    if (known.has(id)) return true;
    const isBare = this.rows.of(parent).namesNobody(id);
    if (isBare) known.add(id);
    return isBare;
  }

  /** The integer of a referenced row, remembered for the batch unless a row has moved since. */
  private idOf(parent: Table, ref: Ref): bigint | null {
    if (this.movesSeen !== this.placement.moves) {
      this.ids.clear();
      this.movesSeen = this.placement.moves;
    }
    let origins = this.ids.get(parent);
    if (!origins) this.ids.set(parent, (origins = new Map()));
    let known = origins.get(ref.origin);
    if (!known) origins.set(ref.origin, (known = new Map()));
    let id = known.get(ref.sequence);
    if (id === undefined || id === null) known.set(ref.sequence, (id = this.rows.references.idOf(parent, ref)));
    return id;
  }
}

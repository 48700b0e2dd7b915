import { ByteReader, type CellValue, RawText, Ref, type SqlValue, textOfBytes } from "@scoutsync/core";
import { type Column, isNamedByBirth, type Table } from "../schema/catalog.ts";
import { KeylessRows } from "./keyless-rows.ts";
import type { RowState } from "./row-state.ts";
import type { RowStore } from "./row-store.ts";
import { hasLocalKey } from "./table-store.ts";
import { asHeld, packKey, sameValue } from "./values.ts";

/** Of keys with many such parts not all is tried. */
const MOST_WAYS = 16;

/** Every packed key has at least one byte. */
const NO_KEY = Buffer.alloc(0);

/** Keys of rows: under which one a row is in its table, and by which one it is known, rows that it names by their identities. */
export class RowKeys {
  private readonly rows: RowStore;
  private keyless = new Map<number, KeylessRows>();

  constructor(rows: RowStore) {
    this.rows = rows;
  }

  /** Takes the tables that take part, after every change of the schema. */
  setTables(present: readonly Table[]): void {
    this.keyless = new Map(
      present.filter((table) => table.keyless).map((table) => [table.tid, new KeylessRows(this.rows.db, table, this.rows.of(table))]),
    );
  }

  /** Finds the rows of a table without a primary key again after something has given them other rowids. */
  locate(table: Table): void {
    this.keyless.get(table.tid)?.locate();
  }

  /** The packed identity of a natural key from its values in the table; one that no row has where nothing is known of a row without a key. */
  keyFromValues(table: Table, values: readonly SqlValue[]): Buffer {
    if (table.keyless) return this.keyless.get(table.tid)?.identityAt(values, this.rows.mayWrite) ?? NO_KEY;
    const known = this.rows.of(table).hadLocalKey ? this.rows.of(table).keyOfLocal(packKey(table.key, values)) : undefined;
    if (known) return known;
    const cells: CellValue[] = [...values];
    let resolved = false;
    for (const { index, parent } of table.keyReferences) {
      const value = values[index];
      const ref = typeof value === "bigint" ? this.rows.references.refOf(parent, value) : null;
      if (!ref) continue;
      cells[index] = ref;
      resolved = true;
    }
    const key = packKey(table.key, cells);
    const others = this.rows.mayBeSpelled(table) ? otherSpellings(table, values) : [];
    if (!resolved && others.length === 0) return key;
    const isThere = (name: Buffer) => this.rows.byKey(table, name)?.place.kind === "table";
    if (others.length === 0 ? this.rows.byKey(table, key) : isThere(key)) return key;
    // A row that was there before the row it refers to is identified by the bare integer while it is in its table. A
    // deleted one is not the row that the application adds now: that one refers to the row which has the integer.
    return [packKey(table.key, values), ...others].find(isThere) ?? key;
  }

  /** The key of a row as it is in its table now; null when it names a row that is not there. */
  keyValues(state: RowState): SqlValue[] | null {
    if (state.table.surrogate) return [state.slot];
    if (state.table.keyless) {
      if (state.place.kind !== "table" || state.hash === null) return null;
      return this.keyless.get(state.table.tid)?.keyOf(state.slot, state.hash, this.rows.mayWrite) ?? null;
    }
    const { keptBack } = this.rows.of(state.table);
    if (keptBack && state.place.kind === "table" && hasLocalKey(state.table)) {
      // Kept back under the integers of then, whatever the rows it refers to have now.
      const noted = this.notedKey(state);
      if (noted && keptBack.has(noted)) return noted;
    }
    const values = this.keyCells(state);
    for (const { index, parent } of state.table.keyReferences) {
      const value = values[index];
      if (!(value instanceof Ref)) continue;
      const id =
        this.rows.references.shownId(parent, value) ??
        this.rows.references.deadParent(parent, this.rows.references.representative(parent, value))?.id;
      if (id === undefined) return state.place.kind === "table" ? this.notedKey(state) : null;
      values[index] = id;
    }
    // Of a table that has gone, as an application that enforces no foreign keys may drop one: the row shows the integer that it did.
    if (values.some((value) => value instanceof Ref)) return state.place.kind === "table" ? this.notedKey(state) : null;
    return values as SqlValue[];
  }

  /** The key that was noted when the row was put into its table: what it refers to may have left since, and this row not yet. */
  private notedKey({ table, slot }: RowState): SqlValue[] | null {
    const local = this.rows.of(table).localOf(slot);
    if (!local) return null;
    const reader = new ByteReader(local);
    return table.key.map(() => reader.value() as SqlValue);
  }

  /**
   * True where the key that a row is known by may not be the one in its table: the schema says so, whoever wrote it referred to a row, or
   * its columns were of another type where it was written, and here they hold the text '1' as an integer, or the other way round.
   */
  isNoted(state: RowState): boolean {
    if (hasLocalKey(state.table)) return true;
    return (
      !state.table.surrogate &&
      this.keyCells(state).some((value, i) => value instanceof Ref || !sameValue(value, held(state.table, i, value)))
    );
  }

  /** The row with this key in its table, and those, deleted or waiting, that had it with text for its numbers, or numbers for its text. */
  statesOf(table: Table, key: readonly SqlValue[]): RowState[] {
    const names = [this.keyFromValues(table, key), packKey(table.key, key), ...otherSpellings(table, key)];
    return names.flatMap((name, i) => (names.findIndex((other) => other.equals(name)) === i ? (this.rows.byKey(table, name) ?? []) : []));
  }

  /** True for a row that is in its table under this key and known by one with text for its numbers, or numbers for its text. */
  isSpelled(state: RowState, key: readonly SqlValue[]): boolean {
    if (state.table.keyless || state.key === null || state.key.equals(packKey(state.table.key, key))) return false;
    return this.keyCells(state).every((value, i) => sameValue(held(state.table, i, value), key[i] as SqlValue));
  }

  /** Values of a row in catalog order with its key as it is known by, which must not refer to anything. */
  asNamed(state: RowState, values: readonly CellValue[]): CellValue[] {
    const key = this.keyCells(state);
    const named = [...values];
    for (const [part, { cid }] of state.table.key.entries()) named[state.table.indexOf.get(cid) as number] = key[part] ?? null;
    return named;
  }

  /** The parts of a natural key, references as identities. */
  keyCells(state: RowState): CellValue[] {
    return keyCells(state);
  }
}

/** Part `i` of a key as its column holds it. */
const held = ({ key }: Table, i: number, value: CellValue): CellValue => asHeld((key[i] as Column).affinity, value);

/** A key as the columns of its table hold it. */
export const heldKey = <T extends CellValue>(table: Table, key: readonly T[]): T[] => key.map((value, i) => held(table, i, value) as T);

/** Values in catalog order with the key as the table holds it: whoever wrote them may have it of another type. */
export function withHeldKey(table: Table, values: readonly SqlValue[]): readonly SqlValue[] {
  if (isNamedByBirth(table)) return values;
  let shown: SqlValue[] | null = null;
  for (const { cid, affinity } of table.key) {
    const index = table.indexOf.get(cid) ?? -1;
    const value = values[index] ?? null;
    const its = asHeld(affinity, value) as SqlValue;
    if (its !== value) (shown ??= [...values])[index] = its;
  }
  return shown ?? values;
}

/** The packed names of a row with this key in its table where that had text for numbers, or numbers for text, as some parts of it. */
function otherSpellings({ key }: Table, values: readonly SqlValue[]): Buffer[] {
  let ways: CellValue[][] = [[]];
  for (const [i, { affinity }] of key.entries()) {
    const value = values[i] as SqlValue;
    const other = asHeld(affinity === "TEXT" ? "NUMERIC" : "TEXT", value);
    const isOther = affinity !== "BLOB" && !sameValue(other, value) && sameValue(asHeld(affinity, other), value);
    const each = isOther && ways.length < MOST_WAYS ? [value, other] : [value];
    ways = ways.flatMap((way) => each.map((one) => [...way, one]));
  }
  return ways.slice(1).map((way) => packKey(key, way));
}

/** As `RowKeys.keyCells`. */
export function keyCells({ table, key }: RowState): CellValue[] {
  const reader = new ByteReader(key as Buffer);
  return table.key.map(() => reader.value());
}

/**
 * Where whoever wrote a row has another name for its key nobody has written the columns that it has here: they hold what names the row
 * all the same. `values` in catalog order; `unwritten`: columns by number.
 */
export function showKey({
  table,
  key,
  values,
  unwritten,
}: {
  table: Table;
  key: readonly CellValue[] | null;
  values: CellValue[];
  unwritten: ReadonlySet<number>;
}): void {
  if (isNamedByBirth(table)) return;
  for (const [part, { cid }] of table.key.entries()) {
    const index = unwritten.has(cid) ? table.indexOf.get(cid) : undefined;
    const value = key?.[part] ?? null;
    // A copy: whoever is done with the row may give back the memory of its values.
    if (index !== undefined)
      values[index] =
        value instanceof RawText ? textOfBytes(Buffer.from(value.bytes)) : value instanceof Uint8Array ? Buffer.from(value) : value;
  }
}

/** The key of a row whose values these are; null where a part of it is no column. */
export function keyIn({ key, columns }: Table, values: readonly SqlValue[]): SqlValue[] | null {
  const at = key.map((part) => columns.findIndex(({ name }) => name === part.name));
  return at.includes(-1) ? null : at.map((index) => values[index] as SqlValue);
}

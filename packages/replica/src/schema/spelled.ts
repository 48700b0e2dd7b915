import type { CellValue } from "@scoutsync/core";
import type { Column, Table } from "./catalog.ts";
import type { Affinity } from "./tables.ts";

/**
 * The integer that a value in a column of this affinity stands for; else the value. Of text only what the column shows for that
 * integer, so that nothing is written otherwise elsewhere; a column without a type may hold it as a real, as JavaScript binds its numbers.
 */
export function asInteger<T extends CellValue>(affinity: Affinity, value: T): T | bigint {
  if (affinity === "TEXT") {
    if (typeof value !== "string" || !/^(0|-?[1-9]\d{0,18})$/.test(value)) return value;
    const integer = BigInt(value);
    return BigInt.asIntN(64, integer) === integer ? integer : value;
  }
  return typeof value === "number" && Number.isSafeInteger(value) && !Object.is(value, -0) ? BigInt(value) : value;
}

/** The inverse, as SQLite stores it: a column without a type keeps the integer. */
function asShown(affinity: Affinity, value: CellValue): CellValue {
  if (typeof value !== "bigint") return value;
  return affinity === "TEXT" ? String(value) : affinity === "REAL" ? Number(value) : value;
}

/** The value of a column as everything here sees it. */
export const cellIn = <T extends CellValue>(column: Column | undefined, value: T): T | bigint =>
  column?.spelled ? asInteger(column.spelled, value) : value;

/** The value of a column as hashes are made of it: of what the table holds. */
export const hashedIn = (column: Column | undefined, value: CellValue): CellValue =>
  column?.spelled ? asShown(column.spelled, value) : value;

/** Values in catalog order as they were read, as everything here sees them. */
export function cellsIn<T extends CellValue>({ isSpelled, columns }: Pick<Table, "isSpelled" | "columns">, values: T[]): (T | bigint)[] {
  return isSpelled ? values.map((value, i) => cellIn(columns[i], value)) : values;
}

/** Cells in catalog order as hashes are made of them; see `hashedIn`. */
export function asHashed({ isSpelled, columns }: Pick<Table, "isSpelled" | "columns">, cells: readonly CellValue[]): readonly CellValue[] {
  return isSpelled ? cells.map((value, i) => hashedIn(columns[i], value)) : cells;
}

/** Of rows with many references not all is tried. */
const MOST_WAYS = 100;

/**
 * What else the stored hash of a row may have been made of, as `asHashed`, with the references in it as versions before took them, or this
 * one before their columns referred to anything: for what their table holds, 8.0 or the name of an integer, and for integers where another
 * node had told whom they mean. `values` as they are read, `cells` as hashes are made of them now. Nothing for most tables.
 */
export function formerlyHashed(
  { isSpelled, columns }: Pick<Table, "isSpelled" | "columns">,
  values: readonly CellValue[],
  cells: readonly CellValue[],
): CellValue[][] {
  if (!isSpelled) return [];
  let ways: CellValue[][] = [[]];
  for (const [i, cell] of cells.entries()) {
    const { spelled } = columns[i] as Column;
    const value = values[i] as CellValue;
    const held = spelled && typeof value === "bigint" ? [value, spelled === "TEXT" ? String(value) : Number(value)] : [];
    const each = [hashedIn(columns[i], cell), ...(ways.length < MOST_WAYS ? held : [])];
    ways = ways.flatMap((way) => each.map((one) => [...way, one]));
  }
  return ways;
}

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

/**
 * Cells as hashes were made of them before a column without a type referred to anything, or by a version that took what it held for a
 * value: with the reals in it that are references now. Nothing where there are none.
 */
export function heldAsReals({ isSpelled, columns }: Pick<Table, "isSpelled" | "columns">, cells: readonly CellValue[]): CellValue[][] {
  const isReal = (value: CellValue, i: number) => typeof value === "bigint" && columns[i]?.spelled === "BLOB";
  return isSpelled && cells.some(isReal) ? [cells.map((value, i) => (isReal(value, i) ? Number(value) : value))] : [];
}

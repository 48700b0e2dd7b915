import { LWW, mergeApart, type SqlValue } from "@scoutsync/core";
import { quote } from "../schema/quote.ts";
import { baseTable, type CopiedTable } from "./copy.ts";
import { type Row, same, type Sides } from "./sides.ts";

/** Which side each column's value comes from, of those that differ. */
export interface Differences {
  toMain: string[];
  toCopy: string[];
  /** Changed on both sides, and the column's rule makes one value of it. */
  combined: { column: string; value: SqlValue }[];
  /** Changed on both sides, and nothing says what it comes to: the database's value stays. */
  both: string[];
}

/** Compares a row that both sides have with what was agreed; with nothing, where they came to have it apart from each other. */
export function compareColumns(sides: Sides, table: CopiedTable, row: Row, isAgreed: boolean): Differences {
  const found: Differences = { toMain: [], toCopy: [], combined: [], both: [] };
  if (table.columns.length === 0) return found;
  const name = quote(table.name);
  const flags = table.columns.map((column) => {
    const [m, p, b] = [`m.${quote(column)}`, `p.${quote(column)}`, `b.c${table.stored.indexOf(column)}`];
    return isAgreed ? `${same(m, b)}, ${same(p, b)}, ${same(m, p)}` : `0, 0, ${same(m, p)}`;
  });
  const agreed = isAgreed ? [`copy.${baseTable(table.n)} AS b`, `AND ${sides.matchBase(table, "b")} AND b.gone = 0`] : ["(SELECT 1)", ""];
  const sql =
    `SELECT ${flags.join(", ")} FROM main.${name} AS m, copy.${name} AS p, ${agreed[0]} ` +
    `WHERE ${sides.match(table, "m")} AND ${sides.match(table, "p")} ${agreed[1]}`;
  const is = sides.all(sql, row).map((flag) => flag === 1n);
  table.columns.forEach((column, i) => {
    const [mainIsBase, copyIsBase, equal] = is.slice(i * 3, i * 3 + 3) as [boolean, boolean, boolean];
    if (equal) return;
    if (copyIsBase) found.toCopy.push(column);
    else if (mainIsBase) found.toMain.push(column);
    else combine(sides, table, row, { column, isAgreed, found });
  });
  return found;
}

function combine(
  sides: Sides,
  table: CopiedTable,
  row: Row,
  { column, isAgreed, found }: { column: string; isAgreed: boolean; found: Differences },
): void {
  const rule = table.rules.get(column) ?? LWW;
  if (rule.kind === "lww" || rule.kind === "prefer") return void found.both.push(column);
  const of = (side: string) =>
    sides.pluck(`SELECT x.${quote(column)} FROM ${side}.${quote(table.name)} AS x WHERE ${sides.match(table, "x")}`, row) as SqlValue;
  const agreed = `SELECT b.c${table.stored.indexOf(column)} FROM copy.${baseTable(table.n)} AS b WHERE ${sides.matchBase(table, "b")} AND b.gone = 0`;
  const [base, main, copy] = [isAgreed ? (sides.pluck(agreed, row) as SqlValue) : null, of("main"), of("copy")];
  const value = mergeApart(rule, base, main, copy);
  if (value === undefined) found.both.push(column);
  else if (value === main) found.toCopy.push(column);
  else if (value === copy) found.toMain.push(column);
  else found.combined.push({ column, value: value as SqlValue });
}

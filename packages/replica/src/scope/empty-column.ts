import { quote } from "../schema/quote.ts";
import { baseTable, type CopiedTable, type Retired } from "./copy.ts";
import { same, type Sides } from "./sides.ts";
import { workOf } from "./work.ts";

/**
 * Empties a column that is not in the scope any more, wherever the copy has something there; what nodes of the scope wrote
 * there since is kept. After `listWork`. Returns how many rows it was.
 */
export function emptyColumn(sides: Sides, table: CopiedTable, { column, empty, fallback }: Retired): number {
  const { db } = sides;
  const [name, work, base] = [`copy.${quote(table.name)}`, `temp.work_${table.n}`, `copy.${baseTable(table.n)}`];
  const [value, agreed] = [`p.${quote(column)}`, `b.c${table.stored.indexOf(column)}`];
  const match = table.key.map((part, i) => `b.c${i} = p.${quote(part)}`).join(" AND ");
  const typed =
    `SELECT ${table.key.map((part) => `p.${quote(part)}`).join(", ")}, b.rowid FROM ${name} AS p LEFT JOIN ${base} AS b ON b.gone = 0 AND ${match} ` +
    `WHERE NOT ${same(value, empty)} AND NOT (b.rowid IS NOT NULL AND ${same(value, agreed)})` +
    (fallback === null ? "" : ` AND NOT ${same(value, `(${fallback})`)}`);
  const before = db.prepare(`SELECT ifnull(max(n), 0) FROM ${work}`).pluck().safeIntegers(true).get() as bigint;
  db.exec(`INSERT INTO ${work}(${table.key.map((_, i) => `k${i}`).join(", ")}, agreed) ${typed}`);
  for (const row of workOf(sides, table))
    if (row.n > before) sides.keepEdit(table, row, `"${column}" is not in the scope any more`, [column]);
  db.exec(`DELETE FROM ${work} WHERE n > ${before}`);
  const emptied = db.prepare(`UPDATE ${name} AS p SET ${quote(column)} = ${empty} WHERE NOT ${same(value, empty)}`).run().changes;
  db.exec(`UPDATE ${base} AS b SET c${table.stored.indexOf(column)} = ${empty} WHERE NOT ${same(agreed, empty)}`);
  return emptied;
}

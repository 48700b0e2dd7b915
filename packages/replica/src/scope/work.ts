import { quote } from "../schema/quote.ts";
import { baseTable, type CopiedTable } from "./copy.ts";
import { type Row, same, type Sides } from "./sides.ts";

/** Notes every row of a table that is not as it was agreed, in `temp.work_<n>`. */
export function listWork(sides: Sides, table: CopiedTable): void {
  const { key, n, surrogate } = table;
  const keys = key.map((_, i) => `k${i}`);
  const named = (alias: string) => key.map((column) => `${alias}.${quote(column)}`);
  const of = (alias: string, columns: readonly string[]) => columns.map((column) => `${alias}.${column}`);
  const on = (columns: readonly string[]) => columns.map((column, i) => `${column} = a.k${i}`).join(" AND ");
  const first = (columns: readonly string[]) => columns[0] as string;
  const stored = key.map((_, i) => `c${i}`);
  const changed = (alias: string) => {
    const parts = table.columns.map((column) => `NOT ${same(`${alias}.${quote(column)}`, `b.c${table.stored.indexOf(column)}`)}`);
    return parts.length === 0 ? "0" : `(${parts.join(" OR ")})`;
  };
  const isSame = (rows: string, oid: string, sequence: string, moved: string) =>
    surrogate
      ? `(CASE WHEN b.${sequence} IS NULL THEN NOT ${moved} ELSE (${rows}.oid IS b.${oid} AND ${rows}.sequence IS b.${sequence}) END)`
      : "1";
  const births = surrogate
    ? `LEFT JOIN ${sides.rowsOf("main", table.name)} AS mr ON mr.id = a.k0 LEFT JOIN ${sides.rowsOf("copy", table.name)} AS pr ON pr.id = a.k0`
    : "";
  const departed = surrogate
    ? `(SELECT g.rowid FROM copy.${baseTable(n)} AS g WHERE g.gone = 1 AND g.p_oid = pr.oid AND g.p_seq = pr.sequence LIMIT 1)`
    : "NULL";
  const open = surrogate ? "b.m_seq IS NULL OR b.p_seq IS NULL OR" : "";
  const flags = ["base", "inside", "inMain", "inCopy", "sameMain", "sameCopy", "mainChanged", "copyChanged", "departed", "agreed"];
  sides.db.exec(
    `DROP TABLE IF EXISTS temp.work_${n}; CREATE TEMP TABLE work_${n}(n INTEGER PRIMARY KEY, ${keys.join(", ")}, ${flags.join(", ")}); ` +
      `INSERT INTO temp.work_${n}(${keys.join(", ")}, ${flags.join(", ")}) SELECT * FROM (` +
      `SELECT ${of("a", keys).join(", ")}, b.rowid IS NOT NULL AS base, ${first(of("s", keys))} IS NOT NULL AS inside, ${first(named("m"))} IS NOT NULL AS inMain, ` +
      `${first(named("p"))} IS NOT NULL AS inCopy, ${isSame("mr", "m_oid", "m_seq", changed("m"))} AS sameMain, ${isSame("pr", "p_oid", "p_seq", changed("p"))} AS sameCopy, ` +
      `${changed("m")} AS mainChanged, ${changed("p")} AS copyChanged, ${departed} IS NOT NULL AS departed, ifnull(${departed}, b.rowid) AS agreed ` +
      `FROM (SELECT ${keys.join(", ")} FROM temp.inside_${n} UNION SELECT ${stored.join(", ")} FROM copy.${baseTable(n)} WHERE gone = 0 ` +
      `UNION SELECT ${key.map(quote).join(", ")} FROM copy.${quote(table.name)} WHERE ${key.map((column) => `${quote(column)} IS NOT NULL`).join(" AND ")}) AS a ` +
      `LEFT JOIN copy.${baseTable(n)} AS b ON ${on(of("b", stored))} AND b.gone = 0 LEFT JOIN temp.inside_${n} AS s ON ${on(of("s", keys))} ` +
      `LEFT JOIN main.${quote(table.name)} AS m ON ${on(named("m"))} LEFT JOIN copy.${quote(table.name)} AS p ON ${on(named("p"))} ${births} ` +
      `WHERE b.rowid IS NULL OR ${open} s.k0 IS NULL OR ${first(named("p"))} IS NULL OR mainChanged OR copyChanged OR NOT sameMain OR NOT sameCopy)`,
  );
}

/** The rows of a work list, in its order. */
export function* workOf(sides: Sides, table: CopiedTable): Generator<Row> {
  const rows = sides.db.prepare(`SELECT * FROM temp.work_${table.n} ORDER BY n`).safeIntegers(true).all() as Record<
    string,
    bigint | null
  >[];
  for (const row of rows) {
    const is = (flag: string) => row[flag] === 1n;
    yield {
      n: row["n"] as bigint,
      base: is("base"),
      inside: is("inside"),
      inMain: is("inMain"),
      inCopy: is("inCopy"),
      sameMain: is("base") && is("inside") && is("sameMain"),
      sameCopy: is("base") && is("inCopy") && is("sameCopy"),
      mainChanged: is("mainChanged"),
      copyChanged: is("copyChanged"),
      left: is("departed"),
      agreed: row["agreed"] as bigint | null,
    };
  }
}

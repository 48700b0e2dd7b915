import type { Database } from "better-sqlite3";
import { quote } from "../schema/quote.ts";
import type { CopiedTable } from "./copy.ts";

/**
 * Lists, in `temp.inside_<n>`, the keys of the rows of the database that belong to a scope: its own ones, and what these
 * refer to where that is followed, over as many steps as it takes.
 */
export function fillScope(db: Database, tables: readonly CopiedTable[]): void {
  for (const { n, key, name, own, removed } of tables) {
    const keys = key.map((_, i) => `k${i}`).join(", ");
    db.exec(`DROP TABLE IF EXISTS temp.inside_${n}; CREATE TEMP TABLE inside_${n}(${keys}, PRIMARY KEY(${keys})) WITHOUT ROWID`);
    if (removed) continue;
    const named = key.map((column) => `x.${quote(column)}`);
    const whole = named.map((column) => `${column} IS NOT NULL`).join(" AND ");
    db.exec(`INSERT INTO temp.inside_${n} SELECT ${named.join(", ")} FROM main.${quote(name)} AS x WHERE ${whole} AND (${own})`);
  }
  const links = tables.flatMap((child) =>
    child.parents.flatMap(({ columns, parent: name }) => {
      const parent = tables.find((other) => other.name === name && other.follow);
      return parent ? [followSql(child, parent, columns)] : [];
    }),
  );
  const counted = db.prepare("SELECT total_changes()").pluck();
  for (let before = -1; before !== (counted.get() as number);) {
    before = counted.get() as number;
    for (const sql of links) db.exec(sql);
  }
}

function followSql(child: CopiedTable, parent: CopiedTable, columns: readonly string[]): string {
  const inScope = child.key.map((column, i) => `s.k${i} = c.${quote(column)}`).join(" AND ");
  const referred = columns.map((column, i) => `p.${quote(parent.key[i] as string)} = c.${quote(column)}`).join(" AND ");
  const key = parent.key.map((column) => `p.${quote(column)}`).join(", ");
  return (
    `INSERT OR IGNORE INTO temp.inside_${parent.n} SELECT ${key} FROM temp.inside_${child.n} AS s ` +
    `JOIN main.${quote(child.name)} AS c ON ${inScope} JOIN main.${quote(parent.name)} AS p ON ${referred}`
  );
}

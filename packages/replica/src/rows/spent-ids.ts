import type { Database } from "better-sqlite3";
import type { Table } from "../schema/catalog.ts";

/** After this one SQLite gives out none at all. */
const GREATEST = 2n ** 63n - 1n;

const QUOTED = /'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|\/\*[\s\S]*?\*\//g;

/**
 * AUTOINCREMENT gives no integer out that a row of the table ever had, so an application takes what still shows such a one
 * for a row that is gone. Rows that come here when they are deleted already were never in the table: SQLite is told of them.
 */
export class SpentIds {
  private readonly db: Database;
  private readonly numbered = new Map<number, boolean>();

  constructor(db: Database) {
    this.db = db;
  }

  /** Call when tables have changed. */
  forget(): void {
    this.numbered.clear();
  }

  /** A deleted row that never was in this table had this integer elsewhere. */
  note(table: Table, id: bigint): void {
    if (id <= 0n || id === GREATEST || !this.isNumbered(table)) return;
    const raise = this.db.prepare("UPDATE main.sqlite_sequence SET seq = max(seq, ?) WHERE name = ?");
    if (raise.run(id, table.source).changes > 0) return;
    this.db.prepare("INSERT INTO main.sqlite_sequence(name, seq) VALUES(?, ?)").run(table.source, id);
  }

  private isNumbered({ tid, source, absent }: Table): boolean {
    if (absent !== null) return false;
    let numbered = this.numbered.get(tid);
    if (numbered === undefined) {
      const sql = this.db
        .prepare("SELECT sql FROM main.sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE")
        .pluck()
        .get(source) as string | undefined;
      this.numbered.set(tid, (numbered = /\bAUTOINCREMENT\b/i.test(sql?.replace(QUOTED, " ") ?? "")));
    }
    return numbered;
  }
}

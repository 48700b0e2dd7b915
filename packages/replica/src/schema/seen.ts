import type { Database } from "better-sqlite3";
import { valueStatement } from "../kept-statements.ts";

/** Whether the schema is still the one that was looked at last: SQLite counts every change of it. */
export class SeenSchema {
  private readonly db: Database;
  private version = -1;

  constructor(db: Database) {
    this.db = db;
  }

  get isCurrent(): boolean {
    return this.version === this.current();
  }

  /** Takes the schema as it is now for looked at. */
  see(): void {
    this.version = this.current();
  }

  /** It is looked at again before anything else is done. */
  forget(): void {
    this.version = -1;
  }

  /**
   * Gives the schema the number that it had before changes that were undone since, in the same transaction: nobody else
   * has seen others. SQLite has this connection read it anew.
   */
  setBack(version: number): void {
    // What SQLite calls defensive leaves the number alone.
    this.db.unsafeMode(true);
    try {
      this.db.pragma(`schema_version = ${version}`);
    } finally {
      this.db.unsafeMode(false);
    }
  }

  /** The number of the schema; each change of it makes it one greater. */
  current(): number {
    return valueStatement(this.db, "PRAGMA schema_version").get() as number;
  }
}

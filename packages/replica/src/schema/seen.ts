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

  private current(): number {
    return valueStatement(this.db, "PRAGMA schema_version").get() as number;
  }
}

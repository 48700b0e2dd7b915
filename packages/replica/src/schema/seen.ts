import type { Database } from "better-sqlite3";

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
    return this.db.pragma("schema_version", { simple: true }) as number;
  }
}

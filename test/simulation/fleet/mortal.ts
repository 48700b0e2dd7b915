import Database from "better-sqlite3";

/** Thrown where a process would have died. */
export class Crash extends Error {}

/**
 * The database connection of one run of a node, which can be told to die at its n-th statement from now. After that no
 * statement runs any more, as in a process that was killed, until the connection is closed and SQLite rolls back.
 */
export class MortalConnection {
  dead = false;
  /** The statement at which it died. */
  diedAt = "";
  private countdown = 0;
  private late = false;
  private raw: Database.Database | null = null;

  /** Opens the connection as the product does. */
  readonly connect = (path: string, options: Database.Options): Database.Database => {
    const raw = new Database(path, options);
    this.raw = raw;
    const prepare = raw.prepare.bind(raw);
    const exec = raw.exec.bind(raw);
    const pragma = raw.pragma.bind(raw);
    raw.exec = (sql) => this.step(sql, () => exec(sql));
    raw.pragma = (sql, how) => this.step(sql, () => pragma(sql, how));
    raw.prepare = ((sql: string) => {
      const statement = prepare(sql) as Database.Statement;
      const { run, get, all, iterate } = statement;
      statement.run = (...values) => this.step(sql, () => run.apply(statement, values));
      statement.get = (...values) => this.step(sql, () => get.apply(statement, values));
      statement.all = (...values) => this.step(sql, () => all.apply(statement, values));
      statement.iterate = (...values) => {
        const rows = iterate.apply(statement, values);
        try {
          return this.step(sql, () => rows);
        } catch (error) {
          // A connection with a statement in progress cannot be closed.
          rows.return?.();
          throw error;
        }
      };
      return statement;
    }) as typeof raw.prepare;
    return raw;
  };

  /** Dies at the `after`-th statement: before it has run or, `late`, once it has. */
  arm(after: number, late: boolean): void {
    this.countdown = after;
    this.late = late;
  }

  disarm(): void {
    this.countdown = 0;
  }

  /** What the operating system does with a killed process: nothing of an open transaction stays. */
  bury(): void {
    this.raw?.close();
    this.raw = null;
  }

  private step<T>(sql: string, work: () => T): T {
    if (this.dead) throw new Crash("the process is dead");
    const hit = this.countdown > 0 && --this.countdown === 0;
    if (hit && !this.late) this.die(sql);
    const result = work();
    if (hit) this.die(sql);
    return result;
  }

  private die(sql: string): never {
    this.dead = true;
    this.diedAt = `${this.late ? "after" : "before"} ${sql.slice(0, 60)}`;
    throw new Crash(this.diedAt);
  }
}

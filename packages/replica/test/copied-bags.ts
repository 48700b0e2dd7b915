import type Database from "better-sqlite3";
import type { Node } from "./verdict.ts";

/** Tables whose rows have no key, or NULL for one. */
export const BAGS = ["entry", "slot"] as const;

export const BAG_SCHEMA = "CREATE TABLE entry(m TEXT, x TEXT); CREATE TABLE slot(k TEXT PRIMARY KEY, m TEXT, x TEXT);";

/** A column that every node gets by a migration at some time, before it has met others or after. */
const LATER = "ALTER TABLE entry ADD COLUMN z TEXT DEFAULT 'none'";

/** Markers of rows of which none is deleted once its copy is attached. */
const STAY = ["e1", "e2", "e3"];
const MARKERS = [...STAY, "e4", "e5", "e6"];

interface Draws {
  random: () => number;
  value: () => string;
  trace: (text: string) => void;
}

/**
 * Rows without a key in copies of one file, several of them equal, and what is known of them without asking the product: of
 * equal rows there are as many as the copy had that had most, and what somebody wrote later, who was not overwritten, is there.
 */
export class CopiedBags {
  private readonly draws: Draws;
  /** How many equal rows a copy had at most when it was attached, by table, marker and value. */
  private readonly most = new Map<string, number>();
  /** Rows written and rows deleted since, by table and marker. */
  private readonly added = new Map<string, number>();
  private readonly deleted = new Map<string, number>();
  /** Values written since that nobody has overwritten knowingly, by table and marker. */
  private readonly open = new Map<string, Set<string>>();

  constructor(draws: Draws) {
    this.draws = draws;
  }

  private pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.draws.random() * list.length)] as T;
  }

  /** What is in the file before it is attached: the same in all copies, and then what this one's application did. */
  fill(app: Database.Database): void {
    for (const table of BAGS) {
      const add = app.prepare(`INSERT INTO ${table}(m, x) VALUES(?, ?)`);
      MARKERS.forEach((marker, i) => {
        for (let copies = 0; copies <= i % 3; copies++) add.run(marker, `${marker}x`);
      });
      for (let edits = 0; edits < 4; edits++) {
        const marker = this.pick(MARKERS);
        const one = `rowid = (SELECT max(rowid) FROM ${table} WHERE m = '${marker}')`;
        const choice = this.draws.random();
        if (choice < 0.4) add.run(marker, `${marker}x`);
        else if (choice < 0.7) app.exec(`DELETE FROM ${table} WHERE ${one}`);
        else app.prepare(`UPDATE ${table} SET x = ? WHERE ${one}`).run(this.pick(["moved", "apart"]));
      }
    }
    if (this.draws.random() < 0.3) app.exec("VACUUM");
    for (const table of BAGS) {
      const counts = app.prepare(`SELECT m, x, count(*) FROM ${table} GROUP BY 1, 2`).raw(true).all() as [string, string, number][];
      for (const [marker, value, count] of counts) {
        const name = `${table} ${marker} ${value}`;
        this.most.set(name, Math.max(this.most.get(name) ?? 0, count));
      }
    }
  }

  private hasMigrated({ app }: Node): boolean {
    return (app.pragma("table_info(entry)") as { name: string }[]).some((column) => column.name === "z");
  }

  /** True while only one of the two has migrated: of rows that only one holds nobody can tell then whether they were deleted. */
  differ(a: Node, b: Node): boolean {
    return this.hasMigrated(a) !== this.hasMigrated(b);
  }

  private migrate(node: Node): void {
    const { app, name } = node;
    if (this.hasMigrated(node)) return;
    this.draws.trace(`${name} migrates entry`);
    app.exec(LATER);
  }

  write(node: Node): void {
    const { app, name } = node;
    if (this.draws.random() < 0.1) this.migrate(node);
    if (this.draws.random() < 0.1) app.exec("VACUUM");
    const table = this.pick(BAGS);
    const choice = this.draws.random();
    if (choice < 0.25) {
      const [marker, value] = [this.pick(MARKERS), this.draws.value()];
      app.prepare(`INSERT INTO ${table}(m, x) VALUES(?, ?)`).run(marker, value);
      this.count(this.added, `${table} ${marker}`);
      this.note(`${table} ${marker}`, value);
      this.draws.trace(`${name} adds ${marker} ${value} to ${table}`);
      return;
    }
    const rows = app.prepare(`SELECT rowid, m, x FROM ${table} ORDER BY m, x`).raw(true).all() as [number, string, string][];
    if (rows.length === 0) return;
    const [rowid, marker, was] = this.pick(rows);
    if (choice < 0.45 && !STAY.includes(marker)) {
      app.prepare(`DELETE FROM ${table} WHERE rowid = ?`).run(rowid);
      this.count(this.deleted, `${table} ${marker}`);
      this.draws.trace(`${name} deletes ${marker} ${was} from ${table}`);
      return;
    }
    const value = this.draws.value();
    // Who edits a row has seen what its replica lists beside the value.
    const losers = node.replica.reviews({ kind: "conflict", id: "", limit: 10_000 });
    const seen = [was, ...losers.filter(({ winner }) => winner?.value === was).map(({ loser }) => loser?.value as string)];
    app.prepare(`UPDATE ${table} SET x = ? WHERE rowid = ?`).run(value, rowid);
    for (const each of seen) this.open.get(`${table} ${marker}`)?.delete(each);
    this.note(`${table} ${marker}`, value);
    this.draws.trace(`${name} sets ${marker} ${was} to ${value} in ${table}`);
  }

  private count(counts: Map<string, number>, name: string): void {
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }

  private note(name: string, value: string): void {
    const values = this.open.get(name) ?? new Set();
    this.open.set(name, values.add(value));
  }

  /** Everyone has the same version in the end. */
  upgrade(nodes: readonly Node[]): void {
    for (const node of nodes) this.migrate(node);
  }

  /** What is wrong with a node's rows. */
  check({ app, name, replica }: Node): string[] {
    const failures: string[] = [];
    const losers = replica.reviews({ kind: "conflict", id: "", limit: 100_000 }).map(({ loser }) => loser?.value);
    for (const table of BAGS) {
      for (const marker of MARKERS) {
        const key = `${table} ${marker}`;
        const before = [...this.most].filter(([held]) => held.startsWith(`${key} `)).reduce((sum, [, count]) => sum + count, 0);
        const all = before + (this.added.get(key) ?? 0);
        const values = app.prepare(`SELECT x FROM ${table} WHERE m = ?`).pluck().all(marker) as string[];
        const least = all - (this.deleted.get(key) ?? 0);
        if (values.length > all || values.length < least)
          failures.push(`R1 ${key} is on ${name} ${values.length} times, the ledger says ${least} to ${all}: ${values.join()}`);
        if (!STAY.includes(marker)) continue;
        for (const value of this.open.get(key) ?? [])
          if (!values.includes(value) && !losers.includes(value)) failures.push(`R1 ${value} of ${key} is lost on ${name}`);
      }
    }
    return failures;
  }
}

import type Database from "better-sqlite3";
import type { CopiedBags } from "./copied-bags.ts";
import type { EarlyRows } from "./early-rows.ts";
import type { Ledger } from "./ledger.ts";
import type { SimulationOptions } from "./simulation-options.ts";
import { MORE_TABLES, type Node, TABLES } from "./verdict.ts";

/** Tables with keys: copies that moved apart are compared by them. */
const KEYED = ["parent", "child", "word", "link", "tag"] as const;

/** Tables whose rows an application may remember by their integer. */
const KEPT_IDS: readonly string[] = ["parent", "child", "tag", "remark"];

export const SCHEMA = `
CREATE TABLE parent(id INTEGER PRIMARY KEY, m TEXT NOT NULL, x TEXT, y TEXT);
CREATE TABLE child(id INTEGER PRIMARY KEY AUTOINCREMENT, m TEXT NOT NULL, p INTEGER REFERENCES parent(id) ON DELETE CASCADE, x TEXT, y TEXT);
CREATE INDEX child_p ON child(p);
CREATE TABLE word(k TEXT PRIMARY KEY, m TEXT NOT NULL, x TEXT, y TEXT);
CREATE TABLE link(p INTEGER NOT NULL REFERENCES parent(id) ON DELETE CASCADE, k TEXT NOT NULL, m TEXT NOT NULL, x TEXT, y TEXT, PRIMARY KEY(p, k)) WITHOUT ROWID;
CREATE TABLE tag(id INTEGER PRIMARY KEY, m TEXT NOT NULL, label TEXT UNIQUE, x TEXT, y TEXT);
CREATE TABLE remark(id INTEGER PRIMARY KEY, m TEXT NOT NULL, k TEXT REFERENCES word(k) ON DELETE CASCADE, x TEXT, y TEXT);
CREATE TABLE note(m TEXT NOT NULL, p INTEGER REFERENCES parent(id) ON DELETE CASCADE, x TEXT, y TEXT);
`;

/** Tables with a counter and a set, where the history has such. */
export const RULED = ["parent", "child", "word"];

/** What the applications need to know of the history that they are part of. */
export interface SimulatedHistory {
  readonly options: SimulationOptions;
  readonly random: () => number;
  readonly nodes: readonly Node[];
  readonly ledger: Ledger;
  /** Rows without a key that copies had before they were attached; null in other histories. */
  readonly bags: CopiedBags | null;
  /** Children that wait for their parents to be written; null in other histories. */
  readonly early: EarlyRows | null;
  readonly nowUs: number;
  trace(text: string): void;
  pick<T>(list: readonly T[]): T;
  /** A value that nothing else has. */
  value(): string;
  /** A number that nothing else has. */
  nextNumber(): number;
}

/** The applications of all nodes: whatever they write is in the ledger, with what they saw. */
export class SimulatedApplications {
  private readonly history: SimulatedHistory;
  /** Who wrote a value. */
  private readonly authors = new Map<string, string>();
  /** Nodes whose database had a row when it was attached, by marker. */
  private readonly copied = new Map<string, string[]>();

  constructor(history: SimulatedHistory) {
    this.history = history;
  }

  /**
   * A copy of one database, and what its application did to it before anybody captured. Every value that some copy has
   * when it is attached may be the only one left of its kind: nobody can know which is newer.
   */
  copy(app: Database.Database, copy: number): void {
    const markers: [table: string, marker: string][] = [];
    for (let id = 1; id <= 6; id++)
      app.prepare("INSERT INTO parent(id, m, x, y) VALUES(?, ?, ?, ?)").run(id, `parent-c${id}`, `px${id}`, `py${id}`);
    for (let id = 1; id <= 6; id++) {
      app.prepare("INSERT INTO child(id, m, p, x, y) VALUES(?, ?, ?, ?, ?)").run(id, `child-c${id}`, (id % 3) + 1, `cx${id}`, `cy${id}`);
      app.prepare("INSERT INTO word(k, m, x, y) VALUES(?, ?, ?, ?)").run(`w${id}`, `word-w${id}`, `wx${id}`, `wy${id}`);
      app.prepare("INSERT INTO link(p, k, m, x, y) VALUES(?, 'k0', ?, ?, ?)").run(id, `link-parent-c${id}-k0`, `lx${id}`, `ly${id}`);
      app.prepare("INSERT INTO tag(id, m, label, x, y) VALUES(?, ?, ?, ?, ?)").run(id, `tag-c${id}`, `label${id}`, `tx${id}`, `ty${id}`);
    }
    for (let edits = 0; edits < 6; edits++) {
      const table = this.history.pick(KEYED);
      const id = 1 + Math.floor(this.history.random() * 6);
      const rowid = table === "word" || table === "link" ? (table === "word" ? "k = 'w' || ?" : "p = ?") : "id = ?";
      const column = this.history.random() < 0.5 ? "x" : "y";
      if (this.history.random() < 0.7) app.prepare(`UPDATE ${table} SET ${column} = ? WHERE ${rowid}`).run(this.history.value(), id);
      else if (table !== "parent") app.prepare(`DELETE FROM ${table} WHERE ${rowid}`).run(id);
    }
    const own = 100 + copy;
    app
      .prepare("INSERT INTO parent(id, m, x, y) VALUES(?, ?, ?, ?)")
      .run(own, `parent-o${own}`, this.history.value(), this.history.value());
    app
      .prepare("INSERT INTO child(id, m, p, x, y) VALUES(?, ?, ?, ?, ?)")
      .run(own, `child-o${own}`, own, this.history.value(), this.history.value());
    for (const table of KEYED) {
      for (const row of app.prepare(`SELECT * FROM ${table}`).all() as Record<string, string>[]) {
        const marker = row["m"] as string;
        markers.push([table, marker]);
        this.copied.set(marker, [...(this.copied.get(marker) ?? []), `n${copy}`]);
        for (const column of ["x", "y"]) {
          this.history.ledger.wrote(marker, column, row[column] as string, []);
          this.history.ledger.before.add(`${marker}.${column}=${row[column] as string}`);
        }
        if (row["p"] === undefined) continue;
        this.history.ledger.parents.set(marker, app.prepare("SELECT m FROM parent WHERE id = ?").pluck().get(row["p"]) as string);
      }
    }
    for (const [table, marker] of markers) this.history.ledger.rows.set(marker, table);
  }

  write(node: Node): void {
    if (this.history.bags && this.history.random() < 0.3) return this.history.bags.write(node);
    if (this.history.early && this.history.random() < 0.4) return this.writeEarly(node, this.history.early);
    const table = this.history.pick<string>(this.history.options.moreTables ? MORE_TABLES : TABLES);
    if (this.history.options.moreTables && this.history.random() < 0.05) node.app.exec("VACUUM");
    const choice = this.history.random();
    const rows = this.rowsOf(node, table);
    if (choice < 0.45 || rows.length === 0) this.insert(node, table);
    else if (this.history.options.rules && RULED.includes(table) && choice < 0.65) this.tally(node, table, this.history.pick(rows).m);
    else if (choice < (this.history.options.forgetting ? 0.7 : 0.85)) this.update(node, table, this.history.pick(rows).m);
    else if (choice < 0.95) this.remove(node, table, this.history.pick(rows).m);
    else if (table === "parent" || table === "child" || table === "tag") this.replace(node, table, this.history.pick(rows).m);
    if (this.history.random() < 0.5) this.skew(node);
    if (this.history.random() < 0.5) node.replica.drain();
  }

  /** The writing process's clock is the node's: captured times get the node's skew and the simulated day. */
  private skew(node: Node): void {
    const day = (this.history.nowUs + node.skewUs) / 86_400_000_000 + 2_440_587.5;
    node.app.prepare("UPDATE _scoutsync_capture SET at = ?").run(day);
  }

  /** Values that the writer can see for a cell: the table's, and the losers its replica lists. */
  private seen(node: Node, table: string, marker: string, column: string): string[] {
    const row = node.app.prepare(`SELECT ${column} AS value FROM ${table} WHERE m = ?`).get(marker) as { value: string } | undefined;
    if (!row) return [];
    const losers = node.replica.reviews({ kind: "conflict", id: "", limit: 10_000 });
    const mine = losers.filter((review) => review.table === table && review.column === column && review.winner?.value === row.value);
    return [row.value, ...mine.map((review) => review.loser?.value as string)];
  }

  private rowsOf(node: Node, table: string): { m: string }[] {
    return node.app.prepare(`SELECT m FROM ${table} ORDER BY m`).all() as { m: string }[];
  }

  /** A child before its parent, or the parent of one. */
  private writeEarly(node: Node, early: EarlyRows): void {
    if (this.history.random() < 0.5 || !early.complete(node)) {
      const table = this.history.options.moreTables && this.history.random() < 0.5 ? "note" : "child";
      const marker = `${table}-${this.history.nextNumber()}`;
      const [x, y] = [this.history.value(), this.history.value()];
      for (const value of [x, y]) this.authors.set(value, node.name);
      early.insert(node, table, { marker, x, y });
      this.inserted(node, table, { of: marker, x, y }, { x: [], y: [] });
    }
    if (this.history.random() < 0.5) node.replica.drain();
  }

  private insert(node: Node, table: string): void {
    const marker = `${table}-${this.history.nextNumber()}`;
    const x = this.history.value();
    const y = this.history.value();
    for (const value of [x, y]) this.authors.set(value, node.name);
    let saw: Record<"x" | "y", string[]> = { x: [], y: [] };
    let of = marker;
    if (table === "parent") node.app.prepare("INSERT INTO parent(m, x, y) VALUES(?, ?, ?)").run(marker, x, y);
    else if (table === "tag") {
      const label = this.history.random() < 0.5 ? `label${Math.floor(this.history.random() * 4)}` : marker;
      if (node.app.prepare("SELECT 1 FROM tag WHERE label = ?").get(label)) return;
      node.app.prepare("INSERT INTO tag(m, label, x, y) VALUES(?, ?, ?, ?)").run(marker, label, x, y);
    } else if (table === "word") {
      // Concurrent inserts of one key are one row: its marker is the key.
      const key = `w${Math.floor(this.history.random() * 6)}`;
      of = `word-${key}`;
      if (node.app.prepare("SELECT 1 FROM word WHERE k = ?").get(key)) return;
      saw = { x: [], y: [] };
      node.app.prepare("INSERT INTO word(k, m, x, y) VALUES(?, ?, ?, ?)").run(key, of, x, y);
    } else if (table === "remark") {
      const words = node.app.prepare("SELECT k FROM word ORDER BY k").pluck().all() as string[];
      if (words.length === 0) return;
      const word = this.history.pick(words);
      node.app.prepare("INSERT INTO remark(m, k, x, y) VALUES(?, ?, ?, ?)").run(marker, word, x, y);
      this.history.ledger.parents.set(marker, `word-${word}`);
    } else {
      const parents = node.app.prepare("SELECT id, m FROM parent ORDER BY m").all() as { id: number; m: string }[];
      if (parents.length === 0) return;
      const parent = this.history.pick(parents);
      if (table === "child" || table === "note") {
        node.app.prepare(`INSERT INTO ${table}(m, p, x, y) VALUES(?, ?, ?, ?)`).run(marker, parent.id, x, y);
        this.history.ledger.parents.set(marker, parent.m);
      } else {
        const key = `k${Math.floor(this.history.random() * 2)}`;
        of = `link-${parent.m}-${key}`;
        if (node.app.prepare("SELECT 1 FROM link WHERE p = ? AND k = ?").get(parent.id, key)) return;
        node.app.prepare("INSERT INTO link(p, k, m, x, y) VALUES(?, ?, ?, ?, ?)").run(parent.id, key, of, x, y);
        this.history.ledger.parents.set(of, parent.m);
      }
    }
    this.inserted(node, table, { of, x, y }, saw);
  }

  private inserted(node: Node, table: string, { of, x, y }: { of: string; x: string; y: string }, saw: Record<"x" | "y", string[]>): void {
    this.remember(node, table, of);
    this.history.trace(`${node.name} inserts ${of} ${x} ${y}`);
    this.history.ledger.rows.set(of, table);
    this.history.ledger.wrote(of, "x", x, saw.x);
    this.history.ledger.wrote(of, "y", y, saw.y);
  }

  private update(node: Node, table: string, marker: string): void {
    if (this.history.options.keepsIds && KEPT_IDS.includes(table)) return this.updateRemembered(node, table, marker);
    const columns = this.history.random() < 0.3 ? (["x", "y"] as const) : this.history.random() < 0.5 ? (["x"] as const) : (["y"] as const);
    for (const column of columns) {
      const value = this.history.value();
      const saw = this.seen(node, table, marker, column);
      node.app.prepare(`UPDATE ${table} SET ${column} = ? WHERE m = ?`).run(value, marker);
      this.history.trace(`${node.name} sets ${marker}.${column} = ${value} over ${saw.join()}`);
      this.history.ledger.wrote(marker, column, value, saw);
    }
  }

  /** The application has just seen this row under its integer, and put it there itself: whoever was there before is gone. */
  private remember(node: Node, table: string, marker: string): void {
    if (!this.history.options.keepsIds || !KEPT_IDS.includes(table)) return;
    const id = node.app.prepare(`SELECT id FROM ${table} WHERE m = ?`).pluck().get(marker) as number;
    for (const [other, held] of node.remembered)
      if (held === id && this.history.ledger.rows.get(other) === table) node.remembered.delete(other);
    node.remembered.set(marker, id);
  }

  /** Writes to the integer under which the application remembers a row. What it finds there instead it has not seen, but for its own. */
  private updateRemembered(node: Node, table: string, marker: string): void {
    if (!node.remembered.has(marker) || this.history.random() < 0.2)
      node.remembered.set(marker, node.app.prepare(`SELECT id FROM ${table} WHERE m = ?`).pluck().get(marker) as number);
    const mine = [...node.remembered.keys()].filter((one) => this.history.ledger.rows.get(one) === table);
    const meant = this.history.pick(mine);
    const id = node.remembered.get(meant) as number;
    const there = node.app.prepare(`SELECT m FROM ${table} WHERE id = ?`).pluck().get(id) as string | undefined;
    if (there === undefined) return;
    const column = this.history.random() < 0.5 ? "x" : "y";
    const value = this.history.value();
    const shown = this.seen(node, table, there, column);
    const saw = there === meant ? shown : shown.filter((one) => this.authors.get(one) === node.name);
    node.app.prepare(`UPDATE ${table} SET ${column} = ? WHERE id = ?`).run(value, id);
    this.authors.set(value, node.name);
    this.history.trace(`${node.name} sets ${there}.${column} = ${value} over ${saw.join()}, meaning ${meant}`);
    this.history.ledger.wrote(there, column, value, saw);
  }

  /** Counts something, and adds to or removes from a set. */
  private tally(node: Node, table: string, marker: string): void {
    const row = node.app.prepare(`SELECT hits, tags FROM ${table} WHERE m = ?`).get(marker) as { hits: number; tags: string };
    const by = Math.floor(this.history.random() * 21) - 10;
    const seen = JSON.parse(row.tags) as string[];
    const tags = [...seen];
    if (tags.length > 0 && this.history.random() < 0.4) tags.splice(Math.floor(this.history.random() * tags.length), 1);
    else tags.push(this.history.value());
    node.app.prepare(`UPDATE ${table} SET hits = hits + ?, tags = ? WHERE m = ?`).run(by, JSON.stringify(tags), marker);
    this.history.trace(`${node.name} counts ${by} on ${marker}, tags ${row.tags} -> ${JSON.stringify(tags)}`);
    this.history.ledger.counted(marker, by, seen, tags);
  }

  private replace(node: Node, table: string, marker: string): void {
    const row = node.app.prepare(`SELECT * FROM ${table} WHERE m = ?`).get(marker) as Record<string, unknown>;
    const x = this.history.value();
    const y = this.history.value();
    for (const value of [x, y]) this.authors.set(value, node.name);
    for (const [column, value] of [
      ["x", x],
      ["y", y],
    ] as const)
      this.history.ledger.wrote(marker, column, value, this.seen(node, table, marker, column));
    this.history.trace(`${node.name} replaces ${marker} ${x} ${y}`);
    this.history.early?.replaced(node, table, marker, row["p"]);
    const next = { ...row, x, y };
    const names = Object.keys(next);
    // Children of a replaced parent would go with it: the application turns foreign keys off for that, as ORMs do.
    node.app.pragma("foreign_keys = OFF");
    node.app
      .prepare(`INSERT OR REPLACE INTO ${table}(${names.join(", ")}) VALUES(${names.map(() => "?").join(", ")})`)
      .run(...Object.values(next));
    node.app.pragma("foreign_keys = ON");
  }

  /**
   * Rows of other nodes that differ from what the deleting node sees were written by someone who could not know. So was the same
   * row of a copy that it has not met: who has forgotten the delete by then cannot tell that row from one that it never had.
   */
  private noteApart(node: Node, table: string, marker: string): void {
    if (this.copied.get(marker)?.some((name) => !node.met.has(name))) this.history.ledger.returns(marker);
    const look = ({ app }: Node) => {
      const ruled = this.history.options.rules && RULED.includes(table) ? ", hits, tags" : "";
      const row = app.prepare(`SELECT x, y${ruled} FROM ${table} WHERE m = ?`).get(marker);
      const below = ["child", "link", "note"].map((name) =>
        app.prepare(`SELECT ${name}.m FROM ${name} JOIN parent ON parent.id = ${name}.p WHERE parent.m = ? ORDER BY 1`).pluck().all(marker),
      );
      const remarks = app.prepare("SELECT remark.m FROM remark JOIN word USING(k) WHERE word.m = ? ORDER BY 1").pluck().all(marker);
      return row === undefined ? null : JSON.stringify([row, below, remarks]);
    };
    const mine = look(node);
    if (this.history.nodes.some((other) => look(other) !== null && look(other) !== mine)) this.history.ledger.lives(marker);
  }

  private remove(node: Node, table: string, marker: string): void {
    node.remembered.delete(marker);
    this.history.trace(`${node.name} deletes ${marker}`);
    this.noteApart(node, table, marker);
    if (table === "parent") {
      const id = node.app.prepare("SELECT id FROM parent WHERE m = ?").pluck().get(marker) as number;
      for (const child of ["child", "link", "note"]) {
        for (const { m } of node.app.prepare(`SELECT m FROM ${child} WHERE p = ?`).all(id) as { m: string }[]) {
          this.noteApart(node, child, m);
          this.history.ledger.deleted.add(m);
          node.remembered.delete(m);
        }
      }
    }
    if (table === "word") {
      const of = node.app.prepare("SELECT remark.m FROM remark JOIN word USING(k) WHERE word.m = ?").pluck().all(marker) as string[];
      for (const m of of) {
        this.noteApart(node, "remark", m);
        this.history.ledger.deleted.add(m);
        node.remembered.delete(m);
      }
    }
    this.history.ledger.deleted.add(marker);
    node.app.prepare(`DELETE FROM ${table} WHERE m = ?`).run(marker);
  }
}

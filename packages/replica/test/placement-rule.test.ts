import { expect, test } from "vitest";
import { seeded } from "./seeded.ts";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

/** Several UNIQUE constraints, one over two columns, one partial; a reference to another table, and one to its own. */
const SCHEMA = `
CREATE TABLE person(id INTEGER PRIMARY KEY, m TEXT, name TEXT UNIQUE, room INTEGER, seat INTEGER, card TEXT, UNIQUE(room, seat));
CREATE UNIQUE INDEX person_card ON person(card) WHERE card <> '';
CREATE TABLE pet(id INTEGER PRIMARY KEY, m TEXT, tag TEXT UNIQUE, owner INTEGER REFERENCES person(id));
CREATE TABLE node(id INTEGER PRIMARY KEY, m TEXT, label TEXT UNIQUE, side TEXT UNIQUE, up INTEGER REFERENCES node(id));
`;
const TABLES = ["person", "pet", "node"] as const;
type TableName = (typeof TABLES)[number];
const PARK = [...TABLES];
const UNIQUE: Record<TableName, string[][]> = {
  person: [["name"], ["room", "seat"], ["card"]],
  pet: [["tag"]],
  node: [["label"], ["side"]],
};
const REFERS: Record<TableName, { column: string; to: TableName } | null> = {
  person: null,
  pet: { column: "owner", to: "person" },
  node: { column: "up", to: "node" },
};

/** A row as it is to be everywhere; `ref` names the row referred to by its marker. */
interface Expected {
  table: TableName;
  m: string;
  born: number;
  values: Record<string, string | number | null>;
  ref: string | null;
}

const clash = (a: Expected, b: Expected): boolean =>
  a.table === b.table &&
  UNIQUE[a.table].some((columns) =>
    columns.every((column) => a.values[column] !== null && a.values[column] !== "" && a.values[column] === b.values[column]),
  );

/**
 * The rule, from scratch: tables with what they refer to before them; by birth, a row wins its UNIQUE values unless one
 * that won before has one of them; in a table that refers to itself, those of the winners whose references hold among themselves.
 */
function admitted(rows: readonly Expected[]): Set<string> {
  const inside = new Set<string>();
  for (const table of TABLES) {
    const mine = rows.filter((row) => row.table === table).sort((a, b) => a.born - b.born);
    const toItself = REFERS[table]?.to === table;
    const won: Expected[] = [];
    for (const row of mine) {
      if (row.ref !== null && !toItself && !inside.has(row.ref)) continue;
      if (!won.some((other) => clash(other, row))) won.push(row);
    }
    let left = won;
    for (let shrunk = true; shrunk;) {
      const names = new Set(left.map(({ m }) => m));
      const next = toItself ? left.filter(({ ref }) => ref === null || names.has(ref)) : left;
      shrunk = next.length < left.length;
      left = next;
    }
    for (const { m } of left) inside.add(m);
  }
  return inside;
}

class History {
  readonly rows = new Map<string, Expected>();
  private readonly random: () => number;
  private at = START_US;
  private count = 0;

  constructor(seed: number) {
    this.random = seeded(seed * 104_729 + 7);
  }

  pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.random() * list.length)] as T;
  }

  private value(column: string): string | number | null {
    if (this.random() < 0.2) return column === "card" && this.random() < 0.5 ? "" : null;
    return column === "room" || column === "seat" ? Math.floor(this.random() * 2) : this.pick(["a", "b", "c"]);
  }

  /** One statement of a site's application on rows it sees; nothing when its own constraints refuse it. */
  write(site: Site): void {
    this.at += SECOND_US;
    const table = this.pick(TABLES);
    const seen = site.rows(`SELECT m FROM ${table} ORDER BY m`).map(({ m }) => this.rows.get(String(m)) as Expected);
    const choice = this.random();
    const columns = [...new Set(UNIQUE[table].flat())];
    const refers = REFERS[table];
    const target = refers ? this.pick([null, ...site.rows(`SELECT m FROM ${refers.to} ORDER BY m`).map(({ m }) => String(m))]) : null;
    const idOf = (m: string | null) => (m === null || !refers ? "NULL" : `(SELECT id FROM ${refers.to} WHERE m = '${m}')`);
    const literal = (value: string | number | null) => (value === null ? "NULL" : typeof value === "number" ? String(value) : `'${value}'`);
    const attempt = (sql: string): boolean => {
      try {
        site.edit(sql, this.at);
        return true;
      } catch (error) {
        if (!((error as { code?: string }).code ?? "").startsWith("SQLITE_CONSTRAINT")) throw error;
        return false;
      }
    };
    if (choice < 0.6 || seen.length === 0) {
      const m = `${table}${++this.count}`;
      const values = Object.fromEntries(columns.map((column) => [column, this.value(column)]));
      const names = ["m", ...columns, ...(refers ? [refers.column] : [])];
      const literals = [`'${m}'`, ...columns.map((column) => literal(values[column] as string)), ...(refers ? [idOf(target)] : [])];
      if (attempt(`INSERT INTO ${table}(${names.join()}) VALUES(${literals.join()})`))
        this.rows.set(m, { table, m, born: this.at, values, ref: target });
    } else if (choice < 0.9) {
      const row = this.pick(seen);
      const column = this.pick([...columns, ...(refers ? [refers.column] : [])]);
      const value = this.value(column);
      const sets = column === refers?.column ? idOf(target) : literal(value);
      if (!attempt(`UPDATE ${table} SET ${column} = ${sets} WHERE m = '${row.m}'`)) return;
      if (column === refers?.column) row.ref = target;
      else row.values[column] = value;
    } else {
      const row = this.pick(seen);
      if ([...this.rows.values()].some(({ ref }) => ref === row.m)) return;
      if (attempt(`DELETE FROM ${table} WHERE m = '${row.m}'`)) this.rows.delete(row.m);
    }
  }

  /** What the sites hold that the rule does not say; empty when all hold the same, and that. */
  differences(sites: readonly Site[]): string[] {
    const wanted = admitted([...this.rows.values()]);
    const out = [...this.rows.keys()].filter((m) => !wanted.has(m)).sort();
    return sites.flatMap((site) => {
      const there = TABLES.flatMap((table) => site.rows(`SELECT m FROM ${table}`).map(({ m }) => String(m))).sort();
      const reviews = site.replica.reviews({ kind: "parked", id: "", limit: 1_000 });
      const parked = reviews.map(({ image }) => image?.find(({ name }) => name === "m")?.value as string).sort();
      const same = Buffer.compare(site.replica.state().digest, sites[0]?.replica.state().digest as Uint8Array) === 0;
      return [
        ...(there.join() === [...wanted].sort().join()
          ? []
          : [`${site.name} holds ${there.join()}, the rule says ${[...wanted].sort().join()}`]),
        ...(parked.join() === out.join() ? [] : [`${site.name} parks ${parked.join()}, the rule says ${out.join()}`]),
        ...(same ? [] : [`${site.name} differs from ${sites[0]?.name}`]),
      ];
    });
  }
}

const SEEDS = Number(process.env["SCOUTSYNC_SEEDS"] ?? 6);
const FIRST = Number(process.env["SCOUTSYNC_SEED"] ?? 1);

test("which rows are in their table is one function of the merged state, whatever came first, and follows what frees it", () => {
  for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
    const history = new History(seed);
    const writers = ["a", "b", "c"].map((name) => new Site(name, SCHEMA, { park: PARK }));
    for (const site of writers) site.app.pragma("foreign_keys = ON");
    for (let i = 0; i < 24; i++) history.write(history.pick(writers));
    const [a, b, c] = writers as [Site, Site, Site];
    const observers = [
      [a, b, c],
      [c, b, a],
      [b, c, a],
    ].map((order, i) => {
      const observer = new Site(`o${i}`, SCHEMA, { park: PARK });
      for (const from of order) observer.pull(from, { batchSize: history.pick([1, 2, 5, 0]) });
      return observer;
    });
    expect([seed, history.differences(observers)]).toEqual([seed, []]);
    settle(...writers);
    expect([seed, history.differences(writers)]).toEqual([seed, []]);
    // Then one write at a time, each seen by all before the next: what it frees gets in.
    for (let i = 0; i < 5; i++) {
      history.write(history.pick(writers));
      settle(...writers);
      expect([seed, history.differences(writers)]).toEqual([seed, []]);
    }
    for (const site of [...writers, ...observers]) site.stop();
  }
}, 120_000);

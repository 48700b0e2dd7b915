import { expect, test } from "vitest";
import { seeded } from "./seeded.ts";
import { julianDay, refusal, SECOND_US, settle, Site, START_US } from "./site.ts";

const table = (name: string, more = "") => `CREATE TABLE ${name}(id INTEGER PRIMARY KEY, body TEXT${more})`;
const rebuilt = (from: string, to: string, more = "") => `${table(to, more)}; INSERT INTO ${to} SELECT * FROM ${from}; DROP TABLE ${from}`;

interface Migration {
  schema: string;
  sql: string;
  /** What each table is called afterwards. */
  names: Record<string, string>;
  /** The table that it drops with its rows. */
  dropped?: string;
  /** What it writes itself. */
  seeds: string[];
}

const BOTH = { alpha: "beta", gamma: "delta" };
const MIGRATIONS: Record<string, Migration> = {
  "a rebuilt table": { schema: table("alpha"), sql: rebuilt("alpha", "beta"), names: { alpha: "beta" }, seeds: [] },
  "two alike": {
    schema: `${table("alpha")}; ${table("gamma")}`,
    sql: `${rebuilt("alpha", "beta")}; ${rebuilt("gamma", "delta")}`,
    names: BOTH,
    seeds: [],
  },
  "one with the other's columns": {
    schema: `${table("alpha")}; ${table("gamma", ", x TEXT")}`,
    sql: `${rebuilt("gamma", "delta", ", x TEXT")}; ${rebuilt("alpha", "beta")}`,
    names: BOTH,
    seeds: [],
  },
  "one dropped and one made": {
    schema: table("alpha"),
    sql: `DROP TABLE alpha; ${table("beta")}`,
    names: { alpha: "beta" },
    dropped: "alpha",
    seeds: [],
  },
  "one dropped and one filled": {
    schema: table("alpha"),
    sql: `DROP TABLE alpha; ${table("beta")}; INSERT INTO beta VALUES(1, 'seed 1'), (2, 'seed 2')`,
    names: { alpha: "beta" },
    dropped: "alpha",
    seeds: ["seed 1", "seed 2"],
  },
  "one dropped, one made, one rebuilt": {
    schema: `${table("alpha")}; ${table("gamma")}`,
    sql: `DROP TABLE alpha; ${rebuilt("gamma", "delta")}; ${table("beta")}`,
    names: BOTH,
    dropped: "alpha",
    seeds: [],
  },
};

/** Three nodes that run a migration one by one, some of them down, while rows are written under both names. */
class History {
  private readonly migration: Migration;
  private readonly random: () => number;
  private readonly sites: Site[];
  private readonly migrated = new Set<Site>();
  private readonly down = new Set<Site>();
  /** Values that nobody deleted or dropped, with the table that they end in. */
  private readonly ledger = new Map<string, string>();
  private nowUs = START_US;
  private values = 0;

  constructor(migration: Migration, seed: number) {
    this.migration = migration;
    this.random = seeded(seed * 7919);
    this.sites = ["a", "b", "c"].map((name) => new Site(name, migration.schema, { park: ["*"], quarantine: null }));
  }

  private pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.random() * list.length)] as T;
  }

  private later(seconds: number): void {
    this.nowUs += seconds * SECOND_US;
    for (const site of this.sites) site.nowUs = this.nowUs;
  }

  private execute(site: Site, sql: string): void {
    this.later(1);
    if (!this.down.has(site)) return site.edit(sql, this.nowUs);
    site.write(sql);
    site.write(`UPDATE _scoutsync_capture SET at = min(at, ${julianDay(this.nowUs)})`);
  }

  private write(site: Site): void {
    const [before, after] = this.pick(Object.entries(this.migration.names));
    const name = this.migrated.has(site) ? after : before;
    const rows = site.rows(`SELECT id, body FROM ${name}`);
    if (rows.length > 0 && this.random() < 0.55) {
      const row = this.pick(rows);
      this.ledger.delete(String(row["body"]));
      return this.execute(site, `DELETE FROM ${name} WHERE id = ${String(row["id"])}`);
    }
    const id = this.random() < 0.5 ? null : 1 + Math.floor(this.random() * 4);
    if (rows.some((row) => row["id"] === id)) return;
    const body = `${name} ${++this.values}`;
    this.ledger.set(body, after);
    this.execute(site, `INSERT INTO ${name} VALUES(${id ?? "NULL"}, '${body}'${this.more(name)})`);
  }

  private more(name: string): string {
    return new RegExp(`TABLE ${name}\\([^)]*x TEXT`).test(`${this.migration.schema};${this.migration.sql}`) ? ", NULL" : "";
  }

  private up(site: Site): void {
    if (this.down.delete(site)) site.start();
  }

  private pull(to: Site, from: Site): void {
    if (to === from) return;
    for (const site of [to, from]) this.up(site);
    this.later(1);
    const code = refusal(() => to.pull(from));
    // A table has just been dropped there.
    if (code !== "nothing was refused" && code !== "BUSY") throw code;
  }

  private migrate(site: Site): void {
    if (this.migrated.has(site)) return;
    const { dropped, seeds, sql } = this.migration;
    if (this.random() < 0.3 && !this.down.has(site)) {
      site.replica.close();
      this.down.add(site);
      for (let writes = 0; writes < 2; writes++) if (this.random() < 0.7) this.write(site);
    }
    if (dropped) for (const { body } of site.rows(`SELECT body FROM ${dropped}`)) this.ledger.delete(String(body));
    this.execute(site, `BEGIN; ${sql}; COMMIT`);
    if (this.migrated.size === 0) for (const seed of seeds) this.ledger.set(seed, "beta");
    this.migrated.add(site);
    // What is written to seeded rows before a node has seen them makes them other ones.
    if (seeds.length > 0) this.up(site);
  }

  private shown(site: Site): string[] {
    return Object.values(this.migration.names).flatMap((name) =>
      site.rows(`SELECT id, body FROM ${name} ORDER BY id`).map(({ id, body }) => `${name} ${String(id)}: ${String(body)}`),
    );
  }

  /** What sessions do with rows that differ though nobody lacks anything. */
  private mend(): void {
    const buckets = Array.from({ length: 256 }, (_, i) => i);
    for (const name of Object.values(this.migration.names))
      for (const [i, one] of this.sites.entries())
        for (const other of this.sites.slice(i + 1)) {
          const entries = [one, other].flatMap(({ replica }) => replica.digests({ table: name, buckets, deep: false }).entries);
          const request = { table: name, keys: [...new Set(entries.map(({ key }) => key))], codecs: [] };
          const [ours, theirs] = [one.replica.wholeRows(request), other.replica.wholeRows(request)];
          one.replica.apply(theirs);
          other.replica.apply(ours);
          settle(...this.sites);
        }
  }

  /** What is wrong in the end. */
  run(): string[] {
    for (let step = 0; step < 40; step++) {
      const site = this.pick(this.sites);
      const choice = this.random();
      if (choice < 0.45) this.write(site);
      else if (choice < 0.85) this.pull(site, this.pick(this.sites));
      else if (choice < 0.93 && step > 8) this.migrate(site);
      else if (choice < 0.96) this.later(15);
      else this.up(site);
    }
    for (const site of this.sites) this.migrate(site);
    for (const site of this.sites) this.up(site);
    this.later(15);
    settle(...this.sites);
    for (let rounds = 0; rounds < 3; rounds++) this.mend();
    const [first] = this.sites as [Site];
    return this.sites.flatMap((site) => {
      const shown = this.shown(site);
      const bodies = shown.map((line) => line.replace(/ \d+: /, ": "));
      const wrong = [...this.ledger].filter(([body, name]) => !bodies.includes(`${name}: ${body}`)).map(([body]) => `${body} is gone`);
      if (new Set(bodies).size < bodies.length) wrong.push("some row is there more than once");
      if (shown.join() !== this.shown(first).join()) wrong.push(`other rows than on ${first.name}`);
      return wrong.map((problem) => `${site.name}: ${problem}: ${shown.join(", ")}`);
    });
  }
}

test.each(Object.keys(MIGRATIONS).map((name) => [name, name.includes("one dropped, ") ? 12 : 6] as const))(
  "rows written under both names while nodes migrate one by one are there once, and the same everywhere: %s",
  (name, count) => {
    for (let seed = 1; seed <= count; seed++) expect(new History(MIGRATIONS[name] as Migration, seed).run(), String(seed)).toEqual([]);
  },
);

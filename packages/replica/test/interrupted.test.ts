import { isCovered } from "@scoutsync/core";
import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { rejoin } from "./rejoin.ts";
import { SECOND_US, settle, Site, type SiteOptions, START_US } from "./site.ts";

const SCHEMA = `
  CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT UNIQUE, city TEXT);
  CREATE TABLE robot(id INTEGER PRIMARY KEY, team INTEGER REFERENCES team(id), name TEXT, note TEXT);
  CREATE TABLE part(team INTEGER NOT NULL REFERENCES team(id), slot TEXT NOT NULL, x TEXT, PRIMARY KEY(team, slot));
  CREATE TABLE word(k TEXT PRIMARY KEY, x TEXT, y TEXT);
  CREATE TABLE line(text TEXT, n)`;
const FILL = `
  INSERT INTO team VALUES(1, 'one', 'Rome'), (2, 'two', 'Bonn'), (3, 'three', 'Oslo'), (4, 'four', 'Riga');
  INSERT INTO robot VALUES(1, 1, 'r1', ''), (2, 2, 'r2', ''), (3, 3, 'r3', '');
  INSERT INTO part VALUES(1, 'arm', 'x'), (3, 'arm', 'x');
  INSERT INTO word VALUES('w', 'x', 'y'), ('v', 'x', 'y'), ('u', 'x', 'y'); INSERT INTO line VALUES('l', 1), ('l', 1), ('m', 2)`;

const at = (seconds: number) => START_US + seconds * SECOND_US;

/** What ends work in its middle: the process is killed once something has been committed, or SQLite fails, as on a disk without room. */
type How = "killed after a commit" | "a statement fails" | "a commit fails";

class Interruption {
  hit = false;
  /** Moments so far at which it could have been interrupted. */
  seen = 0;
  private how: How | null = null;
  private moment = 0;
  private isDead = false;

  arm(how: How, moment: number): void {
    this.how = how;
    this.moment = moment;
  }

  disarm(): void {
    this.how = null;
    this.isDead = false;
  }

  readonly connect = (path: string, options: Database.Options): Database.Database => {
    const db = new Database(path, options);
    const exec = db.exec.bind(db);
    const prepare = db.prepare.bind(db);
    db.exec = (sql) => this.step(db, sql, () => exec(sql));
    db.prepare = ((sql: string) => {
      const statement = prepare(sql) as Database.Statement;
      const { run, get, all } = statement;
      statement.run = (...values) => this.step(db, sql, () => run.apply(statement, values));
      statement.get = (...values) => this.step(db, sql, () => get.apply(statement, values));
      statement.all = (...values) => this.step(db, sql, () => all.apply(statement, values));
      return statement;
    }) as typeof db.prepare;
    return db;
  };

  private step<T>(db: Database.Database, sql: string, work: () => T): T {
    if (this.isDead) throw new Error("the process is dead");
    if (this.how === null || sql === "ROLLBACK") return work();
    if (this.how !== "killed after a commit") {
      if ((this.how === "a commit fails" && sql !== "COMMIT") || ++this.seen !== this.moment) return work();
      this.hit = true;
      throw Object.assign(new Error("disk I/O error"), { code: "SQLITE_IOERR", name: "SqliteError" });
    }
    const result = work();
    if (db.inTransaction || /^\s*(SELECT|PRAGMA)/.test(sql) || ++this.seen !== this.moment) return result;
    this.hit = this.isDead = true;
    throw new Error("the process is killed");
  }
}

type Build = (options: SiteOptions) => Scene;

interface Scene {
  sites: Site[];
  victim: Site;
  /** May be done again when it was interrupted. */
  work: () => void;
  /** Done when all have met. */
  after?: () => void;
  /** So many statements are chosen: few of them matter. */
  statements?: number;
}

const SHOWN = [
  "SELECT name, city FROM team",
  "SELECT r.name, t.name AS team, note FROM robot AS r LEFT JOIN team AS t ON t.id = r.team",
  "SELECT t.name, slot, x FROM part LEFT JOIN team AS t ON t.id = part.team",
  "SELECT * FROM word",
  "SELECT * FROM line",
];

/** What is to be seen at a site, whatever integers rows have. */
const look = (site: Site) => ({
  rows: SHOWN.map((sql) =>
    site
      .rows(sql)
      .map((row) => JSON.stringify(row))
      .sort(),
  ),
  conflicts: site.conflicts.map(({ table, column, winner, loser }) => JSON.stringify([table, column, winner?.value, loser?.value])).sort(),
  parked: site.replica.state().parked,
});

/** Does the work, interrupted at the n-th moment if there is one, then to its end. Returns what all agree on, and how many moments there were. */
function interrupted(
  build: Build,
  how: How,
  moment: number,
): { seen: ReturnType<typeof look>; moments: number; statements: number | undefined } {
  const interruption = new Interruption();
  const { sites, victim, work, after, statements } = build({ connect: interruption.connect });
  interruption.arm(how, moment);
  try {
    work();
  } catch (error) {
    if (!interruption.hit) throw error;
  }
  interruption.disarm();
  if (interruption.hit) {
    if (how === "killed after a commit") {
      victim.kill();
      victim.start();
    }
    work();
  }
  settle(...sites);
  if (after) {
    after();
    settle(...sites);
  }
  const [first] = sites as [Site];
  const seen = look(first);
  for (const site of sites) {
    expect(look(site)).toEqual(seen);
    expect(site.vector).toBe(first.vector);
    // What nobody claims to have all of would be the same everywhere, too.
    expect(site.replica.beyondDigest()).toHaveLength(0);
    expect(site.replica.state().digest).toEqual(first.replica.state().digest);
    const [stored, deep] = [false, true].map((isDeep) => site.replica.digests({ table: "", buckets: [], deep: isDeep }).entries);
    expect(stored).toEqual(deep);
  }
  for (const site of sites) site.stop();
  return { seen, moments: interruption.seen, statements };
}

const pair = (options: SiteOptions, more: SiteOptions = {}): [Site, Site] => {
  const [a, b] = [new Site("a", SCHEMA, { ...options, ...more }), new Site("b", SCHEMA, more)];
  a.edit(FILL);
  settle(a, b);
  return [a, b];
};

/** Each says to each what it has, as sessions do. */
function tell(...sites: Site[]): void {
  for (const site of sites)
    for (const other of sites)
      if (site !== other) site.replica.acknowledge({ id: other.name, name: other.name }, other.replica.state().vector);
}

const MIXED = `BEGIN; UPDATE team SET city = 'Roma' WHERE id = 1; INSERT INTO team VALUES(9, 'nine', ''); INSERT INTO robot VALUES(9, 9, 'r9', '');
  DELETE FROM robot WHERE id = 2; DELETE FROM team WHERE id = 2; UPDATE word SET k = 'z' WHERE k = 'w'; REPLACE INTO word VALUES('v', 'new', 'new');
  DELETE FROM line WHERE rowid = 1; UPDATE line SET n = 9 WHERE text = 'm'; INSERT INTO team VALUES(2, 'again', ''); COMMIT`;
const APART = `BEGIN; INSERT INTO team VALUES(9, 'nine', 'of b'), (10, 'ten', 'of b'); INSERT INTO robot VALUES(9, 9, 'b9', ''), (10, 2, 'b10', '');
  UPDATE team SET city = 'of b'; INSERT INTO part VALUES(9, 'leg', 'of b'); UPDATE word SET x = 'of b'; INSERT INTO line VALUES('of b', 3); COMMIT`;

function decide(site: Site, decision: "release" | "undo"): void {
  const [review] = site.replica.reviews({ kind: "quarantine", id: "", limit: 0 });
  if (review && !review.resolved) site.replica.resolve({ id: review.id, keep: "", set: [], decision });
}

function massDelete(options: SiteOptions, decision: "release" | "undo"): Scene {
  const [a, b] = pair(options, { quarantine: { rows: 3, share: 0.5 }, turnMs: 0 });
  a.write("DELETE FROM part; DELETE FROM robot; DELETE FROM word; DELETE FROM line WHERE text = 'l'");
  b.edit("UPDATE robot SET note = 'edited' WHERE id = 2; UPDATE word SET x = 'edited' WHERE k = 'u'", at(1));
  return {
    sites: [a, b],
    victim: a,
    work: () => {
      a.replica.drain();
      a.pull(b);
      decide(a, decision);
      a.replica.drain();
    },
  };
}

/** Rows come to integers that robots of others hold: one of its own, one that is deleted again, and the one that is meant. */
function ofNobody(options: SiteOptions): { a: Site; b: Site } {
  const [a, b] = pair(options, { turnMs: 0 });
  for (const { app } of [a, b]) app.pragma("foreign_keys = OFF");
  b.edit("INSERT INTO robot VALUES(20, 20, 'r20', ''), (21, 21, 'r21', ''), (22, 22, 'r22', '')", at(1));
  a.pull(b);
  b.edit("INSERT INTO team VALUES(20, 'twenty', ''); INSERT INTO robot VALUES(23, 23, 'r23', '')", at(2));
  a.nowUs = at(3);
  return { a, b };
}
const TO_NOBODY =
  "INSERT INTO team VALUES(20, 'of a', ''), (21, 'mine', ''), (22, 'gone', ''), (23, 'gone, too', ''); DELETE FROM team WHERE id > 21";

const SCENES: Record<string, Build> = {
  "a drain": (options) => {
    const [a, b] = pair(options, { turnMs: 0 });
    b.edit(APART, at(1));
    a.nowUs = at(2);
    a.write(MIXED);
    return { sites: [a, b], victim: a, work: () => a.replica.drain() };
  },
  "taking a stream": (options) => {
    const [a, b] = pair(options);
    b.edit(APART, at(1));
    a.edit(MIXED, at(2));
    return { sites: [a, b], victim: a, work: () => void a.pull(b, { batchSize: 2 }) };
  },
  "comparing tables after a migration": (options) => {
    const [a, b] = pair(options, { turnMs: 0 });
    b.edit(APART, at(1));
    a.nowUs = at(2);
    a.write(`${MIXED}; BEGIN; CREATE TABLE n(k TEXT PRIMARY KEY, x TEXT, y TEXT); INSERT INTO n SELECT k, x, 'moved' FROM word; DROP TABLE word;
      ALTER TABLE n RENAME TO word; UPDATE word SET x = 'changed' WHERE k = 'u'; CREATE TABLE m(text TEXT, n); INSERT INTO m SELECT text, n FROM line WHERE n > 1;
      DROP TABLE line; ALTER TABLE m RENAME TO line; COMMIT; UPDATE word SET y = 'captured' WHERE k = 'v'`);
    return { sites: [a, b], victim: a, work: () => void a.pull(b) };
  },
  "draining what was deleted before a migration": (options) => {
    const [a, b] = pair(options);
    b.edit("UPDATE word SET x = 'of b'", at(1));
    a.nowUs = at(2);
    a.write("DELETE FROM line WHERE n = 1; UPDATE word SET x = 'z'; ALTER TABLE line DROP COLUMN n; ALTER TABLE word DROP COLUMN y");
    b.write("ALTER TABLE line DROP COLUMN n; ALTER TABLE word DROP COLUMN y");
    const after = () => {
      for (const { table, operation, key } of b.replica.readable(new Map(), 1_000).changes)
        if (table === "line" && operation === "delete") b.replica.restore(table, key);
    };
    return { sites: [a, b], victim: a, work: () => a.replica.drain(), after, statements: 15 };
  },
  "releasing a delete that was kept back": (options) => massDelete(options, "release"),
  "undoing a delete that was kept back": (options) => massDelete(options, "undo"),
  "coming to integers of nobody": (options) => {
    const { a, b } = ofNobody(options);
    a.write(TO_NOBODY);
    return { sites: [a, b], victim: a, work: () => void a.pull(b, { batchSize: 1 }) };
  },
  "looking for integers of nobody from a former version": (options) => {
    const { a, b } = ofNobody(options);
    a.write(`DELETE FROM _scoutsync_linked; DELETE FROM _scoutsync_meta WHERE key = 'references looked through'; ${TO_NOBODY}`);
    a.kill();
    a.start();
    return { sites: [a, b], victim: a, work: () => void a.pull(b, { batchSize: 1 }) };
  },
  "joining again": (options) => {
    const [a, b, c] = [new Site("a", SCHEMA), new Site("b", SCHEMA), new Site("c", SCHEMA, options)];
    a.edit(FILL);
    settle(a, b, c);
    tell(a, b, c);
    a.edit(
      "DELETE FROM part; DELETE FROM robot WHERE id > 1; DELETE FROM team WHERE id IN (2, 3); DELETE FROM word; DELETE FROM line",
      at(60),
    );
    settle(a, b);
    tell(a, b);
    c.edit(
      "UPDATE team SET city = 'kept' WHERE id = 2; UPDATE word SET x = 'kept' WHERE k = 'w'; INSERT INTO team VALUES(7, 'seven', ''); INSERT INTO robot VALUES(7, 7, 'r7', ''); INSERT INTO part VALUES(3, 'leg', 'new'); UPDATE line SET n = 5 WHERE text = 'm'",
      at(61),
    );
    a.nowUs = b.nowUs = c.nowUs = at(120);
    for (const site of [a, b]) {
      site.replica.retire("c");
      site.replica.forget({ retentionDays: 0, dryRun: false });
    }
    const work = () => {
      if (!isCovered(a.replica.state().floor, c.replica.state().vector)) rejoin(c.replica, a.replica, 2);
    };
    return { sites: [a, b, c], victim: c, work };
  },
  "mending a difference": (options) => {
    const [a, b] = pair(options);
    a.write(`BEGIN IMMEDIATE; INSERT INTO _scoutsync_applying VALUES(1); UPDATE word SET x = 'past capture' WHERE k = 'w';
      UPDATE team SET city = 'past capture' WHERE id = 1; DELETE FROM robot WHERE id = 3; DELETE FROM _scoutsync_applying; COMMIT`);
    const work = () => {
      for (const [table, keys] of [
        ["word", ["w", "v"]],
        ["team", ["1", "2"]],
        ["robot", ["3"]],
      ] as const) {
        const of = (site: Site) => site.replica.wholeRows({ table, keys: [...keys], codecs: [] });
        const [ours, theirs] = [of(a), of(b)];
        a.replica.apply(theirs);
        b.replica.apply(ours);
      }
    };
    return { sites: [a, b], victim: a, work };
  },
  "joining copies as shared": (options) => {
    const [a, b] = [
      new Site("a", `${SCHEMA};${FILL};${APART}`, { ...options, baseline: "shared" }),
      new Site("b", `${SCHEMA};${FILL};${MIXED}`),
    ];
    return { sites: [a, b], victim: a, work: () => settle(a, b) };
  },
  "being joined as shared": (options) => {
    const [a, b] = [
      new Site("a", `${SCHEMA};${FILL};${APART}`, { baseline: "shared" }),
      new Site("b", `${SCHEMA};${FILL};${MIXED}`, options),
    ];
    return { sites: [a, b], victim: b, work: () => settle(a, b) };
  },
  forgetting: (options) => {
    const [a, b] = pair(options);
    a.edit("DELETE FROM part; DELETE FROM robot; DELETE FROM team WHERE id > 2; DELETE FROM word; DELETE FROM line", at(1));
    settle(a, b);
    tell(a, b);
    a.nowUs = at(120);
    return { sites: [a, b], victim: a, work: () => void a.replica.forget({ retentionDays: 0, dryRun: false }) };
  },
  "issuing again what an ended run left": (options) => {
    const [a, b, c] = [new Site("a", SCHEMA), new Site("b", SCHEMA, options), new Site("c", SCHEMA)];
    a.edit(FILL);
    a.edit(MIXED, at(1));
    b.edit("INSERT INTO team VALUES(9, 'nine', 'of b')", at(2));
    b.pull(a, { batchSize: 2, batches: 3 });
    a.stop();
    return { sites: [b, c], victim: b, work: () => void b.replica.reissue(0) };
  },
  "stamping again what a wrong clock did": (options) => {
    const [a, b] = pair(options);
    b.edit(APART, at(1));
    a.edit(MIXED, at(5_000));
    a.nowUs = at(5_001);
    return { sites: [a, b], victim: a, work: () => a.replica.correctClock(-4_000 * SECOND_US) };
  },
};

/** Evenly chosen moments of each kind; SCOUTSYNC_EVERY=1 takes every one, for minutes. */
const CHOSEN: Record<How, number> = { "killed after a commit": 4, "a statement fails": 5, "a commit fails": 2 };
const EVERY = process.env["SCOUTSYNC_EVERY"] === "1";

function chosen(moments: number, most: number): number[] {
  const count = EVERY ? moments : Math.min(moments, most);
  return Array.from({ length: count }, (_, i) => 1 + Math.round((i * (moments - 1)) / Math.max(1, count - 1)));
}

describe.each(Object.entries(SCENES))("%s that is interrupted", (_, build) => {
  test.each(Object.keys(CHOSEN) as How[])(
    "ends as if it had not been: %s",
    (how) => {
      const { seen: expected, moments, statements } = interrupted(build, how, Number.POSITIVE_INFINITY);
      expect(moments).toBeGreaterThan(0);
      for (const moment of chosen(moments, (how === "a statement fails" && statements) || CHOSEN[how])) {
        try {
          expect(interrupted(build, how, moment).seen).toEqual(expected);
        } catch (error) {
          throw new Error(`moment ${moment} of ${moments}: ${String(error)}`, { cause: error });
        }
      }
    },
    EVERY ? 600_000 : 30_000,
  );
});

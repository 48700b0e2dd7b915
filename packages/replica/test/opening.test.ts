import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join as joinPath } from "node:path";
import Database from "better-sqlite3";
import { NO_TERMS, SyncError } from "@scoutsync/core";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { attach } from "../src/identity/attach.ts";
import { detach, diagnose, ReplicaDatabase } from "../src/index.ts";
import { refusal, settle, Site, testFolder } from "./site.ts";

const SCHEMA = `
  CREATE TABLE word(k TEXT PRIMARY KEY, x TEXT);
  CREATE TABLE parent(id INTEGER PRIMARY KEY AUTOINCREMENT, m TEXT UNIQUE);
  CREATE TABLE child(id INTEGER PRIMARY KEY, p INTEGER REFERENCES parent(id), m TEXT);
  CREATE INDEX child_p ON child(p);
  CREATE VIEW family AS SELECT parent.m AS parent, child.m AS child FROM parent JOIN child ON child.p = parent.id;
  CREATE TRIGGER shout AFTER INSERT ON word BEGIN UPDATE word SET x = upper(x) WHERE k = NEW.k; END;`;

const open = (path: string) =>
  new ReplicaDatabase(
    { name: "main", path, nodeName: "node", nodeId: "node", exclude: [], baseline: null, busyTimeoutMs: 100, pollIntervalMs: 50 },
    "run",
  );

/** The error that opening throws; it must say which file and what to do. */
function refused(path: string): { code: string; retryable: boolean; says: boolean } {
  try {
    open(path).close();
  } catch (error) {
    if (!(error instanceof SyncError)) throw error;
    const { code, retryable, message, action } = error;
    return { code, retryable, says: message.includes(path) && /^[A-Z`].*\.$/.test(action) };
  }
  throw new Error("nothing was refused");
}

describe("what cannot be opened is refused, untouched", () => {
  test("a file that is not there", () => {
    const path = joinPath(testFolder(), "missing.db");
    expect(refused(path)).toMatchObject({ code: "DATABASE_NOT_FOUND", retryable: false, says: true });
    expect(existsSync(path)).toBe(false);
  });

  test("a folder", () => {
    const path = joinPath(testFolder(), "folder.db");
    mkdirSync(path);
    expect(refused(path).code).toBe("DATABASE_NOT_FOUND");
  });

  test.each([
    ["text", Buffer.from("this is a letter, not a database. ".repeat(200))],
    ["a few bytes", Buffer.from("hello")],
    ["an encrypted file", Buffer.from(Array.from({ length: 8192 }, (_, i) => (i * 31 + 7) & 255))],
  ])("%s", (_, bytes) => {
    const path = joinPath(testFolder(), "other.db");
    writeFileSync(path, bytes);
    expect(refused(path)).toMatchObject({ code: "NOT_SQLITE", retryable: false, says: true });
    expect(readFileSync(path)).toEqual(bytes);
  });

  test("a database whose lock another process holds for longer than the busy timeout", () => {
    const path = joinPath(testFolder(), "locked.db");
    const other = new Database(path);
    other.exec(`${SCHEMA}; BEGIN IMMEDIATE; INSERT INTO word VALUES('k', 'x')`);
    expect(refused(path)).toMatchObject({ code: "DATABASE_LOCKED", retryable: true, says: true });
    other.exec("COMMIT");
    expect(other.prepare("SELECT name FROM sqlite_schema WHERE name LIKE '%scoutsync%'").all()).toEqual([]);
    other.close();
    open(path).close();
  });

  test("metadata of a newer version", () => {
    const a = new Site("a", SCHEMA);
    a.edit("INSERT INTO word VALUES('k', 'x')");
    a.write("UPDATE _scoutsync_meta SET value = '99' WHERE key = 'version'");
    a.replica.close();
    const before = a.contents();
    expect(refused(a.path)).toMatchObject({ code: "METADATA_NEWER", retryable: false, says: true });
    expect(a.contents()).toBe(before);
    expect(diagnose(a.path, []).status).toBe("refused");
  });

  test("a database on which a node runs already", () => {
    const a = new Site("a", SCHEMA);
    expect(refused(a.path)).toMatchObject({ code: "DATABASE_IN_USE", retryable: false, says: true });
    expect(refusal(() => detach(a.path))).toBe("DATABASE_IN_USE");
    // The one that runs is none the worse, and its place is free when it stops.
    a.edit("INSERT INTO word VALUES('k', 'x')");
    expect(a.replica.state().rows).toBe(1);
    a.replica.close();
    open(a.path).close();
  });
});

describe("detach", () => {
  test("leaves the schema as it was, byte by byte, the rows, and the journal mode", () => {
    const path = joinPath(testFolder(), "app.db");
    const app = new Database(path);
    app.exec(`${SCHEMA}; INSERT INTO word VALUES('k', 'x'); INSERT INTO parent VALUES(1, 'p'); INSERT INTO child VALUES(1, 1, 'c')`);
    const state = () => ({
      schema: app.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid").all(),
      rows: ["word", "parent", "child", "family", "sqlite_sequence"].map((table) => app.prepare(`SELECT * FROM ${table}`).all()),
      journal: app.pragma("journal_mode", { simple: true }),
      userVersion: app.pragma("user_version", { simple: true }),
      applicationId: app.pragma("application_id", { simple: true }),
    });
    const before = state();
    app.close();
    const replica = open(path);
    replica.close();
    expect(diagnose(path, [])).toMatchObject({ status: "attached", journalMode: "wal" });
    const { removed, journalMode } = detach(path);
    expect(removed.length).toBeGreaterThan(0);
    expect(journalMode).toBe("delete");
    const after = new Database(path);
    expect({
      schema: after.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid").all(),
      rows: ["word", "parent", "child", "family", "sqlite_sequence"].map((table) => after.prepare(`SELECT * FROM ${table}`).all()),
      journal: after.pragma("journal_mode", { simple: true }),
      userVersion: after.pragma("user_version", { simple: true }),
      applicationId: after.pragma("application_id", { simple: true }),
    }).toEqual(before);
    expect(after.pragma("integrity_check", { simple: true })).toBe("ok");
    after.close();
    for (const end of ["-wal", "-shm", "-scoutsync-lock", "-scoutsync-lock-journal"]) expect(existsSync(path + end), end).toBe(false);
    expect(diagnose(path, []).status).toBe("ready");
  });

  test("can be followed by attaching again, which knows nothing of before and finds the same rows", () => {
    const a = new Site("a", SCHEMA);
    a.edit("INSERT INTO word VALUES('k', 'x')");
    a.replica.close();
    a.app.close();
    detach(a.path);
    a.app = new Database(a.path);
    a.start();
    expect(a.replica.state().rows).toBe(1);
    const b = new Site("b", SCHEMA);
    b.pull(a);
    expect(b.rows("SELECT * FROM word")).toEqual([{ k: "k", x: "X" }]);
  });

  test("is refused as a whole while a program has the file open, and done once it has gone", () => {
    const a = new Site("a", SCHEMA);
    a.edit("INSERT INTO word VALUES('k', 'x')");
    a.replica.close();
    a.app.prepare("SELECT * FROM word").all();
    expect(() => detach(a.path)).toThrow(/has .* open/);
    expect(diagnose(a.path, [])).toMatchObject({ status: "attached", journalMode: "wal" });
    a.app.close();
    expect(detach(a.path)).toMatchObject({ journalMode: "delete" });
    a.app = new Database(a.path);
    expect(a.rows("SELECT * FROM word")).toEqual([{ k: "k", x: "X" }]);
  });

  test("of a database that takes no part leaves its own write-ahead log", () => {
    const path = joinPath(testFolder(), "wal.db");
    const app = new Database(path);
    app.exec(`PRAGMA journal_mode = WAL; ${SCHEMA}`);
    app.close();
    expect(detach(path)).toEqual({ removed: [], journalMode: "wal" });
    const after = new Database(path);
    expect(after.pragma("journal_mode", { simple: true })).toBe("wal");
    after.close();
  });

  test("of a database whose attach was cut off and made whole gives it the journal mode from before the first", () => {
    const a = new Site("a", SCHEMA);
    a.write("DELETE FROM _scoutsync_meta WHERE key = 'attached'; DELETE FROM _scoutsync_log");
    a.replica.close();
    a.start();
    a.replica.close();
    a.app.close();
    expect(detach(a.path).journalMode).toBe("delete");
    a.app = new Database(a.path);
  });

  test("of a database that takes no part changes nothing", () => {
    const path = joinPath(testFolder(), "plain.db");
    const app = new Database(path);
    app.exec(SCHEMA);
    app.close();
    const copy = `${path}.copy`;
    copyFileSync(path, copy);
    expect(detach(path).removed).toEqual([]);
    expect(readFileSync(path).equals(readFileSync(copy))).toBe(true);
  });
});

test("an attach that was cut off is made whole by the next start", () => {
  const a = new Site("a", `${SCHEMA}; INSERT INTO word VALUES('k', 'x')`);
  a.write("DELETE FROM _scoutsync_meta WHERE key = 'attached'; DELETE FROM _scoutsync_log");
  a.replica.close();
  a.start();
  const b = new Site("b", SCHEMA);
  b.pull(a);
  expect(b.rows("SELECT k FROM word")).toEqual([{ k: "k" }]);
});

test("attaching looks up each page of rows, and sorts and reads through none of them again", () => {
  const path = joinPath(testFolder(), "app.db");
  const app = new Database(path);
  app.exec(`CREATE TABLE item(id INTEGER PRIMARY KEY, m TEXT); CREATE TABLE word(k TEXT PRIMARY KEY, x TEXT); CREATE TABLE line(m TEXT);
    INSERT INTO item VALUES(1, 'one'); INSERT INTO word VALUES('a', 'b'); INSERT INTO line VALUES('c'), ('c')`);
  app.close();
  const again: string[] = [];
  let paged = 0;
  const connect = (file: string, options: Database.Options) => {
    const db = new Database(file, options);
    const prepare = db.prepare.bind(db);
    db.prepare = (sql: string) => {
      if (/temp[.].*(LIMIT|n >)/.test(sql)) {
        paged++;
        const nulls = (sql.match(/[?]/g) ?? []).map(() => null);
        const plan = prepare(`EXPLAIN QUERY PLAN ${sql}`).all(...nulls) as { detail: string }[];
        for (const { detail } of plan) if (/TEMP B-TREE|[(]tid=[?][)]/.test(detail)) again.push(`${sql}: ${detail}`);
      }
      return prepare(sql);
    };
    return db;
  };
  const site = new Site("a", "", { path, connect });
  expect(site.rows("SELECT count(*) AS n FROM line")).toEqual([{ n: 2 }]);
  expect(paged).toBeGreaterThan(6);
  expect(again).toEqual([]);
});

test("attaching leaves writers that wait a moment for theirs between its turns under the lock, however many there are", () => {
  const db = new Database(joinPath(testFolder(), "app.db"));
  onTestFinished(() => void db.close());
  db.exec(`CREATE TABLE item(id INTEGER PRIMARY KEY);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000) INSERT INTO item SELECT i FROM n`);
  let nowMs = 0;
  const clock = vi.spyOn(performance, "now").mockImplementation(() => (nowMs += 50));
  const sleeps: boolean[] = [];
  const sleep = vi.spyOn(Atomics, "wait").mockImplementation(() => {
    sleeps.push(db.inTransaction);
    nowMs += 5;
    return "timed-out";
  });
  onTestFinished(() => [clock, sleep].forEach((spy) => spy.mockRestore()));
  const exec = db.exec.bind(db);
  // Each turn seems to take a second.
  db.exec = (sql: string) => {
    if (sql === "COMMIT") nowMs += 1_000;
    return exec(sql);
  };
  attach(db, [], NO_TERMS, "delete");
  expect(db.prepare("SELECT count(*) FROM _scoutsync_rows_1").pluck().get()).toBe(30_000);
  // A pause of 105 ms before each but the first of six turns, in naps of 5 ms.
  expect(sleeps.length).toBeGreaterThanOrEqual(5 * 21);
  expect(sleeps).not.toContain(true);
});

test.each([
  ["INSERT INTO line VALUES('new')", ["new", "one", "same", "same"]],
  ["UPDATE line SET v = 'new' WHERE v = 'one'", ["new", "same", "same"]],
  ["UPDATE line SET v = 'same' WHERE v = 'one'", ["same", "same", "same"]],
  ["DELETE FROM line WHERE v = 'one'", ["same", "same"]],
  ["DELETE FROM line WHERE rowid = (SELECT max(rowid) FROM line)", ["one", "same"]],
])("what is written to rows without a key once attaching captures and before it reads them is there once: %s", (sql, expected) => {
  const path = joinPath(testFolder(), "app.db");
  const app = new Database(path);
  onTestFinished(() => void app.close());
  app.exec("PRAGMA journal_mode = WAL; CREATE TABLE line(v TEXT); INSERT INTO line VALUES('one'), ('same'), ('same')");
  let written = false;
  const a = new Site("a", "", {
    path,
    quarantine: null,
    connect: (file, options) => {
      const db = new Database(file, options);
      const exec = db.exec.bind(db);
      db.exec = (text) => {
        exec(text);
        if (text === "BEGIN" && !written) app.exec(sql);
        written ||= text === "BEGIN";
        return db;
      };
      return db;
    },
  });
  const b = new Site("b", "CREATE TABLE line(v TEXT)", { quarantine: null });
  a.replica.drain();
  settle(a, b);
  expect(written).toBe(true);
  for (const site of [a, b]) expect(site.rows("SELECT v FROM line ORDER BY v").map(({ v }) => v)).toEqual(expected);
  a.edit("INSERT INTO line VALUES('later')");
  settle(a, b);
  expect(b.rows("SELECT v FROM line WHERE v = 'later'")).toHaveLength(1);
  expect(b.replica.state().digest).toEqual(a.replica.state().digest);
});

/** The restless application keeps the lock from then on, so that who has not found a moment for it ends. */
const TOO_LATE_MS = 20_000;

/**
 * An application that writes one transaction after another, on a clock that only asking for the time and sleeping move: one lasts `lastsMs`,
 * and the lock is free for less than any sleep before the next, but that it takes the next at once `atOnce` times out of one more. The first
 * that is captured lasts `lastsOnceMs` instead.
 * `stop` ends it, and says how many rows it has committed.
 */
function restless(
  journal: string,
  { lastsMs, lastsOnceMs = 0, atOnce = 0 }: { lastsMs: number; lastsOnceMs?: number; atOnce?: number },
): { path: string; stop: () => number } {
  const path = joinPath(testFolder(), "app.db");
  const app = new Database(path, { timeout: 0 });
  app.exec(`PRAGMA journal_mode = ${journal}; CREATE TABLE item(id INTEGER PRIMARY KEY); CREATE TABLE beat(id INTEGER PRIMARY KEY, n INTEGER);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000) INSERT INTO item SELECT i FROM n`);
  const beat = app.prepare("INSERT INTO beat(n) VALUES(?)");
  const isCaptured = app.prepare("SELECT 1 FROM sqlite_schema WHERE name = '_scoutsync_capture'");
  let [nowMs, endsAtMs, freeUntilMs, begun, committed] = [0, 0, 0, 0, 0];
  let stopped = false;
  const begin = () => {
    try {
      app.exec("BEGIN IMMEDIATE");
    } catch {
      // It is the node's turn.
      return;
    }
    beat.run(begun++);
    endsAtMs = nowMs + lastsMs;
    if (lastsOnceMs === 0 || isCaptured.get() === undefined) return;
    endsAtMs = nowMs + lastsOnceMs;
    lastsOnceMs = 0;
  };
  const moveOn = (ms: number) => {
    nowMs += ms;
    if (stopped) return;
    if (app.inTransaction && nowMs >= endsAtMs && nowMs < TOO_LATE_MS) {
      app.exec("COMMIT");
      committed++;
      if (committed % (atOnce + 1) === 0) freeUntilMs = endsAtMs + 0.1;
    }
    if (!app.inTransaction && nowMs >= freeUntilMs) begin();
  };
  begin();
  const clock = vi.spyOn(performance, "now").mockImplementation(() => (moveOn(0.02), nowMs));
  const sleep = vi.spyOn(Atomics, "wait").mockImplementation((...args: unknown[]) => (moveOn(args[3] as number), "timed-out"));
  onTestFinished(() => {
    [clock, sleep].forEach((spy) => spy.mockRestore());
    app.close();
  });
  const stop = () => {
    stopped = true;
    if (app.inTransaction) app.exec("ROLLBACK");
    return committed;
  };
  return { path, stop };
}

describe("beside an application that takes the lock again as soon as it has given it back", () => {
  const beats = (site: Site) => site.one("SELECT count(*) FROM beat");

  test.each(["WAL", "DELETE"])("a database is attached and started again, and what is written meanwhile syncs: journal %s", (journal) => {
    const { path, stop } = restless(journal, { lastsMs: 7, atOnce: 40 });
    const a = new Site("a", "", { path });
    a.restart();
    const committed = stop();
    const b = new Site("b", "CREATE TABLE item(id INTEGER PRIMARY KEY); CREATE TABLE beat(id INTEGER PRIMARY KEY, n INTEGER)");
    a.replica.drain();
    settle(a, b);
    expect(committed).toBeGreaterThan(100);
    expect(beats(b)).toBe(committed);
    expect(b.rows("SELECT count(*) AS n FROM item")).toEqual([{ n: 12_000 }]);
    expect(a.replica.state().digest).toEqual(b.replica.state().digest);
  });

  test("attaching that has begun waits for one transaction that lasts longer than the busy timeout, too", () => {
    const { path, stop } = restless("WAL", { lastsMs: 7, lastsOnceMs: 10_000 });
    const a = new Site("a", "", { path });
    const committed = stop();
    a.replica.drain();
    expect(a.replica.state().rows).toBe(12_000 + committed);
  });

  test("a running node drains and applies in time, and starts again", () => {
    const { path, stop } = restless("WAL", { lastsMs: 30 });
    const a = new Site("a", "", { path });
    const b = new Site("b", "CREATE TABLE item(id INTEGER PRIMARY KEY); CREATE TABLE beat(id INTEGER PRIMARY KEY, n INTEGER)");
    b.edit("INSERT INTO item VALUES(-1)");
    for (let round = 0; round < 5; round++) {
      a.pull(b);
      b.pull(a);
      a.restart();
    }
    expect(a.rows("SELECT id FROM item WHERE id < 0")).toEqual([{ id: -1 }]);
    const committed = stop();
    a.replica.drain();
    settle(a, b);
    expect(beats(b)).toBe(committed);
  });
});

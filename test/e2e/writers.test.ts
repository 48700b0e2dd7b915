import {
  boundOf,
  BUSY_MS,
  createDatabase,
  differences,
  dumpDatabase,
  Fleet,
  integrityProblems,
  isPythonHere,
  runProgram,
  select,
  sqliteProgram,
  until,
} from "@scoutsync/testkit";
import { existsSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";

const SCHEMA = `
  CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, rank INTEGER);
  CREATE TABLE robot(id INTEGER PRIMARY KEY, team_id INTEGER REFERENCES team(id) ON DELETE CASCADE ON UPDATE CASCADE, label TEXT);
  CREATE TABLE setting(scope TEXT, name TEXT, value, PRIMARY KEY(scope, name)) WITHOUT ROWID;
  CREATE TABLE log(id INTEGER PRIMARY KEY, line TEXT)`;

// An application as they are: an ordinary busy timeout, and whatever statement comes to mind. It stops at its first error.
const WRITER = `
import random, sqlite3, sys, time
path, name, foreign_keys, trusted, seconds = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], float(sys.argv[5])
random.seed(sys.argv[6] + name)
db = sqlite3.connect(path, timeout=float(sys.argv[7]), isolation_level=None)
db.execute("PRAGMA foreign_keys=" + foreign_keys)
db.execute("PRAGMA trusted_schema=" + trusted)
db.execute("PRAGMA recursive_triggers=" + random.choice(["ON", "OFF"]))
end = time.time() + seconds
done = 0
while time.time() < end or done <= 50:
    n = random.randrange(40)
    kind = random.randrange(12)
    db.execute("BEGIN IMMEDIATE")
    if kind == 0: db.execute("INSERT INTO log(line) VALUES (?)", (f"{name} {done}",))
    elif kind == 1: db.execute("INSERT OR REPLACE INTO team(id, name, rank) VALUES (?, ?, ?)", (random.choice([None, n + 1]), f"team {n}", done))
    elif kind == 2: db.execute("INSERT OR IGNORE INTO team(name, rank) VALUES (?, ?)", (f"team {n}", done))
    elif kind == 3: db.execute("REPLACE INTO setting VALUES (?, ?, ?)", (name, f"s{n % 5}", random.choice([1, 1.5, "x", b"y", None])))
    elif kind == 4: db.execute("UPDATE OR REPLACE team SET name = ? WHERE id = ?", (f"team {n}", n))
    elif kind == 5: db.execute("UPDATE OR IGNORE team SET id = id + 1000 WHERE id = (SELECT min(id) FROM team)")
    elif kind == 6: db.execute("UPDATE OR IGNORE setting SET name = name || 'x' WHERE name = ?", (f"s{n % 5}",))
    elif kind == 7: db.execute("INSERT INTO robot(team_id, label) SELECT id, ? FROM team ORDER BY random() LIMIT 3", (f"{name} {done}",))
    elif kind == 8: db.execute("DELETE FROM team WHERE id = (SELECT max(id) FROM team)")
    elif kind == 9 and done % 5 == 0: db.execute("DELETE FROM log")
    elif kind == 10: db.execute("INSERT INTO setting VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (name, "up", done))
    else: db.execute("UPDATE robot SET label = label || '.' WHERE id IN (SELECT id FROM robot ORDER BY random() LIMIT 5)")
    db.execute(random.choice(["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"]))
    done += 1
    time.sleep(0.001)
print(done)
`;

let fleet: Fleet;
beforeEach(() => {
  fleet = new Fleet("writers");
});
afterEach(() => fleet.stop());

test.skipIf(!isPythonHere())("applications write as they like while a node runs and syncs, and never see an error", async () => {
  const script = fleet.path("writer.py");
  writeFileSync(script, WRITER);
  const path = createDatabase(fleet.path("a", "app.db"), SCHEMA);
  const other = createDatabase(fleet.path("b", "app.db"), SCHEMA);
  const a = await fleet.node({ name: "a", databases: { app: path } });
  const b = await fleet.node({ name: "b", databases: { app: other }, peers: [a.address] });
  const writers = [
    ["one", "ON", "OFF"],
    ["two", "OFF", "ON"],
    ["three", "ON", "ON"],
  ].map(([name = "", keys = "", trusted = ""]) =>
    runProgram("python3", [script, path, name, keys, trusted, "6", "7", String(BUSY_MS / 1_000)]),
  );
  // People with the sqlite3 program, in between.
  let byHand = 0;
  const shell = setInterval(() => {
    if (
      sqliteProgram(path, `INSERT INTO log(line) VALUES ('by hand ${byHand}'); REPLACE INTO setting VALUES ('shell', 'n', ${byHand});`) !==
      null
    )
      byHand++;
  }, 400);
  const done = await Promise.all(writers);
  clearInterval(shell);
  for (const { code, stderr, stdout } of done) {
    expect(stderr).toBe("");
    expect(code).toBe(0);
    expect(Number(stdout)).toBeGreaterThan(50);
  }
  // b's own link may still be at it, so that one session finds the node busy.
  const synced = async () => {
    const session = await fleet.sync(b, a);
    return session.code === 0 && session;
  };
  await until(synced, { what: "a session after the writers have ended", everyMs: 300 });
  const last = await until(synced, { what: "one more" });
  expect(last.json()).toMatchObject({ success: true, verified: true, errors: [] });
  expect(differences(dumpDatabase(path), dumpDatabase(other))).toEqual([]);
  expect(integrityProblems(path).filter((line) => !line.includes("refers to"))).toEqual([]);
});

test("what was written while no node ran is found, deletes of whole tables too", async () => {
  const paths = {
    a: createDatabase(fleet.path("a", "app.db"), `${SCHEMA}; INSERT INTO log(line) VALUES ('one'), ('two'), ('two')`),
    b: createDatabase(fleet.path("b", "app.db"), SCHEMA),
  };
  const a = await fleet.node({ name: "a", databases: { app: paths.a } });
  const b = await fleet.node({ name: "b", databases: { app: paths.b } });
  expect((await fleet.sync(b, a)).code).toBe(0);
  expect(select(paths.b, "SELECT line FROM log ORDER BY line")).toEqual([{ line: "one" }, { line: "two" }, { line: "two" }]);
  await a.kill();
  createDatabase(paths.a, "DELETE FROM log; INSERT INTO team(name) VALUES ('written while nobody looked')");
  await a.restart();
  const done = await fleet.sync(b, a);
  expect(done.code, done.stdout).toBe(0);
  expect(select(paths.b, "SELECT line FROM log")).toEqual([]);
  expect(select(paths.b, "SELECT name FROM team")).toEqual([{ name: "written while nobody looked" }]);
});

// Takes the lock again as soon as it has given it back. Says how many rows are there for certain.
const RESTLESS = `
import os, sqlite3, sys
path, stop = sys.argv[1], sys.argv[2]
db = sqlite3.connect(path, timeout=30, isolation_level=None)
done = 0
while not os.path.exists(stop):
    db.execute("INSERT INTO log(line) VALUES (?)", (f"restless {done}",))
    done += 1
print(done)
`;

test.skipIf(!isPythonHere())(
  "a node attaches a database, syncs and starts again beside a program that commits one row after another without a pause",
  async () => {
    const [script, stop] = [fleet.path("restless.py"), fleet.path("stop")];
    writeFileSync(script, RESTLESS);
    const path = createDatabase(
      fleet.path("a", "app.db"),
      `${SCHEMA};
       WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000) INSERT INTO robot(label) SELECT 'robot ' || i FROM n`,
    );
    const other = createDatabase(fleet.path("b", "app.db"), `${SCHEMA}; INSERT INTO team(name) VALUES ('from b')`);
    const b = await fleet.node({ name: "b", databases: { app: other } });
    const writer = runProgram("python3", [script, path, stop], { withinMs: boundOf(300_000) });
    try {
      await until(() => select(path, "SELECT 1 FROM log LIMIT 1").length === 1, { what: "the program's first row" });
      // Where both have to share one core that others want as well, it may find no moment for it within its busy timeout: then it says
      // so, and whoever watches over it starts it again.
      const a = await until(() => fleet.node({ name: "a", databases: { app: path } }), { what: "the node to have attached it" });
      await until(async () => (await fleet.sync(b, a)).code === 0, { what: "a session in between" });
      expect(select(path, "SELECT name FROM team")).toEqual([{ name: "from b" }]);
      await a.kill();
      const restarted = async () => {
        await a.restart();
        return true;
      };
      await until(restarted, { what: "the node to have started again" });
      writeFileSync(stop, "");
      const { stdout, stderr } = await writer;
      expect(stderr).toBe("");
      const synced = await fleet.sync(b, a);
      expect(synced.code, synced.stderr).toBe(0);
      expect(Number(stdout)).toBeGreaterThan(0);
      const written = [...Array(Number(stdout)).keys()].map((n) => `restless ${n}`);
      expect(select(other, "SELECT line FROM log ORDER BY id").map(({ line }) => line)).toEqual(written);
      expect(differences(dumpDatabase(path), dumpDatabase(other))).toEqual([]);
    } finally {
      writeFileSync(stop, "");
      await writer;
    }
  },
  720_000,
);

// Reads a large table again as soon as it has read it.
const READER = `
import os, sqlite3, sys
path, stop, begun = sys.argv[1], sys.argv[2], sys.argv[3]
db = sqlite3.connect(path, timeout=30, isolation_level=None)
while not os.path.exists(stop):
    db.execute("SELECT count(*), max(label || id) FROM robot").fetchone()
    open(begun, "w").close()
`;

test.skipIf(!isPythonHere())("a node attaches a database with a rollback journal that somebody reads at every moment", async () => {
  const [script, stop] = [fleet.path("reader.py"), fleet.path("stop")];
  writeFileSync(script, READER);
  const path = createDatabase(
    fleet.path("a", "app.db"),
    `${SCHEMA}; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) INSERT INTO robot(label) SELECT 'robot ' || i FROM n`,
  );
  const begun = [1, 2, 3, 4].map((n) => fleet.path(`reader-${n}`));
  const readers = begun.map((file) => runProgram("python3", [script, path, stop, file]));
  try {
    await until(() => begun.every((file) => existsSync(file)), { what: "all readers read" });
    await fleet.node({ name: "a", databases: { app: path } });
    expect(select(path, "SELECT value FROM _scoutsync_meta WHERE key = 'attached'")).toEqual([{ value: "yes" }]);
  } finally {
    writeFileSync(stop, "");
  }
  for (const { code, stderr } of await Promise.all(readers)) expect([code, stderr]).toEqual([0, ""]);
});

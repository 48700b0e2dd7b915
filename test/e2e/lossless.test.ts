import { connectPeer, SyncRequest } from "@scoutsync/protocol";
import { differences, dumpDatabase, Fleet, runProgram, selectOne, isPythonHere } from "@scoutsync/testkit";
import Database from "better-sqlite3";
import { writeFileSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";

// Written and read by Python's own SQLite, so that neither side of the comparison is ours.
const WRITE = `
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=60)
if sys.argv[2] == "empty":
    db.executescript("CREATE TABLE plain(name TEXT PRIMARY KEY, v); CREATE TABLE keyed(k NOT NULL, n TEXT NOT NULL, v, PRIMARY KEY(k, n)); CREATE TABLE ids(id INTEGER PRIMARY KEY, v)")
if sys.argv[2] == "fill":
    values = {
        "null": None, "max": 2**63 - 1, "min": -2**63, "zero": 0, "minus one": -1, "beyond 2^53": 2**53 + 1,
        "third": 0.1 + 0.2, "inf": float("inf"), "-inf": float("-inf"), "denormal": 5e-324, "largest": 1.7976931348623157e308, "one real": 1.0, "minus zero": -0.0,
        "empty text": "", "text": "Grüße 🚀", "nul": "a\\0b\\0", "long": "x" * 100_000, "number as text": "007",
        "empty blob": b"", "blob": bytes(range(256)), "20 MiB": bytes(range(256)) * (20 * 4096),
    }
    for name, value in values.items():
        db.execute("INSERT INTO plain VALUES (?, ?)", (name, value))
        if value is not None:
            db.execute("INSERT INTO keyed VALUES (?, ?, ?)", (value if name != "20 MiB" else value[:100_000], name, value if name != "20 MiB" else None))
    for name, hexed in {"invalid": "ff41fe", "cut": "e282", "nul and invalid": "0080"}.items():
        db.execute(f"INSERT INTO plain VALUES (?, CAST(x'{hexed}' AS TEXT))", (name,))
        db.execute(f"INSERT INTO keyed VALUES (CAST(x'{hexed}' AS TEXT), ?, CAST(x'{hexed}' AS TEXT))", (name,))
    for value in (2**63 - 1, -2**63, -1, 0, 1):
        db.execute("INSERT INTO ids VALUES (?, ?)", (value, str(value)))
    db.commit()
`;

let fleet: Fleet;
beforeEach(() => {
  fleet = new Fleet("lossless");
});
afterEach(() => fleet.stop());

test("a write that was committed just before a session is in it, after sessions that had nothing to do as after others", async () => {
  const paths = { a: fleet.path("a", "app.db"), b: fleet.path("b", "app.db") };
  const apps = Object.entries(paths).map(([name, path]) => {
    const db = new Database(path, { timeout: 30_000 });
    db.exec("PRAGMA journal_mode = WAL; CREATE TABLE t(k TEXT PRIMARY KEY, v INTEGER) STRICT");
    return { name, db };
  });
  const a = await fleet.node({ name: "a", databases: { app: paths.a } });
  const b = await fleet.node({ name: "b", databases: { app: paths.b } });
  const client = connectPeer(b.address);
  const written = new Map<string, bigint>();
  try {
    for (let i = 0; i < 120; i++) {
      // One in three has nothing to do: the next may be asked before it is known that there is something.
      for (const { name, db } of i % 3 === 0 ? [] : apps.slice(i % 2)) {
        db.prepare("INSERT INTO t VALUES(?, ?)").run(`${name} ${i}`, i);
        written.set(`${name} ${i}`, BigInt(i));
      }
      let last: unknown;
      for await (const { kind } of client.sync(SyncRequest.create({ peer: a.address }))) last = kind;
      expect(last, `session ${i}`).toMatchObject({ $case: "result", value: { success: true, verified: true, errors: [] } });
      for (const { name, db } of apps)
        expect(
          new Map(db.prepare("SELECT k, v FROM t").safeIntegers(true).raw().all() as [string, bigint][]),
          `session ${i}, at ${name}`,
        ).toEqual(written);
    }
  } finally {
    client.close();
    for (const { db } of apps) db.close();
  }
});

test.skipIf(!isPythonHere())("every SQLite value arrives as the source's own SELECT returns it, in keys and in columns", async () => {
  const script = fleet.path("write.py");
  writeFileSync(script, WRITE);
  const paths = { a: fleet.path("a", "app.db"), b: fleet.path("b", "app.db") };
  for (const path of Object.values(paths)) await runProgram("python3", [script, path, "empty"]);
  const a = await fleet.node({ name: "a", databases: { app: paths.a } });
  const b = await fleet.node({ name: "b", databases: { app: paths.b } });
  const written = await runProgram("python3", [script, paths.a, "fill"]);
  expect(written.code, written.stderr).toBe(0);

  const done = await fleet.sync(b, a);
  expect(done.code, done.stdout + done.stderr).toBe(0);
  expect(done.json()).toMatchObject({ success: true, verified: true });
  expect(selectOne(paths.b, "SELECT count(*) FROM plain")).toBe(24n);
  expect(selectOne(paths.b, "SELECT length(v) FROM plain WHERE name = '20 MiB'")).toBe(BigInt(20 * 1024 * 1024));
  expect(differences(dumpDatabase(paths.a), dumpDatabase(paths.b))).toEqual([]);
});

import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { DigestSums } from "../src/digest/digest-sums.ts";
import { Site } from "./site.ts";

test("a row that is counted twice shows: sums are not combined by XOR", () => {
  const db = new Database(":memory:");
  db.exec("CREATE TABLE _scoutsync_digest(tid, bucket, rows, sum, PRIMARY KEY(tid, bucket))");
  const sums = new DigestSums(db);
  const hash = Buffer.from("00112233445566778899aabbccddeeff", "hex");
  const digestAfter = (work: () => void) => {
    work();
    sums.flush();
    return sums.digest.toString("hex");
  };
  const once = digestAfter(() => sums.add(1, hash));
  expect(once).toBe(hash.toString("hex"));
  const twice = digestAfter(() => sums.add(1, hash));
  const thrice = digestAfter(() => sums.add(1, hash));
  expect(new Set([once, twice, thrice, "00".repeat(16)]).size).toBe(4);
  expect(digestAfter(() => [1, 2].forEach(() => sums.remove(1, hash)))).toBe(once);
  expect(new DigestSums(db).digest.toString("hex")).toBe(once);
});

test("rows are read again without the application's lock, though it writes and writes: it would wait for all of them", () => {
  let [writes, begun] = [0, ""];
  const connect = (path: string, options: Database.Options) => {
    const db = new Database(path, options);
    const exec = db.exec.bind(db);
    db.exec = (sql) => {
      if (sql.startsWith("BEGIN")) begun = sql;
      if (sql === "BEGIN" && writes-- > 0) site.app.exec("INSERT INTO t(v) VALUES('x')");
      return exec(sql);
    };
    return db;
  };
  const site = new Site("a", "CREATE TABLE t(id INTEGER PRIMARY KEY, v)", { connect });
  writes = 20;
  const { entries } = site.replica.digests({ table: "", buckets: [], deep: true });
  expect([begun, entries[0]?.rows]).toEqual(["BEGIN", 20]);
});

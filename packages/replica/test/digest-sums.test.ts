import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { DigestSums } from "../src/digest/digest-sums.ts";

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

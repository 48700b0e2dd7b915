import { existsSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";

const ROOT = new URL("../..", import.meta.url).pathname;

test("every failure that others have had has a test beside it that is there", () => {
  const rows = readFileSync(`${ROOT}/test/PEER-FAILURES.md`, "utf8")
    .split("\n")
    .flatMap((line) => (/^\| \d+ \|/.test(line) ? [line.split("|").map((cell) => cell.trim())] : []));
  expect(rows.map(([, number]) => Number(number))).toEqual(Array.from({ length: 48 }, (_, i) => i + 1));
  const named = rows.flatMap((row) =>
    [...(row[4] ?? "").matchAll(/`([^`]+\.ts)`/g)].map(([, path]) => path?.replace(/^R\//, "packages/replica/test/") ?? ""),
  );
  expect(named.length).toBeGreaterThan(80);
  expect(named.filter((path) => !existsSync(`${ROOT}/${path}`))).toEqual([]);
  // Without a test only what no test can have here.
  expect(rows.filter((row) => !/\.ts`/.test(row[4] ?? "")).map(([, number]) => number)).toEqual(["45"]);
});

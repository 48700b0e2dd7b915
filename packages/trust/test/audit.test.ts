import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { AuditLog, brokenLine } from "../src/index.ts";

const MODULE = new URL("../src/audit.ts", import.meta.url).href;
const ENTRIES = 150;

test("processes that write one audit log at once break no line", async () => {
  const folder = mkdtempSync(join(tmpdir(), "scoutsync-audit-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, "audit.log");
  const program = (who: string) =>
    `import { AuditLog } from ${JSON.stringify(MODULE)}; const log = new AuditLog(${JSON.stringify(path)});` +
    `for (let i = 0; i < ${ENTRIES}; i++) log.write({ who: "${who}", what: "entry " + i, outcome: "done" });`;
  const writers = ["a", "b", "c"].map((who) => spawn(process.execPath, ["--input-type=module", "-e", program(who)], { stdio: "inherit" }));
  const codes = await Promise.all(writers.map(async (writer) => (await once(writer, "exit"))[0] as number));
  expect(codes).toEqual([0, 0, 0]);
  const text = readFileSync(path, "utf8");
  expect(text.trim().split("\n")).toHaveLength(3 * ENTRIES);
  expect(brokenLine(text)).toBe(null);
});

test("whoever is refused for ever new things fills no disk, and others' refusals are written all the same", () => {
  const folder = mkdtempSync(join(tmpdir(), "scoutsync-audit-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, "audit.log");
  const log = new AuditLog(path);
  const refuse = (who: string, what: string, nowMs: number) => log.write({ who, what, outcome: "refused", details: "x" }, nowMs);
  const begun = 1_000_000;
  for (let i = 0; i < 5_000; i++) refuse(`192.0.2.1:${i}`, `GET /${i}`, begun + i);
  refuse("192.0.2.2:5", "GET /other", begun + 5_000);
  log.write({ who: "user:ada", what: "POST /api/jobs/pause", outcome: "done" }, begun + 5_000);
  refuse("192.0.2.1:9", "GET /later", begun + 20_000);
  const text = readFileSync(path, "utf8");
  const lines = text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as object);
  expect(lines).toHaveLength(2_003);
  expect(lines.slice(-3)).toMatchObject([
    { who: "192.0.2.2:5", what: "GET /other", unwritten: 3_000 },
    { who: "user:ada" },
    { who: "192.0.2.1:9", what: "GET /later" },
  ]);
  expect(brokenLine(text)).toBe(null);
});

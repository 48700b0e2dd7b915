import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { brokenLine } from "../src/index.ts";

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

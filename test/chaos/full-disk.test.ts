import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  createDatabase,
  differences,
  dumpDatabase,
  Fleet,
  integrityProblems,
  select,
  selectOne,
  startWriter,
  until,
} from "@scoutsync/testkit";
import { expect, test } from "vitest";

const SCHEMA = "CREATE TABLE entry(id INTEGER PRIMARY KEY, body TEXT NOT NULL)";
const SMALL = "6m";
const LARGE = "256m";

/** Mounts a small disk; answers with why that is not possible here. */
function mountSmall(): { path: string; why: string } {
  const path = mkdtempSync(join(tmpdir(), "scoutsync-small-"));
  const done = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${SMALL}`, "tmpfs", path], { encoding: "utf8" });
  return { path, why: done.status === 0 ? "" : (done.error?.message ?? done.stderr.trim()) };
}

test("a full disk is said, breaks nothing, and is forgotten when there is room again", { timeout: 240_000 }, async (context) => {
  const disk = mountSmall();
  if (disk.why !== "") {
    rmSync(disk.path, { recursive: true, force: true });
    context.skip(`no file system of a given size can be mounted: ${disk.why}`);
  }
  const fleet = new Fleet("full-disk");
  const writer = startWriter();
  try {
    const small = createDatabase(join(disk.path, "app.db"), SCHEMA);
    const roomy = createDatabase(fleet.path("b", "app.db"), SCHEMA);
    const a = await fleet.node({ name: "a", databases: { app: small } });
    const b = await fleet.node({ name: "b", databases: { app: roomy } });
    const write = (path: string, from: number, rows: number, bytes: number) =>
      writer.write({
        path,
        statements: Array.from(
          { length: rows },
          (_, i) => ["INSERT INTO entry(body) VALUES (?)", [`${from + i} `.padEnd(bytes, "x")]] as const,
        ),
      });
    await write(small, 0, 100, 200);
    expect((await fleet.sync(a, b)).code).toBe(0);
    for (let turn = 0; turn < 8; turn++) await write(roomy, 1_000 * (turn + 1), 500, 2_000);
    const refused = await fleet.sync(a, b);
    expect(refused.code, refused.stdout).toBe(1);
    expect(refused.stdout).toContain("DISK_FULL");
    expect(refused.stdout).toMatch(/no room left .*Free space/);
    // What the application had is all there, and can be read.
    expect(selectOne(small, "SELECT count(*) FROM entry WHERE id <= 100 AND length(body) = 200")).toBe(100n);
    expect(integrityProblems(small)).toEqual([]);
    execFileSync("mount", ["-o", `remount,size=${LARGE}`, disk.path]);
    await until(async () => (await fleet.sync(a, b)).code === 0, { withinMs: 60_000, everyMs: 500, what: "the session that goes on" });
    expect(differences(dumpDatabase(small), dumpDatabase(roomy))).toEqual([]);
    expect(select(small, "SELECT count(*) AS rows FROM entry")).toEqual([{ rows: 4_100n }]);
    expect(integrityProblems(small)).toEqual([]);
  } finally {
    await writer.stop();
    await fleet.stop();
    execFileSync("umount", [disk.path]);
    rmSync(disk.path, { recursive: true, force: true });
  }
});

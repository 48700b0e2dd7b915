import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  createDatabase,
  differences,
  dumpDatabase,
  Fleet,
  scoutsync,
  integrityProblems,
  select,
  selectOne,
  startWriter,
  until,
} from "@scoutsync/testkit";
import { expect, test, type TestContext } from "vitest";

const SCHEMA = "CREATE TABLE entry(id INTEGER PRIMARY KEY, body TEXT NOT NULL)";
const SMALL = "6m";
const LARGE = "256m";

/** Mounts a small disk; answers with why that is not possible here. */
function mountSmall(): { path: string; why: string } {
  const path = mkdtempSync(join(tmpdir(), "scoutsync-small-"));
  const done = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${SMALL}`, "tmpfs", path], { encoding: "utf8" });
  return { path, why: done.status === 0 ? "" : (done.error?.message ?? done.stderr.trim()) };
}

/** Skips the test where no small disk can be had. */
function smallDisk(context: TestContext): string {
  const disk = mountSmall();
  if (disk.why === "") return disk.path;
  rmSync(disk.path, { recursive: true, force: true });
  return context.skip(`no file system of a given size can be mounted: ${disk.why}`);
}

function unmount(path: string): void {
  execFileSync("umount", [path]);
  rmSync(path, { recursive: true, force: true });
}

test("a full disk is said, breaks nothing, and is forgotten when there is room again", { timeout: 720_000 }, async (context) => {
  const disk = smallDisk(context);
  const fleet = new Fleet("full-disk");
  const writer = startWriter();
  try {
    const small = createDatabase(join(disk, "app.db"), SCHEMA);
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
    execFileSync("mount", ["-o", `remount,size=${LARGE}`, disk]);
    await until(async () => (await fleet.sync(a, b)).code === 0, { withinMs: 60_000, everyMs: 500, what: "the session that goes on" });
    expect(differences(dumpDatabase(small), dumpDatabase(roomy))).toEqual([]);
    expect(select(small, "SELECT count(*) AS rows FROM entry")).toEqual([{ rows: 4_100n }]);
    expect(integrityProblems(small)).toEqual([]);
  } finally {
    await writer.stop();
    await fleet.stop();
    unmount(disk);
  }
});

interface RootDocument {
  problem: string;
  pending: number;
}

test(
  "a full disk under a file root stops what others send, with what is lacking, and nothing else; with room it goes on by itself",
  {
    timeout: 720_000,
  },
  async (context) => {
    const disk = smallDisk(context);
    const fleet = new Fleet("full-root");
    try {
      const [roomy, small] = [fleet.path("a", "files"), join(disk, "files")];
      mkdirSync(roomy, { recursive: true });
      mkdirSync(small);
      const large = Buffer.alloc(20 * 1024 * 1024, "large");
      writeFileSync(join(roomy, "large"), large);
      writeFileSync(join(roomy, "small, listed after it"), "there is room for this");
      writeFileSync(join(roomy, "z, as well"), Buffer.alloc(200 * 1024, "and for this"));
      writeFileSync(join(small, "mine"), "first");
      const a = await fleet.node({ name: "a", databases: {}, flags: ["--files", `files=${roomy}`] });
      const b = await fleet.node({ name: "b", databases: {}, flags: ["--files", `files=${small}`], peers: [a.address] });
      const status = async () => (await scoutsync(["files", "status", b.address, "--json"])).json<RootDocument[]>()[0] as RootDocument;
      const mine = (text: string) => () => existsSync(join(roomy, "mine")) && readFileSync(join(roomy, "mine"), "utf8") === text;
      const problem = await until(async () => (await status()).problem, {
        withinMs: 60_000,
        everyMs: 500,
        what: "the word on the full disk",
      });
      expect(problem).toMatch(
        /^\d+ bytes are lacking for a file of 20971520 bytes: \d+ are free, of which \d+ are kept free, .*Free space there/,
      );
      const [lacking = 0, , free = 0, kept = 0] = (problem.match(/\d+ (?=bytes|are)/g) ?? []).map(Number);
      expect(lacking).toBe(20_971_520 - (free - kept));
      expect(free).toBeLessThan(6 * 1024 * 1024);
      // What is written on the full node travels, and succeeding with that does not make the disk any larger.
      await until(mine("first"), { withinMs: 60_000, everyMs: 500, what: "the file of the full node" });
      writeFileSync(join(small, "mine"), "second, with its disk full");
      await until(mine("second, with its disk full"), { withinMs: 60_000, everyMs: 500, what: "an edit on the full node" });
      expect((await status()).problem).toMatch(/lacking/);
      // Whoever starts the session, what there is room for comes, and what was deleted goes.
      for (const [from, to] of [
        [b, a],
        [a, b],
      ] as const) {
        const name = `when ${from.name} asks`;
        writeFileSync(join(roomy, name), name);
        // A session that waits for another one's fetching of the large file leaves it to that one.
        const isRefused = async () => {
          const { code, stdout } = await fleet.sync(from, to);
          return code === 1 && /DISK_FULL.*bytes are lacking for a file of 20971520 bytes.*Free space there/s.test(stdout);
        };
        await until(isRefused, { withinMs: 60_000, everyMs: 500, what: "a session that says what is lacking" });
        await until(() => readFileSync(join(small, name), "utf8") === name, { what: "the small file that came meanwhile" });
      }
      writeFileSync(join(roomy, "from a stick"), "from a stick");
      const bundle = fleet.path("stick", "bundle");
      mkdirSync(fleet.path("stick"), { recursive: true });
      expect((await scoutsync(["export", a.address, "--files", "files", "-o", bundle])).code).toBe(0);
      const isImportRefused = async () => {
        const { code, stderr } = await scoutsync(["import", b.address, bundle]);
        return code === 1 && /bytes are lacking for a file of 20971520 bytes.*Import the file again/s.test(stderr);
      };
      await until(isImportRefused, { withinMs: 60_000, everyMs: 500, what: "an import that says what is lacking" });
      await until(() => readFileSync(join(small, "from a stick"), "utf8") === "from a stick", { what: "the small file from the stick" });
      await until(() => existsSync(join(small, "small, listed after it")) && existsSync(join(small, "z, as well")), {
        withinMs: 60_000,
        everyMs: 500,
        what: "the files that there is room for",
      });
      rmSync(join(roomy, "z, as well"));
      await until(() => !existsSync(join(small, "z, as well")), { withinMs: 60_000, everyMs: 500, what: "a deletion on the full node" });
      expect(existsSync(join(small, "large"))).toBe(false);
      execFileSync("mount", ["-o", `remount,size=${LARGE}`, disk]);
      await until(() => existsSync(join(small, "large")), { withinMs: 90_000, everyMs: 500, what: "the large file, with nobody asking" });
      expect(readFileSync(join(small, "large")).equals(large)).toBe(true);
      expect(readFileSync(join(small, "mine"), "utf8")).toBe("second, with its disk full");
      const isWhole = async () => {
        const { problem: now, pending } = await status();
        return now === "" && pending === 0;
      };
      await until(isWhole, { what: "the word that nothing is lacking any more" });
    } finally {
      await fleet.stop();
      unmount(disk);
    }
  },
);

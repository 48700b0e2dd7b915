import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { boundOf, childEnvironment, Fleet, scoutsync, until } from "@scoutsync/testkit";
import { expect, test } from "vitest";

const MAIN = fileURLToPath(new URL("../../packages/cli/src/main.ts", import.meta.url));
const NOBODY = 65_534;

interface Status {
  left_alone: { path: string; kind: string; reason: string }[];
}

test(
  "a live WAL database in a root is never opened, copied or locked, whatever it is called, and verify says so",
  {
    timeout: boundOf(360_000),
  },
  async (context) => {
    if (spawnSync("strace", ["-V"]).error) context.skip("strace is not installed");
    const fleet = new Fleet("live-database");
    const databases: DatabaseSync[] = [];
    try {
      const roots = ["a", "b"].map((name) => fleet.path(name, "instance"));
      for (const root of roots) mkdirSync(root, { recursive: true });
      const [here = "", there = ""] = roots;
      for (const name of ["app.db", "Cookies"]) {
        const database = new DatabaseSync(join(here, name));
        databases.push(database);
        database.exec("PRAGMA journal_mode = WAL; CREATE TABLE t(x); INSERT INTO t VALUES (1)");
      }
      writeFileSync(join(here, "hello.txt"), "hello");
      const [a, b] = await Promise.all(
        roots.map((root, at) => fleet.node({ name: at === 0 ? "a" : "b", databases: {}, flags: ["--files", `instance=${root}`] })),
      );
      const trace = fleet.path("trace", "opened");
      const tracer = spawn("strace", [
        "-f",
        "-qq",
        "-e",
        "trace=open,openat,openat2,fcntl,flock",
        "-o",
        trace,
        "-p",
        String(a!.process.pid),
      ]);
      let said = "";
      tracer.stderr.on("data", (text: Buffer) => (said += text.toString()));
      const over = once(tracer, "exit");
      // What is traced is in the file when it has something to say of a file that is opened.
      let turn = 0;
      const isTracing = () => {
        writeFileSync(join(here, "hello.txt"), `hello ${++turn}`);
        return tracer.exitCode !== null || (existsSync(trace) && readFileSync(trace, "utf8").includes("hello.txt"));
      };
      await until(isTracing, { what: "the first look that strace sees", withinMs: 30_000, everyMs: 1_000 });
      if (tracer.exitCode !== null) context.skip(`strace may not attach here: ${said.trim()}`);
      for (const database of databases) database.exec("INSERT INTO t VALUES (2)");
      expect((await fleet.sync(b!, a!)).code).toBe(0);
      const verified = await scoutsync(["verify", a!.address, b!.address, "--deep", "--json"]);
      expect(verified.code, verified.stdout).toBe(0);
      const left = verified.json<{ files: Status[] }>().files[0]?.left_alone ?? [];
      expect(left.map(({ path }) => path)).toEqual(expect.arrayContaining(["Cookies", "Cookies-shm", "Cookies-wal", "app.db"]));
      expect(left.find(({ path }) => path === "Cookies")?.reason).toMatch(/live database is synced as rows/);
      for (const database of databases) database.exec("INSERT INTO t VALUES (3)");
      tracer.kill("SIGINT");
      await over;
      const lines = readFileSync(trace, "utf8").split("\n");
      expect(lines.some((line) => line.includes("hello.txt"))).toBe(true);
      expect(lines.filter((line) => /Cookies|app\.db/.test(line))).toEqual([]);
      expect(readdirSync(there).filter((name) => !name.startsWith(".scoutsync"))).toEqual(["hello.txt"]);
      expect(readdirSync(join(here, ".scoutsync-store", "objects"))).toEqual([]);
      for (const database of databases) expect(database.prepare("SELECT count(*) AS n FROM t").get()).toEqual({ n: 3 });
    } finally {
      for (const database of databases) database.close();
      await fleet.stop();
    }
  },
);

test(
  "what a node's user may not read is said, is not deleted anywhere, and takes part again when it may",
  {
    timeout: boundOf(360_000),
  },
  async (context) => {
    if (process.getuid?.() !== 0) context.skip("only root can become another user, and the tests do not run as root");
    const may = spawnSync(process.execPath, ["-e", `require("fs").readFileSync(${JSON.stringify(MAIN)})`], { uid: NOBODY, gid: NOBODY });
    if (may.status !== 0) context.skip("the user nobody may not read this program");
    const fleet = new Fleet("unreadable");
    const root = fleet.path("a", "uploads");
    const own = fleet.path("a", "own");
    const copy = fleet.path("b", "uploads");
    for (const folder of [join(root, "closed"), own, copy]) mkdirSync(folder, { recursive: true });
    for (const path of ["open.txt", "secret.txt", "closed/inside.txt"]) writeFileSync(join(root, path), path);
    for (const path of [fleet.directory, join(root, "..")]) chmodSync(path, 0o755);
    for (const path of [
      root,
      own,
      join(root, "closed"),
      ...["open.txt", "secret.txt", "closed/inside.txt"].map((name) => join(root, name)),
    ])
      chownSync(path, NOBODY, NOBODY);
    const args = [MAIN, "node", "--name", "a", "--listen", "127.0.0.1:0", "--files", `uploads=${root}`, "--data", own];
    const node = spawn(process.execPath, args, {
      uid: NOBODY,
      gid: NOBODY,
      env: { ...childEnvironment(), HOME: own },
      stdio: ["ignore", "pipe", "ignore"],
    });
    const over = once(node, "exit");
    try {
      const [line] = (await once(createInterface(node.stdout), "line")) as [string];
      const { listen } = JSON.parse(line) as { listen: string };
      const b = await fleet.node({ name: "b", databases: {}, flags: ["--files", `uploads=${copy}`] });
      const sync = () => scoutsync(["sync", b.address, listen, "--json"]);
      const there = () => readdirSync(copy, { recursive: true, encoding: "utf8" }).filter((path) => !path.startsWith(".scoutsync"));
      expect((await sync()).code).toBe(0);
      const everything = there().sort();
      expect(everything).toHaveLength(4);
      chmodSync(join(root, "secret.txt"), 0);
      chmodSync(join(root, "closed"), 0);
      // Something else, so that it would have to be read again.
      chownSync(join(root, "secret.txt"), 0, 0);
      await sync();
      await sync();
      expect(there().sort()).toEqual(everything);
      const [status] = (await scoutsync(["files", "status", listen, "--json"])).json<(Status & { missing: number })[]>();
      expect(status?.missing).toBe(0);
      const left = status?.left_alone.filter(({ kind }) => kind === "unreadable") ?? [];
      expect(left.map(({ path }) => path).sort()).toEqual(["closed", "secret.txt"]);
      expect(left.find(({ path }) => path === "closed")?.reason).toMatch(/EACCES.*nothing below it counts as deleted/);
      chownSync(join(root, "secret.txt"), NOBODY, NOBODY);
      chmodSync(join(root, "secret.txt"), 0o644);
      chmodSync(join(root, "closed"), 0o755);
      await until(async () => (await sync()).json<{ verified: boolean }>().verified, { what: "a session that finds both equal" });
      expect(there().sort()).toEqual(everything);
    } finally {
      node.kill();
      await over;
      await fleet.stop();
    }
  },
);

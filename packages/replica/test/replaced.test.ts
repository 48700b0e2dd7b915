import { copyFileSync, linkSync, readFileSync, renameSync, rmSync, symlinkSync, unlinkSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import Database from "better-sqlite3";
import { formatVector } from "@scoutsync/core";
import { describe, expect, onTestFinished, test } from "vitest";
import { openReplicaPool, type Replica } from "../src/index.ts";
import { lockPath } from "../src/identity/file-lock.ts";
import { refusal, Site, testFolder } from "./site.ts";

const SCHEMA = "CREATE TABLE word(k TEXT PRIMARY KEY, x TEXT)";

const OPTIONS = { name: "main", nodeName: "node", nodeId: "node", exclude: [], baseline: null, busyTimeoutMs: 200, pollIntervalMs: 10 };

/** A database served as a node serves it, with its application. */
async function serve(path = join(testFolder(), "app.db")): Promise<{ path: string; app: Database.Database; replica: Replica }> {
  const app = new Database(path);
  app.exec(SCHEMA);
  const pool = openReplicaPool({ threads: 1 });
  const replica = await pool.open({ ...OPTIONS, path });
  onTestFinished(async () => {
    if (app.open) app.close();
    await pool.close();
  });
  return { path, app, replica };
}

async function eventually(what: string, condition: () => boolean): Promise<void> {
  for (let looks = 0; !condition(); looks++) {
    if (looks > 2_000) throw new Error(`never: ${what}`);
    await new Promise((done) => setTimeout(done, 10));
  }
}

const words = (path: string): string[] => {
  const db = new Database(path);
  try {
    return db.prepare("SELECT k FROM word ORDER BY k").pluck().all() as string[];
  } finally {
    db.close();
  }
};

function removeLogs(path: string): void {
  for (const end of ["-wal", "-shm"]) rmSync(`${path}${end}`, { force: true });
}

describe("a database that is replaced under a running node", () => {
  test("by a backup that is renamed into its place: the node goes on with what is there, under a new run and origin", async () => {
    const { path, app, replica } = await serve();
    app.exec("INSERT INTO word VALUES('before', '')");
    await replica.drain();
    const backup = `${path}.backup`;
    app.prepare("VACUUM INTO ?").run(backup);
    app.exec("INSERT INTO word VALUES('lost with the old file', '')");
    await replica.drain();
    const { run } = replica;
    const [old] = [...replica.state.vector.keys()];
    app.close();
    // So that what becomes of the old file can be seen.
    linkSync(path, `${path}.old`);
    removeLogs(path);
    renameSync(backup, path);
    const remains = readFileSync(`${path}.old`);
    const again = new Database(path);
    onTestFinished(() => void again.close());
    again.exec("INSERT INTO word VALUES('after', '')");
    await eventually("it is opened again", () => replica.run !== run);
    await eventually("it is drained", () => replica.state.vector.size === 2);
    expect(words(path)).toEqual(["after", "before"]);
    expect(replica.state.vector.get(old ?? "")).toBe(1);
    // It knows that it had more, so it serves no one before it has pulled.
    await eventually("it says so", () => replica.state.problem.includes("restored"));
    const since = { from: new Map(), batchSize: 0, codecs: [], beyondDigest: new Uint8Array() };
    await expect(replica.read(since)).rejects.toMatchObject({ code: "RESTORED" });
    expect(readFileSync(`${path}.old`).equals(remains)).toBe(true);
  });

  test("by nothing: the problem says so, nothing is written, and the node takes up what the application creates anew", async () => {
    const { path, app, replica } = await serve();
    app.exec("INSERT INTO word VALUES('old', '')");
    await replica.drain();
    app.close();
    for (const file of [path, `${path}-wal`, `${path}-shm`]) rmSync(file, { force: true });
    await eventually("it is noticed", () => replica.state.problem !== "");
    expect(replica.state.problem).toMatch(/removed/);
    await expect(replica.drain()).rejects.toMatchObject({ code: "DATABASE_REPLACED" });
    const fresh = new Database(path);
    onTestFinished(() => void fresh.close());
    fresh.exec(`${SCHEMA}; INSERT INTO word VALUES('new', '')`);
    await eventually("it is taken up", () => replica.state.rows === 1 && replica.state.tables.length === 1);
    expect(words(path)).toEqual(["new"]);
  });

  test.each(["-wal", "-shm"])("by losing its %s", async (end) => {
    const { path, app, replica } = await serve();
    app.exec("INSERT INTO word VALUES('k', '')");
    await replica.drain();
    const { run } = replica;
    app.close();
    unlinkSync(`${path}${end}`);
    await eventually("it is opened again", () => replica.run !== run);
    await replica.drain();
    expect(words(path)).toEqual(["k"]);
    const again = new Database(path);
    onTestFinished(() => void again.close());
    again.exec("INSERT INTO word VALUES('later', '')");
    await eventually("it is drained", () => replica.state.rows === 2);
    expect(again.pragma("integrity_check", { simple: true })).toBe("ok");
  });

  test("from within, by a restore into the file", async () => {
    const { path, app, replica } = await serve();
    app.exec("INSERT INTO word VALUES('before', '')");
    await replica.drain();
    const backup = `${path}.backup`;
    app.prepare("VACUUM INTO ?").run(backup);
    for (const k of ["1", "2", "3"]) {
      app.exec(`INSERT INTO word VALUES('lost ${k}', '')`);
      await replica.drain();
    }
    const { run } = replica;
    const before = formatVector(replica.state.vector);
    app.close();
    const source = new Database(backup);
    await source.backup(path);
    source.close();
    await eventually("it is opened again", () => replica.run !== run);
    const again = new Database(path);
    onTestFinished(() => void again.close());
    again.exec("INSERT INTO word VALUES('after', '')");
    await eventually("it is drained", () => replica.state.rows === 2);
    expect(words(path)).toEqual(["after", "before"]);
    // The new write is no dot of the run that wrote what was lost.
    const [origin = "", sequence = "0"] = before.split(":");
    expect(Number(sequence)).toBe(4);
    expect(replica.state.vector.get(origin)).toBe(1);
    await eventually("it says so", () => replica.state.problem.includes("restored"));
  });

  test("between its look and its commit: what went to the old file is not called durable", () => {
    const [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
    a.edit("INSERT INTO word VALUES('k', '')");
    const batch = a.batchFor(b);
    b.app.close();
    const other = `${b.path}.other`;
    new Database(other).exec(SCHEMA).close();
    removeLogs(b.path);
    renameSync(other, b.path);
    expect(refusal(() => b.replica.apply(batch))).toBe("DATABASE_REPLACED");
    expect(words(b.path)).toEqual([]);
  });

  test("by its own next version through the link that names it", async () => {
    const folder = testFolder();
    for (const name of ["v1.db", "v2.db"])
      new Database(join(folder, name)).exec(`${SCHEMA}; INSERT INTO word VALUES('${name}', '')`).close();
    const current = join(folder, "current.db");
    symlinkSync("v1.db", current);
    const pool = openReplicaPool({ threads: 1 });
    onTestFinished(() => pool.close());
    const replica = await pool.open({ ...OPTIONS, path: current });
    expect(await replica.row("word", "v1.db")).not.toBeNull();
    symlinkSync("v2.db", `${current}.new`);
    renameSync(`${current}.new`, current);
    const { run } = replica;
    await eventually("it is opened again", () => replica.run !== run);
    expect(await replica.row("word", "v2.db")).not.toBeNull();
  });
});

describe("two nodes on one file", () => {
  test("however it is named, the second is refused", () => {
    const a = new Site("a", SCHEMA);
    const folder = testFolder();
    symlinkSync(a.path, join(folder, "link.db"));
    symlinkSync(dirname(a.path), join(folder, "folder"));
    const names = [
      a.path,
      join(folder, "link.db"),
      join(folder, "folder", "a.db"),
      relative(process.cwd(), a.path),
      `${dirname(a.path)}/./../${relative(dirname(dirname(a.path)), a.path)}`,
    ];
    for (const path of names) expect([path, refusal(() => new Site("second", SCHEMA, { path }))]).toEqual([path, "DATABASE_IN_USE"]);
    const hard = join(dirname(a.path), "hard.db");
    linkSync(a.path, hard);
    expect(refusal(() => new Site("second", SCHEMA, { path: hard }))).toBe("DATABASE_IN_USE");
    unlinkSync(hard);
    a.edit("INSERT INTO word VALUES('k', '')");
    expect(a.replica.state().rows).toBe(1);
  });

  test("after somebody removed the lock of the first: only one of them goes on", () => {
    const a = new Site("a", SCHEMA);
    a.edit("INSERT INTO word VALUES('of a', '')");
    unlinkSync(lockPath(a.path));
    const b = new Site("b", SCHEMA, { path: a.path });
    expect(refusal(() => a.edit("INSERT INTO word VALUES('k', '')"))).toBe("DATABASE_REPLACED");
    expect(refusal(() => a.restart())).toBe("DATABASE_IN_USE");
    b.replica.drain();
    expect(b.replica.state().rows).toBe(2);
    b.edit("INSERT INTO word VALUES('of b', '')");
    expect(b.replica.state().rows).toBe(3);
  });
});

test("a copied file is left as it was by a node that opens the copy", () => {
  const a = new Site("a", SCHEMA);
  a.edit("INSERT INTO word VALUES('k', '')");
  const backup = a.backup();
  const path = join(testFolder(), "copy.db");
  copyFileSync(backup, path);
  const copy = new Site("copy", SCHEMA, { path });
  copy.edit("INSERT INTO word VALUES('copy', '')");
  expect(words(backup)).toEqual(["k"]);
});

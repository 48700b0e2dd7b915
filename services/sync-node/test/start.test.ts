import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { connectPeer } from "@scoutsync/protocol";
import type { Replica } from "@scoutsync/replica";
import { createLogger } from "@scoutsync/runtime";
import { pino } from "pino";
import { beforeEach, describe, expect, test } from "vitest";
import { afterTest } from "../../../packages/session/test/test-replica.ts";
import { startSyncNode, type SyncNodeConfig } from "../src/index.ts";
import { DatabaseMemory } from "../src/memory.ts";
import { eventually } from "./nodes.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "scoutsync-start-"));
  const made = folder;
  afterTest(() => rmSync(made, { recursive: true, force: true }));
});

function database(file: string, sql = "CREATE TABLE t(k TEXT PRIMARY KEY, v TEXT)"): string {
  const path = join(folder, file);
  const db = new Database(path);
  db.exec(sql);
  db.close();
  return path;
}

async function start(config: Partial<SyncNodeConfig>) {
  const service = await startSyncNode({
    name: "pits",
    listen: "127.0.0.1:0",
    databases: [],
    dataDirectory: join(folder, "data"),
    peers: [],
    coordinator: null,
    baseline: null,
    exclude: [],
    receiveOnly: false,
    logger: createLogger("pits", "silent"),
    ...config,
  });
  afterTest(() => service.stop());
  return service;
}

test("a node says once that its data directory is a copy, and goes on under its identity", async () => {
  const lines: string[] = [];
  const logger = pino({ level: "warn" }, { write: (line: string) => void lines.push(line) });
  const [original, copy, moved] = ["data", "copy", "moved"].map((name) => join(folder, name)) as [string, string, string];
  const startIn = async (dataDirectory: string) => {
    const service = await start({ dataDirectory, logger });
    await service.stop();
    return {
      id: service.ready.node_id,
      warned: lines.splice(0).filter((line) => line.includes("start it again as a node of its own")).length,
    };
  };
  const { id } = await startIn(original);
  expect(await startIn(original)).toEqual({ id, warned: 0 });
  cpSync(original, copy, { recursive: true });
  expect(await startIn(copy)).toEqual({ id, warned: 1 });
  expect(await startIn(copy)).toEqual({ id, warned: 0 });
  renameSync(copy, moved);
  for (const data of [moved, original]) expect(await startIn(data)).toEqual({ id, warned: 0 });
  // As versions before wrote it.
  writeFileSync(join(moved, "node.json"), `${JSON.stringify({ node_id: id })}\n`);
  expect(await startIn(moved)).toEqual({ id, warned: 0 });
  expect(JSON.parse(readFileSync(join(moved, "node.json"), "utf8"))).toMatchObject({
    node_id: id,
    inode: expect.stringMatching(/^\d+$/) as string,
  });
});

test.skipIf(!existsSync("/dev/full"))(
  "how far databases are is noted once the disk has room, whatever happens then, and no defect before",
  () => {
    const lines: string[] = [];
    const memory = new DatabaseMemory(folder, pino({ level: "info" }, { write: (line: string) => void lines.push(line) }));
    const [first, second] = [1, 2].map((sequence) => new Map([["cccccccccccccccc", sequence]]));
    const replica = { name: "main", path: join(folder, "a.db"), state: { vector: first }, onChange: () => () => {} };
    memory.watch([replica as unknown as Replica]);
    symlinkSync("/dev/full", join(folder, "databases.json.tmp"));
    replica.state.vector = second;
    memory.watch([replica as unknown as Replica]);
    memory.watch([replica as unknown as Replica]);
    expect(lines).toEqual([expect.stringContaining("no space left") as string]);
    expect(lines.join("")).not.toMatch(/INTERNAL|Report this|    at /);
    rmSync(join(folder, "databases.json.tmp"));
    memory.stop();
    expect(new DatabaseMemory(folder, pino({ level: "silent" })).before("main", replica.path)).toEqual(second);
  },
);

describe("starting", () => {
  test("says where it listens and what it serves, and keeps its identity", async () => {
    const paths = [
      database("a.db"),
      database("b.db", "CREATE TABLE x(id INTEGER PRIMARY KEY); CREATE TABLE secret(id INTEGER PRIMARY KEY)"),
    ];
    const databases = [
      { name: "main", path: paths[0] ?? "" },
      { name: "users", path: paths[1] ?? "" },
    ];
    const first = await start({ databases, exclude: ["users.secret"] });
    expect(first.ready).toEqual({
      name: "pits",
      node_id: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
      listen: expect.stringMatching(/^127\.0\.0\.1:\d+$/) as string,
      databases: [
        { name: "main", path: paths[0], tables: ["t"] },
        { name: "users", path: paths[1], tables: ["x"] },
      ],
    });
    await first.stop();
    await first.stop();
    const second = await start({ databases, exclude: ["users.secret"] });
    expect(second.ready.node_id).toBe(first.ready.node_id);
    const peer = connectPeer(second.ready.listen);
    afterTest(() => peer.close());
    expect((await peer.ping()).databases.map(({ name, problem }) => [name, problem])).toEqual([
      ["main", ""],
      ["users", ""],
    ]);
  });

  test("of two nodes with one data directory the second is refused while the first runs, and nothing of its database is touched", async () => {
    const [left, right] = [database("left.db"), database("right.db")];
    const first = await start({ name: "a", databases: [{ name: "main", path: left }] });
    await expect(start({ name: "b", databases: [{ name: "main", path: right }] })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining(join(folder, "data")) as string,
      action: expect.stringContaining("--data") as string,
    });
    const db = new Database(right);
    expect(db.prepare("SELECT count(*) FROM sqlite_schema WHERE name LIKE '%scoutsync%'").pluck().get()).toBe(0);
    db.close();
    await first.stop();
    await start({ name: "b", databases: [{ name: "main", path: right }] });
  });

  test("two started nodes stay in step", async () => {
    const [left, right] = [database("left.db"), database("right.db")];
    const a = await start({ name: "a", databases: [{ name: "main", path: left }], dataDirectory: join(folder, "a") });
    await start({ name: "b", databases: [{ name: "main", path: right }], dataDirectory: join(folder, "b"), peers: [a.ready.listen] });
    const [here, there] = [new Database(left), new Database(right)];
    afterTest(() => void [here, there].forEach((db) => db.close()));
    here.exec("INSERT INTO t VALUES ('left', 'x')");
    there.exec("INSERT INTO t VALUES ('right', 'x')");
    const keys = (db: Database.Database) => db.prepare("SELECT group_concat(k) FROM (SELECT k FROM t ORDER BY k)").pluck().get();
    await eventually("both have both", () => keys(here) === "left,right" && keys(there) === "left,right");
    expect(keys(here)).toBe(keys(there));
  });

  test.each([
    ["a missing file", () => ({ databases: [{ name: "main", path: join(folder, "none.db") }] }), "DATABASE_NOT_FOUND"],
    [
      "a file that is not SQLite",
      () => {
        const path = join(folder, "text.db");
        writeFileSync(path, "a text of some length, certainly longer than a header of a hundred bytes would be. ".repeat(20));
        return { databases: [{ name: "main", path }] };
      },
      "NOT_SQLITE",
    ],
    [
      "a reference into a database that is not here",
      () => ({
        databases: [
          { name: "main", path: database("a.db") },
          { name: "users", path: database("b.db") },
        ],
        references: ["main.t.v=people.user.id"],
      }),
      "INVALID_ARGUMENT",
    ],
    [
      "databases that refer to each other",
      () => ({
        databases: [
          { name: "main", path: database("a.db") },
          { name: "users", path: database("b.db") },
        ],
        references: ["main.t.v=users.x.id", "users.x.k=main.t.id"],
      }),
      "INVALID_ARGUMENT",
    ],
    [
      "a reference to what is no integer key of another database",
      () => ({
        databases: [
          { name: "main", path: database("a.db") },
          { name: "users", path: database("b.db") },
        ],
        references: ["main.t.v=users.t.k"],
      }),
      "INVALID_ARGUMENT",
    ],
    ["a misspelt exclusion", () => ({ databases: [{ name: "main", path: database("a.db") }], exclude: ["mian.t"] }), "INVALID_ARGUMENT"],
    [
      "two of one name",
      () => ({
        databases: [
          { name: "main", path: database("a.db") },
          { name: "main", path: database("b.db") },
        ],
      }),
      "INVALID_ARGUMENT",
    ],
    ["a peer without a port", () => ({ peers: ["pits"] }), "INVALID_ARGUMENT"],
    ["no address", () => ({ listen: "what:ever" }), "INVALID_ARGUMENT"],
    [
      "a data directory that is a file",
      () => {
        writeFileSync(join(folder, "data"), "");
        return {};
      },
      "INVALID_ARGUMENT",
    ],
    [
      "an identity file of something else",
      () => {
        mkdirSync(join(folder, "data"));
        writeFileSync(join(folder, "data/node.json"), "{}");
        return {};
      },
      "INVALID_ARGUMENT",
    ],
  ])("%s stops it with what to do", async (_what, config, code) => {
    const failure = start(config());
    await expect(failure).rejects.toMatchObject({ code, action: expect.stringMatching(/\w+.*\.$/) as string });
  });

  test("a taken port is found before any database is touched", async () => {
    const blocker = createServer();
    await new Promise<void>((resolve) => blocker.listen(0, "127.0.0.1", resolve));
    afterTest(() => void blocker.close());
    const { port } = blocker.address() as { port: number };
    const path = database("a.db");
    await expect(start({ listen: `127.0.0.1:${port}`, databases: [{ name: "main", path }] })).rejects.toMatchObject({ code: "PORT_TAKEN" });
    const db = new Database(path);
    expect(db.prepare("SELECT count(*) FROM sqlite_schema WHERE name LIKE '%scoutsync%'").pluck().get()).toBe(0);
    db.close();
    expect(existsSync(join(folder, "data"))).toBe(false);
  });
});

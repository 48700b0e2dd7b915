import { boundOf, createDatabase, dumpDatabase, Fleet, scoutsync, selectOne, startWriter, until } from "@scoutsync/testkit";
import { createServer } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

const SCHEMA = "CREATE TABLE note(id INTEGER PRIMARY KEY, body TEXT)";

let fleet: Fleet;
beforeEach(() => {
  fleet = new Fleet("errors");
});
afterEach(() => fleet.stop());

const node = (...flags: string[]) =>
  scoutsync(["node", "--name", "n", "--listen", "127.0.0.1:0", "--data", fleet.path("n", "data"), ...flags]);
/** The command's own last words; logs are JSON lines beside them. */
const words = (stderr: string) =>
  stderr
    .split("\n")
    .filter((line) => line.startsWith("scoutsync: "))
    .join("\n");

function expectClear(stderr: string, ...parts: (string | RegExp)[]): void {
  const said = words(stderr);
  for (const part of parts) expect(said).toMatch(part);
  // What happened, and what to do about it; no stack, one line.
  expect(said).toMatch(/\. [A-Z][^\n]+$/);
  expect(said.split("\n").length).toBe(1);
  expect(said).not.toMatch(/\bat .*\.ts:\d+/);
}

describe("a node that cannot start says why and leaves nothing behind", () => {
  test("no such database", async () => {
    const path = fleet.path("nothing", "app.db");
    const { code, stderr, stdout } = await node("--db", `app=${path}`);
    expect(code).toBe(2);
    expect(stdout).toBe("");
    expectClear(stderr, path);
    expect(existsSync(path)).toBe(false);
  });

  test("not SQLite", async () => {
    const path = fleet.path("text", "app.db");
    writeFileSync(path, "dear diary, ".repeat(500));
    const { code, stderr } = await node("--db", `app=${path}`);
    expect(code).toBe(2);
    expectClear(stderr, path, /not a SQLite database/i);
    expect(readFileSync(path, "utf8")).toBe("dear diary, ".repeat(500));
    expect(readdirSync(fleet.path("text", "app.db").replace(/app\.db$/, ""))).toEqual(["app.db"]);
  });

  test("locked for longer than the busy timeout", async () => {
    const path = createDatabase(fleet.path("locked", "app.db"), SCHEMA);
    const before = dumpDatabase(path);
    const holder = new DatabaseSync(path, { timeout: 10_000 });
    holder.exec("BEGIN EXCLUSIVE");
    try {
      const { code, stderr } = await node("--db", `app=${path}`);
      expect(code).toBe(1);
      expectClear(stderr, path, /lock/i);
    } finally {
      holder.exec("ROLLBACK");
      holder.close();
    }
    expect(dumpDatabase(path)).toEqual(before);
  });

  test("port taken", async () => {
    const path = createDatabase(fleet.path("port", "app.db"), SCHEMA);
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
    const address = taken.address();
    const port = typeof address === "object" && address ? address.port : 0;
    try {
      const { code, stderr } = await scoutsync(["node", "--name", "n", "--listen", `127.0.0.1:${port}`, "--db", `app=${path}`]);
      expect(code).toBe(1);
      expectClear(stderr, `127.0.0.1:${port}`);
    } finally {
      taken.close();
    }
  });

  test("a second node on the same file", async () => {
    const path = createDatabase(fleet.path("twice", "app.db"), SCHEMA);
    await fleet.node({ name: "first", databases: { app: path } });
    const { code, stderr } = await node("--db", `app=${path}`);
    expect(code).toBe(1);
    expectClear(stderr, path);
  });
});

test("Redis unreachable: the coordinator serves what needs no queue and says what is missing", async () => {
  const coordinator = await fleet.coordinator({ redis: "redis://127.0.0.1:1" });
  const problem = await until(
    async () =>
      (await scoutsync(["status", "--coordinator", coordinator.address, "--json"])).json<{ jobs: { problem?: string } }>().jobs.problem,
    { what: "the status to name the problem", withinMs: 20_000 },
  );
  expect(problem).toMatch(/redis/i);
  expect(problem).toContain("127.0.0.1:1");
  expect(problem).toMatch(/\. [A-Z]/);
});

test("peer unreachable: the session fails with the reason and moves nothing", async () => {
  const path = createDatabase(fleet.path("a", "app.db"), SCHEMA);
  const a = await fleet.node({ name: "a", databases: { app: path } });
  const done = await fleet.sync(a, "127.0.0.1:1");
  expect(done.code).toBe(1);
  expect(done.json()).toMatchObject({
    success: false,
    verified: false,
    errors: [{ code: "PEER_UNREACHABLE", message: expect.stringContaining("127.0.0.1:1") as string }],
  });
});

test("a database the node does not have, a row that is not there", async () => {
  const path = createDatabase(fleet.path("a", "app.db"), SCHEMA);
  const a = await fleet.node({ name: "a", databases: { app: path } });
  const changes = await scoutsync(["changes", a.address, "--db", "other", "--count"]);
  expect(changes.code).toBe(2);
  expectClear(changes.stderr, "other");
  const review = await scoutsync(["review", "show", a.address, "nothing"]);
  expect(review.code).toBe(1);
  expectClear(review.stderr, "nothing");
});

test("doctor says beforehand which scopes cannot be served from a database, and why", async () => {
  const path = createDatabase(
    fleet.path("scoped.db"),
    `CREATE TABLE pit(id INTEGER PRIMARY KEY, team INTEGER); CREATE TABLE tally(team INTEGER); CREATE TABLE journal(id INTEGER PRIMARY KEY, text TEXT);
     CREATE TABLE sum(team INTEGER PRIMARY KEY, pits INTEGER);
     CREATE TRIGGER count_pits AFTER INSERT ON pit BEGIN INSERT INTO journal(text) VALUES('a pit'); UPDATE sum SET pits = pits + 1 WHERE team = NEW.team; END;`,
  );
  const file = (name: string, tables: string) => {
    writeFileSync(fleet.path(name), `team:\n  main: ${tables}\n`);
    return ["doctor", "--db", path, "--scopes", fleet.path(name), "--json"];
  };
  const ask = async (name: string, tables: string) => {
    const { code, json } = await scoutsync(file(name, tables));
    const { status, problems } = json<{ status: string; problems: { severity: string; message: string }[] }>();
    return { code, status, wrong: problems.filter(({ severity }) => severity === "error").map(({ message }) => message) };
  };
  expect(await ask("good.yaml", '{ journal: all, pit: { where: "team = 1" }, sum: { where: "team = 1" } }')).toEqual({
    code: 0,
    status: "ready",
    wrong: [],
  });
  expect(await ask("keyless.yaml", '{ tally: { where: "team = 1" } }')).toEqual({
    code: 1,
    status: "refused",
    // What to do stands beside it, once.
    wrong: [expect.stringMatching(/^scope "team": table "tally" has no primary key: nothing tells its equal rows apart.* in a scope$/)],
  });
  expect(await ask("trigger.yaml", '{ pit: { where: "team = 1" }, sum: { where: "team = 1" } }')).toMatchObject({
    code: 1,
    wrong: [expect.stringMatching(/trigger "count_pits" writes to tables of the scope and.*outside of it/)],
  });
  const unnamed = await scoutsync([...file("other.yaml", "{ pit: all }"), "--as", "stands"]);
  expect(unnamed).toMatchObject({ code: 2, stderr: expect.stringContaining('names a database "stands"') });
});

test("doctor explains, node attaches, detach leaves the file as it was", async () => {
  const path = createDatabase(fleet.path("d", "app.db"), `${SCHEMA}; INSERT INTO note(body) VALUES ('kept')`);
  const before = dumpDatabase(path);
  const schema = schemaOf(path);
  const doctor = await scoutsync(["doctor", "--db", path, "--json"]);
  expect(doctor.code, doctor.stderr).toBe(0);
  expect(doctor.json()).toMatchObject({
    path,
    status: "ready",
    journal_mode: "delete",
    rows: 1,
    tables: [{ name: "note", synced: true, identity: "surrogate", rows: 1 }],
  });
  const attached = await fleet.node({ name: "d", databases: { app: path } });
  const running = await scoutsync(["detach", "--db", path]);
  expect(running.code).toBe(1);
  expectClear(running.stderr, path);
  await attached.stop();
  expect((await scoutsync(["doctor", "--db", path, "--json"])).json()).toMatchObject({ status: "attached" });
  const detached = await scoutsync(["detach", "--db", path, "--json"]);
  expect(detached.code, detached.stderr).toBe(0);
  expect(detached.json()).toMatchObject({ path, journal_mode: "delete" });
  expect(dumpDatabase(path)).toEqual(before);
  expect(schemaOf(path)).toEqual(schema);
  expect(readdirSync(path.replace(/app\.db$/, "")).filter((name) => name.startsWith("app.db"))).toEqual(["app.db"]);
  for (const command of ["doctor", "detach"]) {
    const missing = await scoutsync([command, "--db", `${path}.not`]);
    expect(missing.code).toBe(2);
    expectClear(missing.stderr, `${path}.not`);
  }
});

test("a node ends with exit code 0 on SIGTERM, and its last writes are durable", async () => {
  const path = createDatabase(fleet.path("t", "app.db"), SCHEMA);
  const t = await fleet.node({ name: "t", databases: { app: path } });
  const writer = startWriter();
  await writer.write({ path, statements: [["INSERT INTO note(body) VALUES ('just before')", []]] });
  await writer.stop();
  expect(await t.process.stop()).toEqual({ code: 0, signal: null });
});

test("a node that sleeps fails sessions in bounded time, whoever waits for it; awake again the next one goes on", async () => {
  const start = async (name: string) => {
    const path = createDatabase(fleet.path(name, "app.db"), SCHEMA);
    return { path, ...(await fleet.node({ name, databases: { app: path } })) };
  };
  const [a, b, c] = [await start("a"), await start("b"), await start("c")];
  const rowsOf = (path: string) => selectOne(path, "SELECT count(*) FROM note");
  const sync = (from: { address: string }, to: { address: string }) =>
    scoutsync(["sync", from.address, to.address, "--json"], { withinMs: boundOf(100_000) });
  const large = new DatabaseSync(a.path, { timeout: 10_000 });
  large.exec(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000) INSERT INTO note(body) SELECT hex(randomblob(1000)) FROM n",
  );
  large.close();

  const asleep: number[] = [];
  const stop = (pid: number) => {
    asleep.push(pid);
    process.kill(pid, "SIGSTOP");
  };
  try {
    // As a closed laptop: the system takes the connection, and nobody answers.
    stop(c.process.pid);
    const tries = [sync(a, c), sync(c, a)];
    // In the middle of a session, which cannot end: an application there holds the lock.
    const holder = new DatabaseSync(b.path, { timeout: 10_000 });
    holder.exec("BEGIN IMMEDIATE");
    const cut = sync(a, b);
    await pause(3_000);
    stop(b.process.pid);
    holder.close();
    for (const [done, address] of [
      [await tries[0]!, c.address],
      [await tries[1]!, c.address],
      [await cut, b.address],
    ] as const) {
      expect(done.code, `${address}: ${done.stderr}`).toBe(1);
      expect(done.json()).toMatchObject({ success: false, errors: [{ code: "PEER_UNREACHABLE" }] });
      expectClear(done.stderr, address, /awake/, /Nothing is lost/);
    }
    expect(rowsOf(b.path)).toBe(0n);
  } finally {
    for (const pid of asleep) process.kill(pid, "SIGCONT");
  }
  for (const one of [b, c]) {
    const done = await sync(a, one);
    expect(done.code, done.stderr).toBe(0);
    expect(dumpDatabase(one.path)).toEqual(dumpDatabase(a.path));
  }
}, 900_000);

/** What plain SQLite says the file consists of. */
function schemaOf(path: string): string {
  const open = new DatabaseSync(path, { readOnly: true, timeout: 10_000 });
  try {
    return JSON.stringify(open.prepare("SELECT type, name, sql FROM sqlite_schema ORDER BY name").all());
  } finally {
    open.close();
  }
}

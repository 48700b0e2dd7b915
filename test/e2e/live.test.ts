import { createDatabase, Fleet, scoutsync, selectOne, startWriter, until, type Writer } from "@scoutsync/testkit";
import { afterEach, beforeEach, expect, test } from "vitest";

const SCHEMA = "CREATE TABLE note(id INTEGER PRIMARY KEY, body TEXT NOT NULL); CREATE TABLE tag(name TEXT PRIMARY KEY, color TEXT)";

let fleet: Fleet;
let writer: Writer;
beforeEach(() => {
  fleet = new Fleet("live");
  writer = startWriter();
});
afterEach(async () => {
  await writer.stop();
  await fleet.stop();
});

const database = (node: string) => createDatabase(fleet.path(node, "app.db"), SCHEMA);
const note = (path: string, body: string) => writer.write({ path, statements: [["INSERT INTO note(body) VALUES (?)", [body]]] });
const has = (path: string, body: string) => selectOne(path, "SELECT count(*) FROM note WHERE body = ?", body) === 1n;

test("two nodes with --peer converge live, without a coordinator", async () => {
  const paths = [database("a"), database("b")] as const;
  const a = await fleet.node({ name: "a", databases: { app: paths[0] } });
  const b = await fleet.node({ name: "b", databases: { app: paths[1] }, peers: [a.address] });
  await note(paths[0], "from a");
  await note(paths[1], "from b");
  await until(() => has(paths[1], "from a") && has(paths[0], "from b"), { what: "both notes on both nodes" });

  // One link is enough in both directions, and it comes back by itself.
  await b.kill();
  await note(paths[0], "while b is away");
  await note(paths[1], "b's application did not notice");
  await b.restart();
  await until(() => has(paths[1], "while b is away") && has(paths[0], "b's application did not notice"), { what: "what was missed" });
  const verified = async () => {
    const { code, json } = await scoutsync(["verify", a.address, b.address, "--json"]);
    return code === 0 && json();
  };
  const found = await until(verified, { what: "both to be called equal" });
  expect(found).toMatchObject({ equal: true, databases: [{ name: "app", equal: true, differences: [] }], files: [] });
});

test("a session by hand moves both ways, verifies, and a second one moves nothing", async () => {
  const paths = [database("a"), database("b")] as const;
  const a = await fleet.node({ name: "a", databases: { app: paths[0] } });
  const b = await fleet.node({ name: "b", databases: { app: paths[1] } });
  for (let at = 0; at < 20; at++) {
    await writer.write({ path: paths[at % 2 === 0 ? 0 : 1], statements: [["INSERT INTO tag VALUES (?, 'red')", [`tag ${at}`]]] });
  }
  const first = await fleet.sync(a, b);
  expect(first.code, first.stderr).toBe(0);
  expect(first.json()).toMatchObject({
    success: true,
    stats: { local_changes_sent: 10, remote_changes_received: 10, remote_changes_applied: 10, conflicts: 0, parked: 0, files_uploaded: 0 },
    verified: true,
    errors: [],
  });
  expect(selectOne(paths[0], "SELECT count(*) FROM tag")).toBe(20n);
  expect(selectOne(paths[1], "SELECT count(*) FROM tag")).toBe(20n);
  const second = await fleet.sync(a, b);
  expect(second.json()).toMatchObject({
    success: true,
    verified: true,
    stats: { local_changes_sent: 0, remote_changes_received: 0, remote_changes_applied: 0 },
  });
});

test("changes are relayed: A and C never meet", async () => {
  const paths = [database("a"), database("b"), database("c")] as const;
  const a = await fleet.node({ name: "a", databases: { app: paths[0] } });
  const b = await fleet.node({ name: "b", databases: { app: paths[1] } });
  const c = await fleet.node({ name: "c", databases: { app: paths[2] } });
  await note(paths[0], "from a");
  await note(paths[2], "from c");
  for (const [node, peer] of [
    [b, a],
    [b, c],
    [b, a],
  ] as const) {
    const done = await fleet.sync(node, peer);
    expect(done.code, done.stdout + done.stderr).toBe(0);
  }
  expect(has(paths[2], "from a")).toBe(true);
  expect(has(paths[0], "from c")).toBe(true);
  expect((await scoutsync(["verify", a.address, c.address, "--json"])).json()).toMatchObject({ equal: true });
});

test("ping, changes and history say what was written, by whom", async () => {
  const path = database("a");
  const a = await fleet.node({ name: "a", databases: { app: path } });
  await writer.write({ path, statements: [["INSERT INTO tag VALUES ('red', '#f00')", []]] });
  await until(
    async () => (await scoutsync(["changes", a.address, "--db", "app", "--count", "--json"])).json<{ count: number }>().count === 1,
    { what: "the change" },
  );
  const ping = (await scoutsync(["ping", a.address, "--json"])).json<{
    databases: { vector: string; digest: string; pending: number }[];
  }>();
  expect(ping).toMatchObject({ name: "a", databases: [{ name: "app", pending: 0, parked: 0, conflicts: 0, rows: 1 }], files: [] });
  expect(ping.databases[0]?.digest).toMatch(/^[0-9a-f]{32}$/);
  const changes = await scoutsync(["changes", a.address, "--db", "app", "--json"]);
  expect(changes.json()).toMatchObject([{ table: "tag", operation: "insert", author: "a", columns: { name: "red", color: "#f00" } }]);
  const nothing = await scoutsync(["changes", a.address, "--db", "app", "--since", ping.databases[0]?.vector ?? "", "--json"]);
  expect(nothing.json()).toEqual([]);
  await writer.write({ path, statements: [["UPDATE tag SET color = 'blue' WHERE name = 'red'", []]] });
  await until(
    async () => {
      const history = await scoutsync(["history", a.address, "--db", "app", "tag", "red", "--json"]);
      return history.code === 0 && JSON.stringify(history.json()).includes('"blue"');
    },
    { what: "the edit in the history" },
  );
});

test("what was committed together is seen together, behind a relay too", async () => {
  const ROWS = 30_000;
  const paths = [database("a"), database("b"), database("c")] as const;
  const a = await fleet.node({ name: "a", databases: { app: paths[0] } });
  const b = await fleet.node({ name: "b", databases: { app: paths[1] }, peers: [a.address] });
  await fleet.node({ name: "c", databases: { app: paths[2] }, peers: [b.address] });
  await note(paths[0], "they are in touch");
  await until(() => has(paths[2], "they are in touch"), { what: "the first note at the end of the chain" });
  const statements = Array.from({ length: ROWS }, (_, i): [string, string[]] => ["INSERT INTO note(body) VALUES (?)", [`together ${i}`]]);
  await writer.write({ path: paths[0], statements });
  const seen = new Set<bigint>();
  const count = (path: string) => selectOne(path, "SELECT count(*) FROM note WHERE body LIKE 'together %'") as bigint;
  await until(
    () => {
      for (const path of paths.slice(1)) seen.add(count(path));
      return count(paths[2]) === BigInt(ROWS);
    },
    { what: "the transaction at the end of the chain", everyMs: 5, withinMs: 90_000 },
  );
  expect([...seen].filter((rows) => rows !== 0n && rows !== BigInt(ROWS))).toEqual([]);
});

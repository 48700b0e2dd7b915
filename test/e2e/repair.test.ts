import { DatabaseSync } from "node:sqlite";
import { createDatabase, differences, dumpDatabase, Fleet, scoutsync, selectOne } from "@scoutsync/testkit";
import { afterEach, beforeEach, expect, test } from "vitest";

let fleet: Fleet;
beforeEach(() => {
  fleet = new Fleet("repair");
});
afterEach(() => fleet.stop());

interface Verified {
  equal: boolean;
  databases: { differences: { key: string; columns: string[] }[]; repaired?: { key: string; columns: string[] }[] }[];
}

test("a file changed behind everybody's back is found row by row, and mended without losing either value", async () => {
  const schema = "CREATE TABLE team(number INTEGER PRIMARY KEY, name TEXT, notes TEXT)";
  const paths = { a: createDatabase(fleet.path("a", "app.db"), schema), b: createDatabase(fleet.path("b", "app.db"), schema) };
  const database = new DatabaseSync(paths.a, { timeout: 10_000 });
  database.exec("INSERT INTO team VALUES (1, 'one', ''), (2, 'two', ''), (3, 'three', '')");
  database.close();
  const a = await fleet.node({ name: "a", databases: { app: paths.a } });
  const b = await fleet.node({ name: "b", databases: { app: paths.b } });
  expect((await fleet.sync(a, b)).code).toBe(0);
  const verify = async (...flags: string[]) => {
    const done = await scoutsync(["verify", a.address, b.address, "--json", ...flags]);
    return { code: done.code, ...done.json<Verified>() };
  };
  expect(await verify()).toMatchObject({ code: 0, equal: true });

  const behind = new DatabaseSync(paths.b, { timeout: 10_000 });
  behind.exec(
    "BEGIN IMMEDIATE; INSERT INTO _scoutsync_applying VALUES (1); UPDATE team SET name = 'zwei' WHERE number = 2; DELETE FROM team WHERE number = 3; DELETE FROM _scoutsync_applying; COMMIT",
  );
  behind.close();
  expect(await verify("--stored")).toMatchObject({ code: 0, equal: true });
  const found = await verify();
  expect(found).toMatchObject({ code: 1, equal: false });
  expect(found.databases[0]?.differences).toEqual(
    expect.arrayContaining([
      { table: "team", key: "2", columns: ["name"] },
      { table: "team", key: "3", columns: [] },
    ]),
  );
  const mended = await verify("--repair");
  expect(mended).toMatchObject({ code: 0, equal: true });
  expect(mended.databases[0]?.repaired).toHaveLength(2);
  expect(differences(dumpDatabase(paths.a), dumpDatabase(paths.b))).toEqual([]);
  expect(selectOne(paths.a, "SELECT name FROM team WHERE number = 2")).toBe("zwei");
  for (const node of [a, b]) {
    for (const [key, lost] of [
      ["2", "two"],
      ["3", "three"],
    ] as const) {
      const history = await scoutsync(["history", node.address, "--db", "app", "team", key, "--json"]);
      expect(history.stdout, `${node.name} ${key}`).toContain(lost);
    }
  }
  expect(await verify("--repair")).toMatchObject({ code: 0, databases: [{ repaired: [] }] });
  expect((await fleet.sync(a, b)).json()).toMatchObject({ verified: true });
});

test("a mass delete that is kept back is no equality: verify says so from either node, until it is decided", async () => {
  const schema = "CREATE TABLE team(number INTEGER PRIMARY KEY, name TEXT)";
  const paths = { a: createDatabase(fleet.path("a", "app.db"), schema), b: createDatabase(fleet.path("b", "app.db"), schema) };
  const rows = () => [paths.a, paths.b].map((path) => selectOne(path, "SELECT count(*) FROM team"));
  const write = (sql: string) => {
    const database = new DatabaseSync(paths.b, { timeout: 10_000 });
    database.exec(sql);
    database.close();
  };
  write("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 250) INSERT INTO team SELECT i, 'team ' || i FROM n");
  const a = await fleet.node({ name: "a", databases: { app: paths.a } });
  const b = await fleet.node({ name: "b", databases: { app: paths.b } });
  expect((await fleet.sync(a, b)).code).toBe(0);
  expect((await scoutsync(["verify", a.address, b.address, "--json"])).json()).toMatchObject({
    equal: true,
    databases: [{ kept_back: [] }],
  });
  write("DELETE FROM team WHERE number > 75");
  expect((await fleet.sync(a, b)).code).toBe(0);
  expect(rows()).toEqual([250n, 75n]);

  let review = "";
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    const found = await scoutsync(["verify", from.address, to.address, "--json"]);
    expect(found.code, found.stdout).toBe(1);
    const { equal, databases } = found.json<{
      equal: boolean;
      databases: { equal: boolean; differences: unknown[]; kept_back: { node: string; review: string; table: string; reason: string }[] }[];
    }>();
    expect({ equal, databases }).toMatchObject({ equal: false, databases: [{ equal: false, differences: [], kept_back: [{}] }] });
    const [kept] = databases[0]?.kept_back ?? [];
    expect(kept).toMatchObject({ node: b.address, table: "team" });
    expect(kept?.reason).toContain('175 of 250 rows of "team"');
    review = kept?.review ?? "";
  }
  const said = await scoutsync(["verify", a.address, b.address]);
  expect(said.stdout).toContain(`kept back at ${b.address}: team`);
  expect(said.stdout).toContain(`scoutsync review resolve ${b.address} ${review}`);

  expect((await scoutsync(["review", "resolve", b.address, review, "--release"])).code).toBe(0);
  expect((await fleet.sync(a, b)).code).toBe(0);
  expect(rows()).toEqual([75n, 75n]);
  const after = await scoutsync(["verify", a.address, b.address, "--json"]);
  expect({ code: after.code, ...after.json<Verified>() }).toMatchObject({ code: 0, equal: true, databases: [{ kept_back: [] }] });
});

test("a row that a CHECK of one node alone keeps out fails no session, from either node, and each says so", async () => {
  const paths = {
    a: createDatabase(fleet.path("a", "app.db"), "CREATE TABLE team(number INTEGER PRIMARY KEY, name TEXT)"),
    b: createDatabase(fleet.path("b", "app.db"), "CREATE TABLE team(number INTEGER PRIMARY KEY, name TEXT CHECK (name <> 'refused'))"),
  };
  const a = await fleet.node({ name: "a", databases: { app: paths.a } });
  const b = await fleet.node({ name: "b", databases: { app: paths.b } });
  const database = new DatabaseSync(paths.a, { timeout: 10_000 });
  database.exec("INSERT INTO team VALUES (1, 'one'), (2, 'refused')");
  database.close();
  for (const [from, to] of [
    [a, b],
    [a, b],
    [b, a],
  ] as const) {
    const done = await fleet.sync(from, to);
    expect(done.code, done.stdout + done.stderr).toBe(0);
    expect(done.json()).toMatchObject({ success: true, errors: [] });
  }
  const last = (await fleet.sync(b, a)).json<{ verified: boolean; kept_out: string[] }>();
  expect(last).toMatchObject({ verified: false, kept_out: [expect.stringContaining("one row")] });
  expect(selectOne(paths.b, "SELECT count(*) FROM team")).toBe(1n);
  expect((await scoutsync(["verify", a.address, b.address])).code).toBe(1);
});

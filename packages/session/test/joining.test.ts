import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openReplicaPool, type Replica } from "@scoutsync/replica";
import { Acquaintances, rehearse, runSession } from "../src/index.ts";
import { DirectPeer } from "./direct-peer.ts";
import { afterTest, openTestReplica, type TestReplica } from "./test-replica.ts";

const COMMON = "CREATE TABLE t(k TEXT PRIMARY KEY, v TEXT); INSERT INTO t VALUES('a', '1'), ('b', '2'), ('c', '3')";
const HERE = `${COMMON}; UPDATE t SET v = 'here' WHERE k = 'b'; INSERT INTO t VALUES('h', '')`;
const THERE = `${COMMON}; UPDATE t SET v = 'there' WHERE k = 'b'; DELETE FROM t WHERE k = 'c'; INSERT INTO t VALUES('t1', ''), ('t2', '')`;

async function meeting(choices: { here?: "shared" | "distinct"; there?: "shared" | "distinct" }) {
  const here = await openTestReplica({ baseline: choices.here ?? null }, HERE);
  const there = await openTestReplica({ baseline: choices.there ?? null }, THERE);
  const peer = new DirectPeer(there);
  const session = () =>
    runSession({ databases: [{ replica: here, acquaintances: new Acquaintances() }], peer, nodeName: "here", named: false, retries: 0 });
  return { here, there, peer, session };
}

test("without a word a session stops and shows how the rows differ", async () => {
  const { here, there, session } = await meeting({});
  const before = [here.rows(), there.rows()];
  const { success, errors } = await session();
  expect(success).toBe(false);
  expect(errors).toHaveLength(1);
  expect(errors[0]?.code).toBe("BASELINE_CHOICE");
  const message = errors[0]?.message ?? "";
  expect(message).toContain("t: 1 rows equal, 1 with the same key differ (b), 2 only here (c; h), 2 only there (t1; t2)");
  expect(message).toContain("--baseline shared");
  expect(message).toContain("--baseline distinct");
  expect([here.rows(), there.rows()]).toEqual(before);
});

test("where the rows have become equal since they were attached the question does not say that they differ", async () => {
  const { here, there, session } = await meeting({});
  here.application.exec(
    "UPDATE t SET v = 'there' WHERE k = 'b'; DELETE FROM t WHERE k IN ('c', 'h'); INSERT INTO t VALUES('t1', ''), ('t2', '')",
  );
  expect(here.rows()).toEqual(there.rows());
  const { errors } = await session();
  expect(errors).toMatchObject([{ code: "BASELINE_CHOICE", message: expect.stringContaining("t: 4 rows equal") as string }]);
  expect(errors[0]?.message).not.toContain("the rows differ");
});

test.each([{ here: "shared" as const }, { there: "shared" as const }])("one word of either side is enough: %o", async (choices) => {
  const { here, there, session } = await meeting(choices);
  expect(await session()).toMatchObject({ success: true, verified: true, errors: [] });
  expect(here.rows()).toEqual(there.rows());
  expect(Object.keys(here.rows())).toEqual(["a", "b", "c", "h", "t1", "t2"]);
  const [conflict, ...others] = await here.reviews({ kind: "conflict", id: "", limit: 10 });
  expect(others).toEqual([]);
  expect(new Set([conflict?.winner?.value, conflict?.loser?.value])).toEqual(new Set(["here", "there"]));
  // And once joined, nobody asks again, and nothing moves.
  expect(await session()).toMatchObject({ success: true, verified: true, stats: { localChangesSent: 0, remoteChangesReceived: 0 } });
});

const IDS = `CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT, city TEXT);
  CREATE TABLE robot(team INTEGER REFERENCES team(id), slot TEXT, note TEXT, PRIMARY KEY(team, slot));
  INSERT INTO team VALUES(1, 'one', 'Rome'), (2, 'two', 'Bonn'), (3, 'three', 'Oslo'); INSERT INTO robot VALUES(1, 'a', 'x'), (2, 'a', 'y');
  CREATE TABLE visit(line TEXT, n); INSERT INTO visit VALUES('x', 1), ('x', 1), ('y', 2)`;

/** Everything in a file, sync metadata included. */
function contents({ application }: TestReplica): string {
  const tables = application.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").pluck().all() as string[];
  return tables.map((table) => JSON.stringify([table, application.prepare(`SELECT * FROM "${table}"`).raw().all()])).join("\n");
}

test.each(["shared", "distinct"] as const)("a dry run says what the session then does, and changes nothing: %s", async (baseline) => {
  const here = await openTestReplica(
    { baseline },
    `${IDS}; UPDATE team SET city = 'here' WHERE id = 1; UPDATE robot SET note = 'z' WHERE team = 2; DELETE FROM visit WHERE line = 'y'`,
  );
  const there = await openTestReplica(
    {},
    `${IDS}; UPDATE team SET city = 'there' WHERE id = 1; INSERT INTO team VALUES(9, 'only there', ''); INSERT INTO visit VALUES('x', 1), ('only there', 1)`,
  );
  const folder = mkdtempSync(join(tmpdir(), "scoutsync-copy-"));
  afterTest(() => rmSync(folder, { recursive: true, force: true }));
  const pool = openReplicaPool({ threads: 1 });
  afterTest(() => pool.close());
  const withCopy = async <T>(work: (copy: Replica) => Promise<T>): Promise<T> => {
    const path = join(folder, "copy.db");
    await here.copyTo(path);
    const names = { name: "main", nodeName: "node", nodeId: "copy", exclude: [] };
    const copy = await pool.open({ ...names, path, baseline, busyTimeoutMs: 100, pollIntervalMs: 1_000, trial: true });
    const done = await work(copy);
    await copy.close();
    return done;
  };
  const peer = new DirectPeer(there);
  const before = [contents(here), contents(there)];
  const said = await rehearse({ replica: here, peer, withCopy });
  expect([contents(here), contents(there)]).toEqual(before);
  expect(said.error).toBeNull();
  expect(said.tables).toMatchObject([
    { table: "team", equal: 2, different: 1, onlyHere: 0, onlyThere: 1, exact: true },
    { table: "robot", equal: 1, different: 1, onlyHere: 0, onlyThere: 0, exact: true },
    // Without a key, so a row is what it holds, and which of those that hold the same.
    { table: "visit", equal: 2, different: 0, onlyHere: 0, onlyThere: 3, exact: true },
  ]);
  const acquaintances = new Acquaintances();
  const doubts: string[] = [];
  const session = { databases: [{ replica: here, acquaintances }], peer, nodeName: "here", named: false, retries: 0 };
  const { success, stats } = await runSession({ ...session, onDoubt: (text) => doubts.push(text) });
  expect(success).toBe(true);
  // Most rows are equal: as distinct they exist twice, and somebody should know. Once.
  await runSession({ ...session, onDoubt: (text) => doubts.push(text) });
  expect(doubts).toHaveLength(baseline === "distinct" ? 1 : 0);
  expect(said).toMatchObject({
    receive: stats.remoteChangesReceived,
    apply: stats.remoteChangesApplied,
    conflict: stats.conflicts,
    park: stats.parked,
    rekey: here.application.prepare("SELECT count(*) FROM team WHERE id > 1000").pluck().get(),
  });
  expect(here.application.prepare("SELECT count(*) FROM visit").pluck().get()).toBe(baseline === "shared" ? 2 + 3 : 2 + 5);
  // Joined, both call the rows the same, and a dry run does not take those of the other copy for others.
  expect(
    (await rehearse({ replica: here, peer, withCopy: (work) => work(here) })).tables.map(({ equal, onlyThere }) => [equal, onlyThere]),
  ).toEqual(
    baseline === "shared"
      ? [
          [4, 0],
          [2, 0],
          [5, 0],
        ]
      : [
          [7, 0],
          [4, 0],
          [7, 0],
        ],
  );
  expect(said.conflict).toBe(baseline === "shared" ? 2 : 0);
  expect(said.rekey).toBe(baseline === "shared" ? 0 : 3);
});

test("a dry run where nobody said what the rows are says so, beside the difference", async () => {
  const { here, peer } = await meeting({});
  const said = await rehearse({ replica: here, peer, withCopy: (work) => work(here) });
  expect(said.error?.code).toBe("BASELINE_CHOICE");
  expect(said.tables).toMatchObject([{ table: "t", equal: 1, different: 1, onlyHere: 2, onlyThere: 2 }]);
});

test("joining files as shared whose rows have nothing but their keys in common is done with a warning", async () => {
  const rows = (name: string) =>
    `CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES(1, '${name} 1'), (2, '${name} 2'), (3, 'x')`;
  const here = await openTestReplica({ baseline: "shared" }, rows("here"));
  const peer = new DirectPeer(await openTestReplica({}, rows("there")));
  const doubts: string[] = [];
  const databases = [{ replica: here, acquaintances: new Acquaintances() }];
  const { success } = await runSession({
    databases,
    peer,
    nodeName: "here",
    named: false,
    retries: 0,
    onDoubt: (text) => doubts.push(text),
  });
  expect(success).toBe(true);
  expect(doubts.join()).toContain("2 differ and only 1 are equal");
});

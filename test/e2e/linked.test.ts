import { spawn } from "node:child_process";
import { copyFileSync, rmSync, writeFileSync } from "node:fs";
import { boundOf, BUSY_MS, createDatabase, Fleet, type FleetNode, isPythonHere, scoutsync, select, until } from "@scoutsync/testkit";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

vi.setConfig({ testTimeout: boundOf(360_000) });

const USERS = "CREATE TABLE user(id INTEGER PRIMARY KEY, name TEXT)";
const SCOUTING = "CREATE TABLE scouting_data(id INTEGER PRIMARY KEY, scout_id INTEGER, wrote TEXT, note TEXT)";
const REFERENCE = "scouting.scouting_data.scout_id=users.user.id";

// Two applications as they are: one has a connection for each file, the other writes to both in one transaction. Each row says
// by text whom it was written for; what is printed was committed. It stops at its first error.
const WRITER = `
import random, sqlite3, sys, time
users_path, scouting_path, name, both, seconds = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4] == "both", float(sys.argv[5])
random.seed(name + sys.argv[6])
busy = float(sys.argv[7])
scouting = sqlite3.connect(scouting_path, timeout=busy, isolation_level=None)
users = scouting if both else sqlite3.connect(users_path, timeout=busy, isolation_level=None)
if both: scouting.execute("ATTACH ? AS users", (users_path,))
table = "users.user" if both else "user"
end = time.time() + seconds
n = 0
while time.time() < end or n < 30:
    n += 1
    if both: scouting.execute("BEGIN IMMEDIATE")
    if n % 3 == 1:
        who = f"{name}-{n}"
        (scout,) = users.execute(f"INSERT INTO {table}(name) VALUES(?) RETURNING id", (who,)).fetchone()
    else:
        scout, who = users.execute(f"SELECT id, name FROM {table} ORDER BY random() LIMIT 1").fetchone()
    # Without a transaction over both a sync may come between: whoever has the integer is meant. Only the other is checked.
    if both or n % 3 == 1: scouting.execute("INSERT INTO scouting_data(scout_id, wrote, note) VALUES(?, ?, ?)", (scout, who if both else None, f"{name}-{n}"))
    if both: scouting.execute("COMMIT")
    if both or n % 3 == 1: print(f"{name}-{n}", flush=True)
    time.sleep(0.02 + random.random() / 50)
`;

let fleet: Fleet;
beforeEach(() => {
  fleet = new Fleet("linked");
});
afterEach(() => fleet.stop());

/** Runs a writer to its end; the notes of what it committed. */
function write(node: FleetNode, both: boolean, seconds: number): Promise<string[]> {
  const script = fleet.path("writer.py");
  writeFileSync(script, WRITER);
  const { users = "", scouting = "" } = node.databases;
  const name = `${node.name}-${both ? "both" : "each"}`;
  return new Promise((resolve, reject) => {
    const child = spawn("python3", [script, users, scouting, name, both ? "both" : "each", String(seconds), "1", String(BUSY_MS / 1_000)]);
    let [out, errors] = ["", ""];
    child.stdout.on("data", (text: Buffer) => (out += text.toString()));
    child.stderr.on("data", (text: Buffer) => (errors += text.toString()));
    child.on("error", reject);
    child.on("close", (code) =>
      code === 0 ? resolve(out.split("\n").filter((line) => line !== "")) : reject(new Error(`${name}: ${errors}`)),
    );
  });
}

test("rows of one database lead to the users of another everywhere, while both are written to and a node is killed", async (context) => {
  if (!isPythonHere()) return context.skip("there is no python3 to write with");
  const nodes: FleetNode[] = [];
  for (const name of ["a", "b", "c"]) {
    const databases = {
      // The one that refers comes first: the node opens them as they need each other.
      scouting: createDatabase(fleet.path(name, "scouting.db"), SCOUTING),
      users: createDatabase(fleet.path(name, "users.db"), USERS),
    };
    nodes.push(
      await fleet.node({
        name,
        databases,
        baseline: null,
        flags: ["--reference", REFERENCE],
        peers: nodes.slice(0, 1).map(({ address }) => address),
      }),
    );
  }
  const [, b] = nodes as [FleetNode, FleetNode, FleetNode];
  const writing = Promise.all(nodes.flatMap((node) => [write(node, true, 5), write(node, false, 5)]));
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  await b.kill();
  await b.restart();
  const written = (await writing).flat().toSorted();
  expect(written.length).toBeGreaterThan(50);

  const notesOf = (node: FleetNode) =>
    select(node.databases["scouting"] as string, "SELECT note FROM scouting_data").map(({ note }) => String(note));
  const within = { withinMs: 60_000, everyMs: 1_000 };
  await until(() => nodes.every((node) => notesOf(node).length === written.length), { ...within, what: "every node has every row" });
  const wrong = (node: FleetNode) => {
    const names = new Map(select(node.databases["users"] as string, "SELECT id, name FROM user").map(({ id, name }) => [id, name]));
    const rows = select(node.databases["scouting"] as string, "SELECT scout_id, wrote, note FROM scouting_data");
    return rows
      .filter(({ scout_id: id, wrote }) => (wrote === null ? !names.has(id ?? null) : names.get(id ?? null) !== wrote))
      .map(({ note }) => note);
  };
  await until(() => nodes.every((node) => wrong(node).length === 0), { ...within, what: "every row leads to its user" });
  for (const node of nodes) {
    expect(notesOf(node).toSorted()).toEqual(written);
    // Some users did move: otherwise nothing was shown.
    expect(select(node.databases["users"] as string, "SELECT count(*) AS n FROM user WHERE id >= 16777216")[0]?.["n"]).not.toBe(0n);
  }
  const doctor = await scoutsync(["doctor", "--db", b.databases["scouting"] as string, "--json"]);
  expect(doctor.stdout).toContain("scout_id refers to users.user");
  const areEqual = async () => (await scoutsync(["verify", nodes[0]?.address ?? "", b.address])).code === 0;
  await until(areEqual, { ...within, what: "two of them to be called equal" });
});

test("users put back alone while the node was down: a row that waited is not taken for who has its number there, and review lists it", async () => {
  const nodes: FleetNode[] = [];
  for (const name of ["a", "b"]) {
    const databases = {
      scouting: createDatabase(fleet.path(name, "scouting.db"), SCOUTING),
      users: createDatabase(fleet.path(name, "users.db"), USERS),
    };
    const peers = nodes.map(({ address }) => address);
    nodes.push(await fleet.node({ name, databases, baseline: null, flags: ["--reference", REFERENCE], peers }));
  }
  const [a] = nodes as [FleetNode, FleetNode];
  const { users = "", scouting = "" } = a.databases;
  // An application opens the file that is there.
  const run = createDatabase;
  const forCat = "INSERT INTO scouting_data(scout_id, wrote) VALUES(2, 'cat')";
  const leadsToCat = (node: FleetNode, rows: number) => {
    const cat = select(node.databases["users"] as string, "SELECT id FROM user WHERE name = 'cat'")[0]?.["id"];
    const found = select(node.databases["scouting"] as string, "SELECT scout_id FROM scouting_data WHERE wrote = 'cat'");
    return found.length === rows && cat !== undefined && found.every(({ scout_id: id }) => id === cat);
  };
  run(users, "INSERT INTO user(name) VALUES('ann')");
  await a.stop();
  copyFileSync(users, fleet.path("users.backup"));
  await a.restart();
  run(users, "INSERT INTO user(name) VALUES('cat')");
  run(scouting, forCat);
  await until(() => nodes.every((node) => leadsToCat(node, 1)), { what: "both to have who signed up after the backup" });
  await a.stop();
  run(scouting, forCat);
  for (const end of ["-wal", "-shm"]) rmSync(`${users}${end}`, { force: true });
  copyFileSync(fleet.path("users.backup"), users);
  run(users, "INSERT INTO user(name) VALUES('zoe')");
  await a.restart();
  await until(() => nodes.every((node) => leadsToCat(node, 2)), { withinMs: 30_000, what: "every row of hers to lead to her" });
  const listed = async () => {
    const list = (await scoutsync(["review", "list", a.address, "--kind", "identity", "--json"])).json<object[]>();
    return list.length > 0 && list;
  };
  expect(await until(listed, { what: "the row that waited in the list" })).toMatchObject([{ column: "scout_id", key: "2" }]);
});

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import {
  differences,
  dumpDatabase,
  Fleet,
  integrityProblems,
  scoutsync,
  select,
  selectOne,
  startWriter,
  type FleetNode,
  type Writer,
} from "@scoutsync/testkit";
import { afterEach, beforeEach, expect, test } from "vitest";
import { SERVERS, type Server } from "./history.ts";

let fleet: Fleet;
let writer: Writer;
beforeEach(() => {
  fleet = new Fleet("upgrade");
  writer = startWriter();
});
afterEach(async () => {
  await writer.stop();
  await fleet.stop();
});

const app = (server: Server) => fleet.path(server, "app.db");
const write = (server: Server, sql: string) => writer.write({ path: app(server), statements: [[sql, []]], pragmas: ["foreign_keys=ON"] });

/** What the released version left of this server, as it was when its node was killed. */
function unpack(commit: string, server: Server): void {
  const kept = fileURLToPath(new URL(`released/${commit}/${server}`, import.meta.url));
  writeFileSync(app(server), gunzipSync(readFileSync(`${kept}/app.db.gz`)));
  for (const file of readdirSync(`${kept}/data`)) {
    const path = fleet.path(server, "node-data", file);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, readFileSync(`${kept}/data/${file}`, "utf8").replaceAll("FOLDER", fleet.directory));
  }
}

interface Review {
  kind: string;
  table: string;
  column?: string;
  loser: { value: string | number } | null;
}

/** The version of the metadata that this program writes: how many steps there are. */
const NOW = String(readdirSync(new URL("../../../packages/replica/src/sql", import.meta.url)).length);

/** From what history.ts writes, by hand: every row that must be in the tables of all three in the end. */
const TEAMS = [
  ["five, edited", 0n],
  ["four", 0n],
  ["not drained at b", 8n],
  ["one", 12n],
  ["only a knows", 8n],
  ["seven of a", 7n],
  ["seven of b", 7n],
  ["two", 21n],
  ["written at a by the new program's turn", 1n],
  ["written at b by the new program's turn", 1n],
  ["written at c by the new program's turn", 1n],
];
const ROBOTS = [
  ["keeps four", "four", ""],
  ["on seven of b", "seven of b", ""],
  ["only c knows", "one", "00FF"],
];

// By the commit of the program that made them; the first has the second version of the metadata, each later one the next, and
// the last has the fifth as well: it names rows without a key by what they held.
test.each([
  ["7693e1a", "2", ["a", "b", "c"]],
  ["a44bd02", "3", ["c", "a", "b"]],
  ["6703054", "4", ["b", "c", "a"]],
  ["6ea6fc8", "5", ["a", "c", "b"]],
  ["bef3373", "5", ["b", "a", "c"]],
] as const)("a fleet of %s, metadata %s, is upgraded node by node: nothing is lost, and it goes on", async (commit, version, order) => {
  for (const server of SERVERS) unpack(commit, server);
  const running: FleetNode[] = [];
  for (const server of order) {
    expect(selectOne(app(server), "SELECT value FROM _scoutsync_meta WHERE key = 'version'")).toBe(version);
    const before = dumpDatabase(app(server)).filter(({ table }) => table !== "tag");
    const node = await fleet.node({ name: server, databases: { app: app(server) }, baseline: null });
    expect(selectOne(app(server), "SELECT value FROM _scoutsync_meta WHERE key = 'version'")).toBe(NOW);
    // Alone it changes no row, but those that are one by the rules of the new program.
    expect(
      differences(
        before,
        dumpDatabase(app(server)).filter(({ table }) => table !== "tag"),
      ),
    ).toEqual([]);
    // Also servers that are not upgraded yet go on writing, captured by the triggers of the version before.
    await write(server, `INSERT INTO team(name, rank) VALUES('written at ${server} by the new program''s turn', 1)`);
    // A row without a key goes on under the name that the version before gave it.
    if (server === "b") await write(server, "UPDATE note SET line = 'edited' WHERE rowid = (SELECT min(rowid) FROM note)");
    running.push(node);
    for (const other of running.slice(0, -1)) {
      const done = await fleet.sync(node, other);
      expect(done.code, done.stdout + done.stderr).toBe(0);
    }
  }
  const [first, second, third] = running as [FleetNode, FleetNode, FleetNode];
  for (const other of [second, third]) {
    const done = await fleet.sync(first, other);
    expect(done.json(), done.stderr).toMatchObject({ verified: true });
  }

  for (const server of SERVERS) {
    expect(integrityProblems(app(server))).toEqual([]);
    const rows = (sql: string) => select(app(server), sql).map((row) => Object.values(row));
    expect(rows("SELECT name, rank FROM team ORDER BY name")).toEqual(TEAMS);
    expect(rows("SELECT label, name, hex(photo) FROM robot JOIN team ON team.id = team_id ORDER BY label")).toEqual(ROBOTS);
    expect(rows("SELECT k, line FROM word")).toEqual([["Key", "only b knows"]]);
    expect(rows("SELECT line FROM note ORDER BY line")).toEqual([["edited"], ["not drained at a"], ["twice"], ["twice"]]);
    // Both servers made "admin": one row, with what was written later. Who changed to "green" later waits.
    expect(rows("SELECT label, note FROM tag ORDER BY label")).toEqual([
      ["admin", "of b"],
      ["green", "of a"],
    ]);
  }
  for (const node of [first, third]) {
    const found = (await scoutsync(["review", "list", node.address, "--json"])).json<Review[]>();
    const told = found.map(({ kind, table, column, loser }) => [kind, table, column, loser?.value].join(" "));
    expect(told.toSorted((one, other) => one.localeCompare(other))).toEqual([
      "conflict tag note of a",
      // It was deleted, and stays as a robot that was added apart refers to it.
      "conflict team  ",
      "conflict team rank 20",
      "parked tag  ",
    ]);
  }
  expect((await scoutsync(["history", second.address, "--db", "app", "team", "1", "--json"])).stdout).toContain("closed");
  // The image of a row that the version before had deleted.
  expect((await scoutsync(["restore", second.address, "--db", "app", "team", "3"])).code).toBe(0);
  expect((await fleet.sync(second, third)).code).toBe(0);
  expect(select(third.databases["app"] as string, "SELECT name FROM team WHERE id = 3")).toEqual([{ name: "three" }]);
});

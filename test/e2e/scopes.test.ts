import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createDatabase, Fleet, scoutsync, select, until, type FleetNode } from "@scoutsync/testkit";

const SCHEMA = `
CREATE TABLE match(id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE scouting_data(id INTEGER PRIMARY KEY, scouting_team_number INTEGER NOT NULL, match_id INTEGER REFERENCES match(id), note TEXT, price TEXT);
CREATE TABLE account(id INTEGER PRIMARY KEY, password TEXT);
`;
const SCOPES = `
team-5454:
  main:
    scouting_data: { where: "scouting_team_number in (5454)", columns: [scouting_team_number, match_id, note] }
    match: follow
team-9999:
  main:
    scouting_data: { where: "scouting_team_number in (9999)", columns: [scouting_team_number, match_id, note] }
    match: follow
`;
const LIMITED = ["--exclude", "main.scouting_data.price", "--exclude", "main.account"];

let fleet: Fleet;
let env: Record<string, string>;

beforeEach(() => {
  fleet = new Fleet("scopes");
  env = { XDG_CONFIG_HOME: fleet.path("home", "config") };
});
afterEach(() => fleet.stop());

async function invite(...flags: string[]): Promise<string> {
  const made = await scoutsync(["invite", "--data", fleet.path("server", "node-data"), "--json", ...flags], { env });
  expect(made.code, made.stderr).toBe(0);
  return made.json<{ code: string }>().code;
}

async function laptop(name: string, scope: string): Promise<FleetNode> {
  const main = createDatabase(fleet.path(`${name}.db`), SCHEMA);
  return fleet.node({ name, databases: { main }, baseline: null, flags: ["--join", await invite("--scope", scope), ...LIMITED] });
}

function write(of: FleetNode, sql: string): void {
  const { DatabaseSync } = process.getBuiltinModule("node:sqlite");
  const database = new DatabaseSync(of.databases["main"] ?? "", { timeout: 10_000 });
  database.exec(sql);
  database.close();
}

const notes = (of: FleetNode) => select(of.databases["main"] ?? "", "SELECT note FROM scouting_data ORDER BY note").map(({ note }) => note);
const holds = (of: FleetNode, ...wanted: string[]) =>
  until(() => JSON.stringify(notes(of)) === JSON.stringify(wanted), { what: `${of.name} holds ${wanted.join(", ")}` });

/** Every byte that a node keeps: its database, what it remembers, its log. */
function everything(of: FleetNode): string {
  const files = [`${of.name}.db`, `${of.name}.db-wal`, join("logs", `${of.name}.log`)].map((path) => join(fleet.directory, path));
  const remembered = join(fleet.directory, of.name, "node-data");
  files.push(...readdirSync(remembered, { recursive: true, encoding: "utf8" }).map((path) => join(remembered, path)));
  return files
    .filter((path) => statSync(path, { throwIfNoEntry: false })?.isFile() === true)
    .map((path) => readFileSync(path, "latin1"))
    .join("\n");
}

test("two teams share a server over mutual TLS: each has its own rows on its own laptops, and not a byte of the other", async () => {
  const data = fleet.path("server", "node-data");
  const made = await scoutsync(["init", "--role", "node", "--name", "server", "--data", data, "--json"], { env });
  expect(made.code, made.stderr).toBe(0);
  writeFileSync(fleet.path("scopes.yaml"), SCOPES);
  const main = createDatabase(
    fleet.path("server.db"),
    `${SCHEMA} INSERT INTO match VALUES(1, 'final-blue'), (2, 'final-red');
     INSERT INTO scouting_data VALUES(1, 5454, 1, 'blue-first', 'blue-price'), (2, 9999, 2, 'red-first', 'red-price');
     INSERT INTO account VALUES(1, 'hunter2')`,
  );
  const server = await fleet.node({ name: "server", databases: { main }, baseline: null, flags: ["--scopes", fleet.path("scopes.yaml")] });
  const blue = await laptop("blue", "team-5454");
  const blueToo = await laptop("blue-too", "team-5454");
  const red = await laptop("red", "team-9999");
  await holds(blue, "blue-first");
  await holds(red, "red-first");

  write(blue, "INSERT INTO scouting_data(scouting_team_number, match_id, note) VALUES(5454, 1, 'blue-second')");
  write(red, "INSERT INTO scouting_data(scouting_team_number, match_id, note) VALUES(9999, 2, 'red-second'), (5454, 2, 'red-forged')");
  await holds(server, "blue-first", "blue-second", "red-first", "red-second");
  await holds(blueToo, "blue-first", "blue-second");
  await holds(red, "red-first", "red-second");
  const reviews = await scoutsync(["review", "list", server.address, "--json"], { env });
  expect(reviews.code, reviews.stderr).toBe(0);
  expect(reviews.stdout).toContain("red-forged");

  // A row that is given to the other team leaves here and comes there.
  write(server, "UPDATE scouting_data SET scouting_team_number = 9999, match_id = 2, note = 'red-given' WHERE note = 'blue-first'");
  await holds(blue, "blue-second");
  await holds(blueToo, "blue-second");
  await holds(red, "red-first", "red-given", "red-second");
  await holds(server, "blue-second", "red-first", "red-given", "red-second");

  // Everything else is refused, in both directions, and written down.
  const as = (name: string) => ["--identity", fleet.path(name, "node-data")];
  for (const command of [
    ["review", "list", server.address],
    ["history", server.address, "--db", "main", "scouting_data", "1"],
    ["sync", server.address, blue.address],
    ["members", "list", "--at", server.address],
  ]) {
    const refused = await scoutsync([...command, ...as("blue"), "--json"], { env });
    expect(refused.code, `${command.join(" ")}: ${refused.stdout}${refused.stderr}`).toBe(1);
    expect(`${refused.stdout}${refused.stderr}`).toMatch(/limited to a scope|FORBIDDEN/);
  }
  const dialled = await scoutsync(["sync", server.address, blue.address, "--json"], { env });
  expect(dialled.json()).toMatchObject({ success: false });
  const beside = await scoutsync(["sync", blue.address, blueToo.address, ...as("blue"), "--json"], { env });
  expect(beside.json()).toMatchObject({ success: false });
  const ping = await scoutsync(["ping", server.address, ...as("blue"), "--json"], { env });
  expect(ping.json<{ databases: { name: string; rows: number }[] }>().databases).toMatchObject([{ name: "main" }]);
  expect(ping.stdout).not.toMatch(/account|red-/);
  const audit = readFileSync(join(data, "audit.log"), "utf8");
  expect(audit).toMatch(/"outcome":"refused","details":"FORBIDDEN: a node that is limited to a scope may not call/);

  // A server that knows nothing of the scope shows nothing.
  const other = await fleet.node({
    name: "other",
    databases: { main: createDatabase(fleet.path("other.db"), SCHEMA) },
    baseline: null,
    flags: ["--join", await invite()],
    peers: [server.address],
  });
  await holds(other, "blue-second", "red-first", "red-given", "red-second");
  const astray = await scoutsync(["sync", blue.address, other.address, ...as("blue"), "--json"], { env });
  expect(astray.json()).toMatchObject({ success: false });
  expect(astray.stdout).toMatch(/does not serve the scope/);

  for (const node of [blue, blueToo, red]) await node.stop();
  for (const node of [blue, blueToo]) expect(everything(node)).not.toMatch(/red-|final-red|hunter2|blue-price/);
  expect(everything(red)).not.toMatch(/blue-second|final-blue|hunter2|blue-price|red-price/);
}, 720_000);

test("a laptop that meets another server of its fleet with the same scopes is refused, by session and by bundle, and has each row once", async () => {
  const made = await scoutsync(["init", "--role", "node", "--name", "server", "--data", fleet.path("server", "node-data"), "--json"], {
    env,
  });
  expect(made.code, made.stderr).toBe(0);
  writeFileSync(fleet.path("scopes.yaml"), SCOPES);
  const flags = ["--scopes", fleet.path("scopes.yaml")];
  const filled = createDatabase(
    fleet.path("server.db"),
    `${SCHEMA} INSERT INTO match VALUES(1, 'final'); INSERT INTO scouting_data VALUES(1, 5454, 1, 'first', NULL)`,
  );
  const server = await fleet.node({ name: "server", databases: { main: filled }, baseline: null, flags });
  const second = await fleet.node({
    name: "second",
    databases: { main: createDatabase(fleet.path("second.db"), SCHEMA) },
    baseline: null,
    flags: [...flags, "--join", await invite()],
    peers: [server.address],
  });
  await holds(second, "first");
  const blue = await laptop("blue", "team-5454");
  await holds(blue, "first");
  write(blue, "INSERT INTO scouting_data(scouting_team_number, match_id, note) VALUES(5454, 1, 'typed')");
  await holds(second, "first", "typed");

  const as = ["--identity", fleet.path("blue", "node-data"), "--json"];
  const refused = await scoutsync(["sync", blue.address, second.address, ...as], { env });
  expect(refused.code).toBe(1);
  expect(refused.json()).toMatchObject({ success: false, errors: [{ code: "SCOPE_OTHER_SERVER" }] });
  expect(refused.stdout).toContain("start it with an empty database");
  for (const [from, to] of [
    [second, blue],
    [blue, second],
  ] as const) {
    const bundle = fleet.path(`${from.name}.bundle`);
    const exported = await scoutsync(["export", from.address, "--db", "main", "-o", bundle, ...as], { env });
    expect(exported.code, exported.stdout + exported.stderr).toBe(0);
    const imported = await scoutsync(["import", to.address, bundle, ...as], { env });
    expect(imported.code).toBe(1);
    expect(imported.stdout + imported.stderr).toContain("SCOPE_OTHER_SERVER");
  }
  // Its own server and it go on.
  write(server, "INSERT INTO scouting_data VALUES(9, 5454, 1, 'later', NULL)");
  for (const node of [server, second, blue]) await holds(node, "first", "later", "typed");
}, 720_000);

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createDatabase, Fleet, scoutsync, select, until, type FleetNode } from "@scoutsync/testkit";

const SCHEMA = "CREATE TABLE pit(id TEXT PRIMARY KEY, team INTEGER, body TEXT);";
const SCOPES = `
blue:
  main: { pit: { where: "team = 1" } }
  files: { uploads: [blue/] }
red:
  main: { pit: { where: "team = 2" } }
`;

let fleet: Fleet;
let env: Record<string, string>;

beforeEach(() => {
  fleet = new Fleet("scope-coordinator");
  env = { XDG_CONFIG_HOME: fleet.path("home", "config") };
});
afterEach(() => fleet.stop());

interface NodeView {
  name: string;
  state: string;
  state_reason: string;
  databases: { name: string }[];
}

async function run<T>(args: string[]): Promise<T> {
  const done = await scoutsync([...args, "--json"], { env });
  expect(done.code, `${args.join(" ")}: ${done.stderr}`).toBe(0);
  return done.json<T>();
}

function write(of: FleetNode, sql: string): void {
  const { DatabaseSync } = process.getBuiltinModule("node:sqlite");
  const database = new DatabaseSync(of.databases["main"] ?? "", { timeout: 10_000 });
  database.exec(sql);
  database.close();
}

const bodies = (of: FleetNode) => select(of.databases["main"] ?? "", "SELECT body FROM pit ORDER BY body").map(({ body }) => body);
const holds = (of: FleetNode, ...wanted: string[]) =>
  until(() => JSON.stringify(bodies(of)) === JSON.stringify(wanted), { what: `${of.name} holds ${wanted.join(", ")}`, withinMs: 60_000 });

test("a coordinator sees nodes of scopes, has them catch up with their server alone, and says whether they are equal to what it shows", async () => {
  await run(["init", "--name", "hub", "--data", fleet.path("coordinator", "registry")]);
  const coordinator = await fleet.coordinator();
  env = { ...env, SCOUTSYNC_COORDINATOR: coordinator.address };
  const code = async (...flags: string[]) => (await run<{ code: string }>(["invite", ...flags])).code;
  writeFileSync(fleet.path("scopes.yaml"), SCOPES);
  const uploads = (name: string) => fleet.path(name, "uploads", "blue");
  for (const name of ["server", "blue"]) mkdirSync(uploads(name), { recursive: true });
  writeFileSync(`${uploads("server")}/plan.txt`, "blue-plan");
  const start = async (name: string, content: string, ...flags: string[]) =>
    fleet.node({ name, databases: { main: createDatabase(fleet.path(`${name}.db`), SCHEMA + content) }, baseline: null, flags });
  const files = (name: string) => ["--files", `uploads=${fleet.path(name, "uploads")}`];
  const server = await start(
    "server",
    "INSERT INTO pit VALUES('a', 1, 'blue-first'), ('b', 2, 'red-first')",
    "--scopes",
    fleet.path("scopes.yaml"),
    ...files("server"),
    "--join",
    await code(),
  );
  const twin = await start("twin", "", "--join", await code());
  // No --peer: they meet whom the coordinator has them meet.
  const blue = await start("blue", "", ...files("blue"), "--join", await code("--scope", "blue"));
  const red = await start("red", "", "--join", await code("--scope", "red"));
  await holds(blue, "blue-first");
  await holds(red, "red-first");
  await holds(twin, "blue-first", "red-first");
  await until(() => existsSync(`${uploads("blue")}/plan.txt`), { what: "the file of the scope", withinMs: 60_000 });

  write(blue, "INSERT INTO pit VALUES('c', 1, 'blue-second')");
  write(red, "INSERT INTO pit VALUES('d', 2, 'red-second')");
  await holds(server, "blue-first", "blue-second", "red-first", "red-second");
  await holds(twin, "blue-first", "blue-second", "red-first", "red-second");
  expect(bodies(blue)).toEqual(["blue-first", "blue-second"]);
  let seen: NodeView[] = [];
  const areEqual = async () => {
    seen = (await run<{ nodes: NodeView[] }>(["status"])).nodes;
    return seen.every(({ state }) => state === "equal");
  };
  await until(areEqual, { what: "all are equal", withinMs: 60_000 });
  expect(seen.find(({ name }) => name === "blue")).toMatchObject({
    state_reason: "Has everything that its scope shows.",
    databases: [{ name: "main@blue" }],
  });
  expect(seen.find(({ name }) => name === "server")?.databases.map(({ name }) => name)).toEqual(["main"]);

  // Nobody was sent where he would have been refused.
  const logs = await run<{ status: string; server_name: string; details: unknown }[]>(["logs"]);
  const met = new Set<string>();
  for (const { server_name: name, details } of logs) {
    const source = /source\W+(\w+)/.exec(JSON.stringify(details))?.[1];
    if (/blue|red/.test(`${name} ${source}`)) met.add(`${name} with ${source}`);
  }
  expect([...met].sort()).toEqual(["blue with server", "red with server"]);
  for (const name of ["server", "twin", "blue", "red"])
    expect(readFileSync(fleet.path(name, "node-data", "audit.log"), { encoding: "utf8", flag: "a+" })).not.toMatch(/limited to a scope/);

  // The rows of each are compared with its server's, by who asks for it and in the coordinator's rounds.
  const verified = await scoutsync(["verify", "blue", "server", "--deep", "--json"], { env });
  expect(verified.json(), verified.stdout).toMatchObject({ equal: true, databases: [{ name: "main", equal: true, differences: [] }] });
  await run(["config", "set", "verify_interval", "1"]);
  const compared = async () => {
    const rounds = await run<{ operation: string; status: string; server_name: string; details: unknown }[]>(["logs"]);
    const found = rounds
      .filter(({ operation }) => operation === "verify")
      .map(({ server_name: name, status, details }) => `${name} ${status} ${JSON.stringify(details)}`);
    return ["blue", "red"].every((name) => found.some((line) => line.startsWith(`${name} completed`) && /equal\W+true/.test(line)));
  };
  await until(compared, { what: "rounds compared the nodes of scopes with their server", withinMs: 60_000, everyMs: 500 });
  await run(["config", "set", "verify_interval", "0"]);
  // While the server is away they are said to be behind, or that it is; what they wrote arrives with its return.
  await server.stop();
  write(blue, "INSERT INTO pit VALUES('e', 1, 'blue-third')");
  await server.restart();
  await holds(server, "blue-first", "blue-second", "blue-third", "red-first", "red-second");

  // A laptop's certificate shows nothing of others.
  for (const command of [["status"], ["nodes", "list"], ["logs"], ["review", "list"], ["members", "list"]]) {
    const refused = await scoutsync([...command, "--identity", fleet.path("blue", "node-data"), "--json"], { env });
    expect(refused.code, `${command.join(" ")}: ${refused.stdout}`).toBe(1);
    expect(`${refused.stdout}${refused.stderr}`).not.toMatch(/red|twin/);
  }
}, 720_000);

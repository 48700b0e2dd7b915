import { afterAll, beforeAll, expect, test } from "vitest";
import { createDatabase, Fleet, scoutsync, selectOne, until, type FleetCoordinator, type FleetNode } from "@scoutsync/testkit";

const SCHEMA = `CREATE TABLE person(email TEXT PRIMARY KEY, name TEXT, phone TEXT);
  INSERT INTO person VALUES('ada@example.org', 'Ada', '+49 1000001')`;
const SECRETS = ["ada@example.org", "+49 1000001", "+49 1000002", "+49 1000003"];

let fleet: Fleet;
let coordinator: FleetCoordinator;
let a: FleetNode;
let b: FleetNode;

function edit(node: FleetNode, sql: string): void {
  const { DatabaseSync } = process.getBuiltinModule("node:sqlite");
  const database = new DatabaseSync(node.databases["main"] ?? "");
  database.exec(sql);
  database.close();
}
const phone = (node: FleetNode) => selectOne(node.databases["main"] ?? "", "SELECT phone FROM person");

beforeAll(async () => {
  fleet = new Fleet("sensitive");
  coordinator = await fleet.coordinator();
  const start = (name: string) => {
    const main = createDatabase(fleet.path(`${name}.db`), SCHEMA);
    const flags = ["--sensitive", "main.person.phone", "--sensitive", "main.person.email", "--log-level", "debug"];
    return fleet.node({ name, databases: { main }, coordinator: coordinator.address, flags });
  };
  [a, b] = [await start("a"), await start("b")];
  const met = await scoutsync(["sync", b.address, a.address, "--json"]);
  if (met.code !== 0) throw new Error(met.stderr);
  // Two people type into the same fields, far from each other.
  await b.kill();
  edit(a, "UPDATE person SET phone = '+49 1000002', name = 'Ada A.'");
  edit(b, "UPDATE person SET phone = '+49 1000003', name = 'Ada B.'");
  await b.restart();
  await until(() => phone(a) === "+49 1000003" && phone(b) === "+49 1000003", { what: "both have the later one" });
}, 120_000);
afterAll(() => fleet.stop());

test("what is sensitive is in both tables, and in nothing that a command, the coordinator, its dashboard or a log shows", async () => {
  const get = async (path: string) => (await fetch(`http://${coordinator.http}${path}`)).text();
  const conflicts = await until(
    async () => {
      const text = await get("/api/review");
      return text.includes("Ada A.") && text.includes("(sensitive)") && text;
    },
    { what: "the coordinator lists the conflict", everyMs: 500 },
  );
  const shown = [conflicts];
  for (const path of ["/api/fleet", "/api/sync/catchup/status", "/metrics", "/api/logs"]) shown.push(await get(path));
  const commands = [
    ["review", "list", a.address],
    ["history", a.address, "--db", "main", "person", "ada@example.org"],
    ["changes", a.address, "--db", "main"],
    ["verify", a.address, b.address],
    ["ping", b.address],
    ["status", "--coordinator", coordinator.address],
    ["restore", a.address, "--db", "main", "person", "ada@example.org"],
    ["restore", a.address, "--db", "main", "person", "+49 1000001"],
  ];
  for (const command of commands) {
    const both = await Promise.all([scoutsync(command), scoutsync([...command, "--json"])]);
    for (const { stdout, stderr } of both) shown.push(stdout, stderr);
  }
  expect(shown.join("\n")).toContain("Ada A.");
  shown.push(coordinator.process.log(), a.process.log(), b.process.log());
  for (const secret of SECRETS) expect(shown.filter((text) => text.includes(secret))).toEqual([]);

  // It is decided all the same.
  const { stdout } = await scoutsync(["review", "list", a.address, "--json"]);
  const found = JSON.parse(stdout) as { id: string; column: string }[];
  const { id = "" } = found.find(({ column }) => column === "phone") ?? {};
  const resolved = await scoutsync(["review", "resolve", a.address, id, "--keep", "loser"]);
  expect(resolved.code, resolved.stderr).toBe(0);
  expect(`${resolved.stdout}${resolved.stderr}`).not.toContain("+49");
  await until(() => phone(a) === "+49 1000002" && phone(b) === "+49 1000002", { what: "the other value is everywhere" });
});

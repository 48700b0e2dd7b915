import { readFileSync } from "node:fs";
import { reflectedMethods } from "./reflected.ts";
import { callFilled, callPlainly, SERVICES, type Filling } from "./shown-values.ts";
import { afterAll, beforeAll, expect, test } from "vitest";
import { boundOf, createDatabase, Fleet, scoutsync, selectOne, until, type FleetCoordinator, type FleetNode } from "@scoutsync/testkit";

const SCHEMA = `CREATE TABLE person(email TEXT PRIMARY KEY, name TEXT, phone TEXT);
  INSERT INTO person VALUES('ada@example.org', 'Ada', '+49 1000001')`;
const SECRETS = ["ada@example.org", "+49 1000001", "+49 1000002", "+49 1000003"];

/** What nodes need of each other to mend a difference: rows by their keys, with what they hold. As packed changes, it is nothing that people are shown. */
const BETWEEN_NODES: ReadonlySet<string> = new Set(["/scoutsync.v1.SyncNode/Digest"]);

let fleet: Fleet;
let coordinator: FleetCoordinator;
let a: FleetNode;
let b: FleetNode;

function edit(node: FleetNode, sql: string): void {
  const { DatabaseSync } = process.getBuiltinModule("node:sqlite");
  const database = new DatabaseSync(node.databases["main"] ?? "", { timeout: 10_000 });
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
  // The coordinator may have sent b there just now: then it is busy with that.
  await until(async () => (await scoutsync(["sync", b.address, a.address, "--json"])).code === 0, { what: "both have met" });
  // Two people type into the same fields, far from each other.
  await b.kill();
  edit(a, "UPDATE person SET phone = '+49 1000002', name = 'Ada A.'");
  edit(b, "UPDATE person SET phone = '+49 1000003', name = 'Ada B.'");
  await b.restart();
  await until(() => phone(a) === "+49 1000003" && phone(b) === "+49 1000003", { what: "both have the later one" });
}, 360_000);
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

  // A bundle holds the values packed; what it says of itself does not.
  const stick = fleet.path("stick", "bundle");
  for (const args of [
    ["export", a.address, "--db", "main", "-o", stick],
    ["import", b.address, stick],
  ]) {
    const { code, stdout, stderr } = await scoutsync(args);
    expect(code, stderr).toBe(0);
    for (const secret of SECRETS) expect(`${stdout}${stderr}`).not.toContain(secret);
  }
  const bytes = readFileSync(stick);
  for (const secret of SECRETS) expect(bytes.subarray(0, bytes.indexOf("BTCH")).includes(secret)).toBe(false);

  // It is decided all the same.
  const { stdout } = await scoutsync(["review", "list", a.address, "--json"]);
  const found = JSON.parse(stdout) as { id: string; column: string }[];
  const { id = "" } = found.find(({ column }) => column === "phone") ?? {};
  const resolved = await scoutsync(["review", "resolve", a.address, id, "--keep", "loser"]);
  expect(resolved.code, resolved.stderr).toBe(0);
  expect(`${resolved.stdout}${resolved.stderr}`).not.toContain("+49");
  await until(() => phone(a) === "+49 1000002" && phone(b) === "+49 1000002", { what: "the other value is everywhere" });
});

test("no route and no call, of those that the servers themselves list, shows what is sensitive, whatever it is asked for", async () => {
  const base = `http://${coordinator.http}`;
  const reviews = (await (await fetch(`${base}/api/review`)).json()) as { id: string; node: string }[];
  const { id = "none" } = reviews[0] ?? {};
  const filling: Filling = {
    serverId: "1",
    server_id: "1",
    node: "a",
    name: "a",
    id,
    database: "main",
    db: "main",
    table: "person",
    key: "ada@example.org",
    peer: b.address,
    address: b.address,
    operation: "listFleetReviews",
    readable: true,
    deep: true,
    keys: ["ada@example.org"],
    keep: "winner",
    limit: 100,
    pageSize: 100,
    page_size: 100,
    all: true,
    resolved: true,
    batchSize: 10,
  };
  const shown: [what: string, text: string][] = [];
  for (const [server, least] of [
    [a.address, 20],
    [coordinator.address, 30],
  ] as const) {
    const methods = await reflectedMethods(callPlainly(server));
    expect(methods.length).toBeGreaterThan(least);
    for (const path of methods) {
      const [, service = "", method = ""] = path.split("/");
      if (service.startsWith("grpc.")) continue;
      const ours = SERVICES[service];
      const found = Object.keys(ours ?? {}).find((one) => ours?.[one]?.path === path);
      if (!ours || !found) throw new Error(`${path} is not looked at here`);
      // Who leaves the fleet shows nothing any more.
      if (/^(Remove|Retire)/.test(method)) continue;
      if (BETWEEN_NODES.has(path)) continue;
      // Nothing there is named by a row's key: it would only be repeated.
      const asked = server === coordinator.address ? { ...filling, key: "nothing" } : filling;
      shown.push([path, await callFilled(server, ours, found, asked)]);
    }
  }
  const document = (await (await fetch(`${base}/api/openapi.json`)).json()) as {
    paths: Record<string, Record<string, { parameters?: { name: string; in: string; required: boolean }[]; requestBody?: unknown }>>;
  };
  const routes = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, described]) => ({ path, method: method.toUpperCase(), ...described })),
  );
  expect(routes.length).toBeGreaterThan(25);
  const nodeOf = (path: string) => ({ ...filling, ...(/^\/api\/(nodes|reliability)/.test(path) && { id: "a" }) });
  for (const { path, method, parameters = [] } of routes) {
    if (path.endsWith("/retire") || (method === "DELETE" && path.startsWith("/api/nodes"))) continue;
    const values: Filling = nodeOf(path);
    const valueOf = (name: string) => (typeof values[name] === "string" ? values[name] : "a");
    const filled = path.replaceAll(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(valueOf(name)));
    const query = parameters
      .filter((one) => one.in === "query" && one.name in values)
      .map(({ name }) => `${name}=${JSON.stringify(values[name]).replaceAll('"', "")}`);
    const body = method === "GET" ? null : JSON.stringify({ ...values, name: "x", host: "127.0.0.1", port: 1 });
    const response = await fetch(`${base}${filled}?${query.join("&")}`, {
      method,
      ...(body !== null && { body, headers: { "content-type": "application/json" } }),
      signal: AbortSignal.timeout(boundOf(30_000)),
    });
    let text = JSON.stringify([...response.headers]);
    if (/event-stream/.test(response.headers.get("content-type") ?? "")) {
      const reader = response.body!.getReader();
      text += Buffer.from((await reader.read()).value ?? []).toString("utf8");
      await reader.cancel();
    } else text += await response.text();
    shown.push([`${method} ${path}`, text]);
  }
  for (const path of ["/", "/metrics", "/healthz"]) shown.push([path, await (await fetch(`${base}${path}`)).text()]);
  shown.push(["logs", [coordinator, a, b].map((one) => one.process.log()).join("\n")]);
  // It was asked for, and came, with the values that everybody may see.
  expect(shown.filter(([, text]) => text.includes("Ada A.")).length).toBeGreaterThan(3);
  for (const secret of SECRETS) expect(shown.filter(([, text]) => text.includes(secret)).map(([what]) => what)).toEqual([]);
});

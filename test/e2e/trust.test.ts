import { X509Certificate } from "node:crypto";
import { cpSync, existsSync, readFileSync } from "node:fs";
import { connect, type TLSSocket } from "node:tls";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createDatabase, Fleet, scoutsync, select, startProxy, until, type FleetNode } from "@scoutsync/testkit";
import { brokenLine } from "@scoutsync/trust";

const NOTES = "CREATE TABLE note(id INTEGER PRIMARY KEY, body TEXT)";
const MARKER = "blue robot broke its arm";
/** Of a certificate that is renewed while a test runs: long enough for a node to start in, which takes its time in CI. */
const SHORT_S = process.env["CI"] === "true" ? 30 : 8;

let fleet: Fleet;
let env: Record<string, string>;

beforeEach(() => {
  fleet = new Fleet("trust");
  // A person's identities are kept here instead of in the home of who runs the tests.
  env = { XDG_CONFIG_HOME: fleet.path("home", "config") };
});
afterEach(() => fleet.stop());

/** `scoutsync init` for a node that will be called this. */
async function init(name: string, ...flags: string[]): Promise<{ fleet: string; data: string }> {
  const data = fleet.path(name, "node-data");
  const made = await scoutsync(["init", "--role", "node", "--name", name, "--data", data, "--json", ...flags], { env });
  expect(made.code, made.stderr).toBe(0);
  return made.json();
}

async function invite(data: string, ...flags: string[]): Promise<string> {
  const made = await scoutsync(["invite", "--data", data, "--json", ...flags], { env });
  expect(made.code, made.stderr).toBe(0);
  return made.json<{ code: string }>().code;
}

function node(name: string, flags: string[] = [], peers: string[] = []): Promise<FleetNode> {
  const main = existsSync(fleet.path(`${name}.db`)) ? fleet.path(`${name}.db`) : createDatabase(fleet.path(`${name}.db`), NOTES);
  return fleet.node({ name, databases: { main }, flags, peers });
}

function write(of: FleetNode, body: string): void {
  const { DatabaseSync } = process.getBuiltinModule("node:sqlite");
  const database = new DatabaseSync(of.databases["main"] ?? "", { timeout: 10_000 });
  database.prepare("INSERT INTO note(body) VALUES(?)").run(body);
  database.close();
}

const bodies = (of: FleetNode) => select(of.databases["main"] ?? "", "SELECT body FROM note ORDER BY body").map(({ body }) => body);
const has = (of: FleetNode, body: string) => until(() => bodies(of).includes(body), { what: `${of.name} has "${body}"` });

/** A connection of somebody with this node's key, as a thief would make it. */
function connectAs(of: string, address: string): Promise<TLSSocket> {
  const [host, port] = address.split(":");
  const pem = readFileSync(fleet.path(of, "node-data", "fleet", "identity.pem"), "utf8");
  return new Promise((resolve, reject) => {
    const socket = connect({ host: host ?? "", port: Number(port), key: pem, cert: pem, rejectUnauthorized: false, ALPNProtocols: ["h2"] });
    // Unread bytes would keep the end from being seen.
    socket.once("secureConnect", () => resolve(socket.resume()));
    socket.once("error", reject);
  });
}

test("two commands make a fleet in which nothing travels readable, and a code lets in one, once", async () => {
  const { data } = await init("first");
  const first = await node("first");
  const line = await startProxy(first.address);
  const code = await invite(data, "--address", line.address);
  write(first, MARKER);
  const seen: Buffer[] = [];
  line.listener = (piece) => seen.push(piece);
  // Told of nobody: it syncs with the one that let it in.
  const second = await node("second", ["--join", code]);
  await has(second, MARKER);
  write(second, "back again");
  await has(first, "back again");
  expect(line.carried).toBeGreaterThan(1_000);
  expect(Buffer.concat(seen).includes(MARKER)).toBe(false);

  // The same words start it again; another one is not let in.
  await second.restart();
  write(first, "after the restart");
  await has(second, "after the restart");
  await expect(node("third", ["--join", code])).rejects.toThrow(/used already/);

  const areEqual = async () => {
    const synced = await scoutsync(["sync", first.address, second.address, "--json"], { env });
    const { success, verified } = synced.json<{ success: boolean; verified: boolean }>();
    return success && verified;
  };
  await until(areEqual, { what: "a session that finds both equal" });
  await line.stop();
});

test("who was put out is cut off at once, by nodes that never spoke with the one that did it, and by those that were away", async () => {
  const { data } = await init("first");
  const first = await node("first");
  const second = await node("second", ["--join", await invite(data)]);
  // Knows only the second; the thief knows only these two.
  const third = await node("third", ["--join", await invite(data)], [second.address]);
  const away = await node("away", ["--join", await invite(data)], [second.address]);
  const laptop = await node("laptop", ["--join", await invite(data)], [second.address, third.address]);
  write(first, MARKER);
  for (const one of [third, away, laptop]) await has(one, MARKER);
  await away.kill();
  const thief = await connectAs("laptop", third.address);
  thief.on("error", () => {});

  const removed = await scoutsync(["members", "revoke", "laptop", "--at", first.address, "--json"], { env });
  expect(removed.code, removed.stderr).toBe(0);
  await until(() => thief.destroyed, { what: "the thief is cut off", everyMs: 20 });
  await away.restart();

  write(first, "not for thieves");
  for (const one of [second, third, away]) await has(one, "not for thieves");
  const refused = await scoutsync(["ping", away.address, "--identity", fleet.path("laptop", "node-data")], { env });
  expect(refused.code).toBe(1);
  expect(refused.stderr).toMatch(/was put out of the fleet/);
  const synced = await scoutsync(["sync", third.address, laptop.address, "--json"], { env });
  expect(synced.json()).toMatchObject({ success: false });
  expect(bodies(laptop)).toEqual([MARKER]);

  const audit = readFileSync(fleet.path("first", "node-data", "audit.log"), "utf8");
  expect(brokenLine(audit)).toBe(null);
  expect(audit).toMatch(/"what":"revoke","outcome":"done"/);

  // With a new code it is let in again, in the same directory; with that code it may be started again.
  const code = await invite(data);
  await laptop.stop();
  const back = await node("laptop", ["--join", code], [second.address]);
  await has(back, "not for thieves");
  await back.restart();
  write(first, "after it was started again");
  await has(back, "after it was started again");
}, 720_000);

test("a node that only sticks reach hears from a bundle who was put out, and believes nobody but the fleet's authority", async () => {
  const { data } = await init("first");
  const first = await node("first");
  const line = await startProxy(first.address);
  const island = await node("island", ["--join", await invite(data, "--address", line.address)]);
  const laptop = await node("laptop", ["--join", await invite(data)]);
  write(first, MARKER);
  for (const one of [island, laptop]) await has(one, MARKER);
  // From here on no network leads to it.
  await line.stop();
  const thief = await connectAs("laptop", island.address);
  thief.on("error", () => {});
  // Whoever brings the stick has been away since before: a person's own list must not be what the node hears.
  const away = { XDG_CONFIG_HOME: fleet.path("away", "config") };
  cpSync(env["XDG_CONFIG_HOME"] as string, away.XDG_CONFIG_HOME, { recursive: true });
  const removed = await scoutsync(["members", "revoke", "laptop", "--at", first.address, "--json"], { env });
  expect(removed.code, removed.stderr).toBe(0);
  write(first, "by stick");
  const asLaptop = () => scoutsync(["ping", island.address, "--identity", fleet.path("laptop", "node-data")], { env });
  expect((await asLaptop()).code).toBe(0);

  const stick = fleet.path("stick", "bundle");
  const exported = await scoutsync(["export", first.address, "--db", "main", "-o", stick, "--json"], { env });
  expect(exported.code, exported.stderr).toBe(0);
  const importing = async () => {
    const done = await scoutsync(["import", island.address, stick, "--json"], { env: away });
    expect(done.code, done.stderr).toBe(0);
  };
  await importing();
  await until(() => thief.destroyed, { what: "the thief is cut off", everyMs: 20 });
  await has(island, "by stick");
  const refused = await asLaptop();
  expect([refused.code, refused.stderr]).toEqual([1, expect.stringMatching(/was put out of the fleet/)]);
  // An older list, or none, takes nothing back.
  await importing();
  expect((await asLaptop()).code).toBe(1);
});

test("certificates are renewed while the services run, and one that ran out is worth nothing", async () => {
  const { data } = await init("first", "--certificates", `${SHORT_S}s`);
  const first = await node("first");
  const second = await node("second", ["--join", await invite(data)]);
  const serialOf = (name: string) => new X509Certificate(readFileSync(fleet.path(name, "node-data", "fleet", "identity.pem"))).serialNumber;
  const before = { first: serialOf("first"), second: serialOf("second") };
  const old = { pem: readFileSync(fleet.path("second", "node-data", "fleet", "identity.pem")), at: Date.now() };
  await until(() => serialOf("first") !== before.first && serialOf("second") !== before.second, { what: "both have new certificates" });
  await until(() => Date.now() > old.at + (SHORT_S + 1) * 1_000, { what: "the first certificates have run out", everyMs: 500 });
  write(first, MARKER);
  await has(second, MARKER);
  const { writeFileSync } = process.getBuiltinModule("node:fs");
  // It is at work: a file that it has just replaced is gone before it is copied.
  const copied = () => {
    cpSync(fleet.path("second", "node-data"), fleet.path("stale", "node-data"), { recursive: true });
    return true;
  };
  await until(copied, { what: "a copy of what it keeps" });
  writeFileSync(fleet.path("stale", "node-data", "fleet", "identity.pem"), old.pem);
  const refused = await scoutsync(["ping", first.address, "--identity", fleet.path("stale", "node-data")], { env });
  expect(refused.code).toBe(1);
  expect(refused.stderr).toMatch(/is valid from .* to /);
});

test("a member of one fleet is a stranger in another", async () => {
  const { data } = await init("first");
  const first = await node("first");
  await init("other");
  const other = await node("other");
  const code = await invite(data);
  // The code names a fleet by its CA: whoever answers in its place is found out before the secret is sent.
  const moved = Buffer.from(code.slice("scout1-".length), "base64url").toString("utf8").replace(first.address, other.address);
  await expect(node("second", ["--join", `scout1-${Buffer.from(moved).toString("base64url")}`])).rejects.toThrow(/not of the fleet/);
  const refused = await scoutsync(["ping", first.address, "--identity", fleet.path("other", "node-data")], { env });
  expect(refused.code).toBe(1);
  const synced = await scoutsync(["sync", first.address, other.address, "--json"], { env });
  expect(synced.json()).toMatchObject({ success: false });
});

test("plain text stays on this machine unless somebody insists, and then it is said loudly", async () => {
  const main = createDatabase(fleet.path("plain.db"), NOTES);
  await expect(fleet.node({ name: "plain", databases: { main }, listen: "0.0.0.0:0" })).rejects.toThrow(/--insecure/);
  await expect(fleet.node({ name: "plain", databases: { main }, peers: ["192.0.2.1:7071"] })).rejects.toThrow(/--insecure/);
  const insisted = await fleet.node({ name: "plain", databases: { main }, listen: "0.0.0.0:0", flags: ["--insecure"] });
  await until(() => /INSECURE: no encryption and no login/.test(insisted.process.log()), { what: "the warning in its log" });
  const refused = await scoutsync(["ping", "192.0.2.1:7071"], { env });
  expect(refused.code).toBe(2);
  expect(refused.stderr).toMatch(/--insecure/);
});

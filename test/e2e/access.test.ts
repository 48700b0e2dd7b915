import { request as httpsRequest } from "node:https";
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { connect, type TLSSocket } from "node:tls";
import { Client, credentials, Metadata, status, type ChannelCredentials } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  boundOf,
  createDatabase,
  findChromium,
  Fleet,
  scoutsync,
  selectOne,
  startBrowser,
  until,
  type FleetCoordinator,
  type FleetNode,
} from "@scoutsync/testkit";
import { reflectedMethods } from "./reflected.ts";
import { brokenLine, createCa, createRequest, identityIn, issueCertificate, type Role } from "@scoutsync/trust";

const NOTES = "CREATE TABLE note(id INTEGER PRIMARY KEY, body TEXT)";
const PASSWORD = "four words make one";

let fleet: Fleet;
let env: Record<string, string>;
let coordinator: FleetCoordinator;
let nodes: FleetNode[];
/** PEM files of identities, by what is wrong with them; "none" has none. */
let identities: Record<string, string | null>;
let keys: Record<string, string>;
let ca: string;

interface Answer {
  status: number;
  body: string;
  headers: Record<string, string | string[] | undefined>;
}

function ask(
  method: string,
  path: string,
  { headers = {}, body }: { headers?: Record<string, string>; body?: string } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpsRequest(`https://${coordinator.http}${path}`, { method, headers, ca, servername: "localhost" }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (piece: string) => (text += piece));
      const done = () => resolve({ status: response.statusCode ?? 0, body: text, headers: response.headers });
      response.on("end", done);
      // An answer that does not end, and was let through.
      if (/event-stream/.test(response.headers["content-type"] ?? "")) {
        done();
        request.destroy();
      }
    });
    request.on("error", reject);
    request.end(body);
  });
}

const bearer = (key: string) => ({ authorization: `Bearer ${key}` });
const cookiesOf = ({ headers }: Answer) =>
  ([headers["set-cookie"]].flat().filter(Boolean) as string[]).map((line) => line.split(";", 1)[0] ?? "");

async function run(args: string[], more: Record<string, string> = {}) {
  const done = await scoutsync([...args, "--json"], { env: { ...env, ...more } });
  expect(done.code, `${args.join(" ")}: ${done.stderr}`).toBe(0);
  return done.json<Record<string, string>>();
}

async function invite(role: string): Promise<string> {
  return (await run(["invite", "--role", role, "--coordinator", coordinator.address]))["code"] ?? "";
}

function login(name: string, password: string): Promise<Answer> {
  const body = JSON.stringify({ name, password });
  return ask("POST", "/login", { headers: { "content-type": "application/json" }, body });
}

beforeAll(async () => {
  fleet = new Fleet("access");
  env = { XDG_CONFIG_HOME: fleet.path("home", "config") };
  // The README's commands, from nothing to a fleet of three with a key and a login.
  const { data = "" } = await run(["init", "--name", "hub", "--data", fleet.path("coordinator", "registry")]);
  coordinator = await fleet.coordinator();
  env = { ...env, SCOUTSYNC_COORDINATOR: coordinator.address };
  const join = async (name: string) => {
    const main = createDatabase(fleet.path(`${name}.db`), NOTES);
    return fleet.node({ name, databases: { main }, flags: ["--join", await invite("node")] });
  };
  const key = async (...args: string[]) => (await run(["keys", "create", ...args]))["key"] ?? "";
  const [joined, made] = await Promise.all([
    Promise.all(["pits", "stands", "judges"].map(join)),
    Promise.all([
      key("reader"),
      key("mender", "--role", "operator"),
      key("prometheus", "--role", "superadmin", "--scope", "metrics"),
      key("short", "--role", "superadmin", "--expires", "1s"),
      key("gone", "--role", "superadmin"),
    ]),
    run(["users", "add", "ada", "--role", "operator"], { SCOUTSYNC_PASSWORD: PASSWORD }),
    run(["init", "--name", "other", "--data", fleet.path("other", "data")]),
    invite("superadmin").then((code) => run(["join", code, "--name", "thief", "--data", fleet.path("thief", "data")])),
  ]);
  nodes = joined;
  const [viewer, operator, metrics, expired, revoked] = made;
  keys = { viewer, operator, metrics, expired, revoked, wrong: `scout_key_${"A".repeat(43)}`, nonsense: "x" };
  await Promise.all([run(["keys", "revoke", "gone"]), run(["members", "revoke", "thief"])]);
  ca = readFileSync(`${data}/fleet/ca.pem`, "utf8");
  const pem = (path: string) => readFileSync(`${path}/fleet/identity.pem`, "utf8");
  identities = {
    none: null,
    "another CA's": pem(fleet.path("other", "data")),
    revoked: pem(fleet.path("thief", "data")),
    expired: await expiredIdentity(data),
    "one of its own making": await selfMadeIdentity(),
  };
}, 540_000);

/** A superadmin's certificate of this fleet that ran out six days ago. */
async function expiredIdentity(data: string): Promise<string> {
  const { key, request } = await createRequest();
  const authority = { certificate: ca, key: readFileSync(`${data}/authority/ca-key.pem`, "utf8") };
  const { fleet: of } = JSON.parse(readFileSync(`${data}/authority/state.json`, "utf8")) as { fleet: string };
  const member = { fleet: of, role: "superadmin", id: "late", name: "late" } as const;
  const day = 86_400_000;
  return (
    key +
    (await issueCertificate(request, { ca: authority, member, serial: 900, lifetimeMs: 14 * day, hosts: [], nowMs: Date.now() - 20 * day }))
  );
}

/** A certificate of this fleet that is as good as any, for somebody of this role. */
async function identityFor(role: Role): Promise<string> {
  const data = fleet.path("coordinator", "registry");
  const { key, request } = await createRequest();
  const authority = { certificate: ca, key: readFileSync(`${data}/authority/ca-key.pem`, "utf8") };
  const { fleet: of } = JSON.parse(readFileSync(`${data}/authority/state.json`, "utf8")) as { fleet: string };
  const member = { fleet: of, role, id: `some-${role}`, name: role } as const;
  return key + (await issueCertificate(request, { ca: authority, member, serial: 901, lifetimeMs: 86_400_000, hosts: [] }));
}

/** A certificate that says all the right things, signed by a CA with the right name and the wrong key. */
async function selfMadeIdentity(): Promise<string> {
  const { fleet: of } = identityIn(new X509Certificate(readFileSync(fleet.path("thief", "data", "fleet", "identity.pem"))));
  const own = await createCa(of);
  const { key, request } = await createRequest();
  const member = { fleet: of, role: "superadmin", id: "root", name: "root" } as const;
  return key + (await issueCertificate(request, { ca: own, member, serial: 900, lifetimeMs: 86_400_000, hosts: [] }));
}
afterAll(() => {
  for (const channel of channels.values()) channel.close();
  return fleet.stop();
});

/** A TLS connection with this identity, as somebody who has its file makes it. */
function connectWith(pem: string, address: string): Promise<TLSSocket> {
  const [host = "", port = ""] = address.split(":");
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port: Number(port), key: pem, cert: pem, rejectUnauthorized: false, ALPNProtocols: ["h2"] });
    // Unread bytes would keep the end from being seen.
    socket.once("secureConnect", () => resolve(socket.resume()));
    socket.on("error", reject);
  });
}

function tls(identity: string | null): ChannelCredentials {
  const pem = identity === null ? null : Buffer.from(identity);
  return credentials.createSsl(Buffer.from(ca), pem, pem, { checkServerIdentity: () => undefined });
}

/** Channels by address and identity: a handshake for each of a thousand calls would take most of the time. */
const channels = new Map<string, Client>();

function channelTo(address: string, identity: string | null): Client {
  const name = `${address} ${identity ?? ""}`;
  const known = channels.get(name) ?? new Client(address, tls(identity), { "grpc.ssl_target_name_override": "localhost" });
  channels.set(name, known);
  return known;
}

/** Calls any method with an empty message; the code it ends with. */
function call(
  address: string,
  path: string,
  identity: string | null,
  key?: string,
  message: Buffer = Buffer.alloc(0),
): Promise<{ code: number; answers: Buffer[] }> {
  const client = channelTo(address, identity);
  const metadata = new Metadata();
  // Only a coordinator is believed.
  metadata.set("scoutsync-acting-for", "somebody else");
  if (key !== undefined) metadata.set("authorization", `Bearer ${key}`);
  const same = (bytes: Buffer) => bytes;
  const stream = client.makeBidiStreamRequest(path, same, same, metadata, { deadline: Date.now() + boundOf(20_000) });
  const answers: Buffer[] = [];
  return new Promise((resolve) => {
    stream.on("data", (answer: Buffer) => {
      answers.push(answer);
      // Let through: that is all there is to know of one that does not end.
      if (!path.includes("reflection")) stream.cancel();
    });
    stream.on("error", () => {});
    stream.on("status", ({ code }) => {
      resolve({ code, answers });
    });
    stream.write(message);
    stream.end();
  });
}

/** Joining is what one does without a certificate; it is refused by its code. */
const JOIN = "/scoutsync.v1.Fleet/Join";

test("no call of a coordinator or node is let through without a certificate, with another CA's, a revoked one, or a key that does not fit", async () => {
  const refusals = new Set<number>([status.UNAUTHENTICATED, status.PERMISSION_DENIED]);
  const admin = readFileSync(fleet.path("coordinator", "registry", "fleet", "identity.pem"), "utf8");
  for (const [address, least] of [
    [coordinator.address, 35],
    [nodes[0]!.address, 20],
  ] as const) {
    const methods = await reflectedMethods(async (path, message) => (await call(address, path, admin, undefined, message)).answers);
    expect(methods.length).toBeGreaterThan(least);
    const wrong: string[] = [];
    for (const path of methods) {
      const attempts: [string, Promise<{ code: number }>][] = Object.entries(identities).map(([what, pem]) => [
        what,
        call(address, path, pem),
      ]);
      for (const what of ["metrics", "expired", "revoked", "wrong", "nonsense"])
        if (path !== JOIN) attempts.push([`key: ${what}`, call(address, path, null, keys[what])]);
      for (const [what, attempt] of attempts) {
        const { code } = await attempt;
        if (!refusals.has(code)) wrong.push(`${path} with ${what}: ${status[code]}`);
      }
    }
    expect(wrong).toEqual([]);
  }
  // A node speaks for itself only, and sends no other one around.
  const pits = readFileSync(fleet.path("pits", "node-data", "fleet", "identity.pem"), "utf8");
  const asSomebodyElse = Buffer.from([0x0a, 1, 0x78]);
  for (const method of ["Register", "Heartbeat"]) {
    const { code } = await call(coordinator.address, `/scoutsync.v1.Coordinator/${method}`, pits, undefined, asSomebodyElse);
    expect(code).toBe(status.PERMISSION_DENIED);
  }
  for (const method of ["Sync", "Verify", "ResolveReview"])
    expect((await call(nodes[1]!.address, `/scoutsync.v1.SyncNode/${method}`, pits)).code).toBe(status.PERMISSION_DENIED);
  // What is asked by its name needs what it needs by itself.
  const asking = (operation: string) => Buffer.from([0x0a, operation.length, ...Buffer.from(operation)]);
  const askFor = (operation: string, key: string) =>
    call(coordinator.address, "/scoutsync.v1.Coordinator/Ask", null, key, asking(operation));
  expect((await askFor("getFleet", keys["viewer"]!)).answers.length).toBe(1);
  for (const operation of ["pauseJobs", "setConfig", "scan"])
    expect((await askFor(operation, keys["viewer"]!)).code).toBe(status.PERMISSION_DENIED);
  expect((await askFor("setConfig", keys["operator"]!)).code).toBe(status.PERMISSION_DENIED);
  // The same way of calling gets through with what fits.
  expect((await call(coordinator.address, "/scoutsync.v1.Coordinator/GetStatus", null, keys["viewer"])).answers.length).toBe(1);
  expect((await call(coordinator.address, "/scoutsync.v1.Coordinator/PauseJobs", null, keys["viewer"])).code).toBe(
    status.PERMISSION_DENIED,
  );
});

/** What a role is for, by the names of calls, as people would say it; everything else is to be refused to it, also what comes later. */
const EVERYBODY = /\/(Join|Renew|ShareRevocations|Check|List|Watch|ServerReflectionInfo|Ping)$/;
const LOOKS = /\/(Get\w+|List\w+|FileChecksums|FileStatus)$/;
const OF_A_NODE = /SyncNode\//;
const MAY: readonly [Role, RegExp[]][] = [
  ["viewer", [EVERYBODY, LOOKS, /\/Ask$/]],
  ["worker", [EVERYBODY, /\/(AcquireLease|ReportSession|GetSettings|Sync)$/]],
  ["node", [EVERYBODY, LOOKS, /\/(Register|Heartbeat|Digest|PushChanges|PutFile)$/]],
  ["coordinator", [EVERYBODY, LOOKS, OF_A_NODE, /\/(AcquireLease|ReportSession|Revoke)$/]],
  ["operator", [/^(?!.*(\.Access\/|\/(SetSetting|Register|Heartbeat|AcquireLease|ReportSession)$))/]],
  ["superadmin", [/^(?!.*\/(Register|Heartbeat|AcquireLease|ReportSession)$)/]],
];
const NEVER_FOR_ITS_LOOKS: Partial<Record<Role, RegExp>> = {
  viewer: /\.Access\//,
  worker: /\.Access\//,
  node: /\.Access\/|Coordinator\/(GetSettings|GetStatus|GetReliability|ListJobs|ListLogs|ListAlerts|ListFleetReviews)$/,
  coordinator: /\.Access\/|Coordinator\/(GetStatus|GetReliability|ListJobs|ListLogs|ListAlerts|ListFleetReviews)$/,
};
/** Refused for what they say, or without an answer until something happens. */
const NOT_TRIED = /\/(Register|Heartbeat|Join)$|Coordinator\/Watch$/;
/** Refused to everybody where the fleet's authority is not kept. */
const OF_THE_AUTHORITY = /\.Fleet\/(Renew|Invite|ListMembers|Revoke)$/;

test("a role may do what it is for and nothing else, on every call that there is", async () => {
  const admin = readFileSync(fleet.path("coordinator", "registry", "fleet", "identity.pem"), "utf8");
  const wrong: string[] = [];
  for (const address of [coordinator.address, nodes[0]!.address]) {
    const methods = await reflectedMethods(async (path, message) => (await call(address, path, admin, undefined, message)).answers);
    for (const [role, patterns] of MAY) {
      const pem = await identityFor(role);
      for (const path of methods.filter((one) => !NOT_TRIED.test(one))) {
        const isMeant = patterns.some((pattern) => pattern.test(path)) && NEVER_FOR_ITS_LOOKS[role]?.test(path) !== true;
        const { code } = await call(address, path, pem);
        if (isMeant && address !== coordinator.address && OF_THE_AUTHORITY.test(path)) continue;
        // What it is meant for may fail for what it was asked.
        if ((code !== status.PERMISSION_DENIED) !== isMeant || code === status.UNAUTHENTICATED)
          wrong.push(`${path} as ${role}: ${status[code]}`);
      }
    }
  }
  expect(wrong).toEqual([]);
  // The queue was paused, among other things.
  expect((await call(coordinator.address, "/scoutsync.v1.Coordinator/ResumeJobs", admin)).answers.length).toBe(1);
  // An operator puts out nobody who is above them, whatever they call them.
  const members = (await run(["members", "list"])) as unknown as { role: string; id: string; name: string; revoked: boolean }[];
  const above = members.find((one) => one.role === "superadmin" && !one.revoked)!;
  const operator = await identityFor("operator");
  for (const text of [above.id, above.name, `superadmin/${above.id}`]) {
    const message = Buffer.from([0x0a, text.length, ...Buffer.from(text)]);
    expect((await call(coordinator.address, "/scoutsync.v1.Fleet/Revoke", operator, undefined, message)).code).toBe(
      status.PERMISSION_DENIED,
    );
  }
});

test("whatever is done at a node is in its audit log with who did it, call by call, and for whom the coordinator did it", async () => {
  const pits = nodes[0]!;
  const log = () => readFileSync(fleet.path("pits", "node-data", "audit.log"), "utf8");
  const operator = await identityFor("operator");
  const methods = await reflectedMethods(async (path, message) => (await call(pits.address, path, operator, undefined, message)).answers);
  const acts = methods.filter((path) => !EVERYBODY.test(path) && !LOOKS.test(path) && !path.endsWith("/Digest"));
  expect(acts.length).toBeGreaterThan(12);
  const repair = Buffer.from([0x20, 1]);
  for (const path of acts) await call(pits.address, path, operator, undefined, path.endsWith("/Verify") ? repair : Buffer.alloc(0));
  const line = (path: string, outcome: string) => `"who":"operator/some-operator (operator)","what":"${path}","outcome":"${outcome}"`;
  expect(acts.filter((path) => !log().includes(line(path, "done")))).toEqual([]);
  // There is no such entry, and it says so.
  expect(log()).toContain(line("/scoutsync.v1.SyncNode/ResolveReview", "failed"));

  const json = { ...bearer(keys["operator"]!), "content-type": "application/json" };
  const body = JSON.stringify({ server_id: "pits", database: "main", batches: [] });
  expect((await ask("POST", "/api/sync/sqlite3/receive-changes", { headers: json, body })).status).toBe(200);
  expect(log()).toMatch(/"who":"coordinator\/[^"]* for key:mender","what":"\/scoutsync.v1.SyncNode\/PushChanges"/);
  expect(log()).not.toContain("operator) for");
  expect(brokenLine(log())).toBe(null);
});

test("whatever changes something is in the audit log with who did it, route by route and operation by operation", async () => {
  const superadmin = await identityFor("superadmin");
  const document = JSON.parse((await ask("GET", "/api/openapi.json", { headers: bearer(keys["viewer"]!) })).body) as {
    paths: Record<string, Record<string, { operationId: string }>>;
  };
  const acts = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).flatMap(([method, { operationId }]) =>
      method === "get" ? [] : [{ path, method: method.toUpperCase(), operationId }],
    ),
  );
  expect(acts.length).toBeGreaterThan(10);
  const wanted: string[] = [];
  const json = { ...bearer(keys["operator"]!), "content-type": "application/json" };
  for (const { path, method, operationId } of acts) {
    // Somebody that is not there: noted all the same, and nothing happens to the fleet.
    const route = path.replaceAll(/\{\w+\}/g, "no-such");
    const { status: code } = await ask(method, route, { headers: json, body: "{}" });
    wanted.push(`"who":"key:mender","what":"${method} ${route}","outcome":"${code === 403 ? "refused" : "done"}"`);
    const input = Buffer.from([0x0a, operationId.length, ...Buffer.from(operationId)]);
    await call(coordinator.address, "/scoutsync.v1.Coordinator/Ask", superadmin, undefined, input);
    wanted.push(`"what":"ask ${operationId}","outcome":"done"`);
  }
  // The queue was paused, among other things.
  expect((await ask("POST", "/api/jobs/resume", { headers: json })).status).toBe(200);
  const audit = readFileSync(fleet.path("coordinator", "registry", "audit.log"), "utf8");
  expect(wanted.filter((entry) => !audit.includes(entry))).toEqual([]);
  expect(brokenLine(audit)).toBe(null);
});

test("no route is let through without a login or key, or with a key that does not fit", async () => {
  const document = JSON.parse((await ask("GET", "/api/openapi.json", { headers: bearer(keys["viewer"]!) })).body) as {
    paths: Record<string, object>;
  };
  const routes = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => [method.toUpperCase(), path]),
  );
  expect(routes.length).toBeGreaterThan(25);
  for (const path of ["/", "/metrics", "/api/openapi.json", "/logout", "/no/such/path"])
    routes.push([path === "/logout" ? "POST" : "GET", path]);
  const wrong: string[] = [];
  for (const [method = "", template = ""] of routes) {
    const path = template.replaceAll(/\{\w+\}/g, "1");
    const attempts: [string, Record<string, string>][] = [
      ["nothing", {}],
      ["a cookie of nobody", { cookie: "__Host-scoutsync=x" }],
    ];
    for (const what of ["expired", "revoked", "wrong", "nonsense"]) attempts.push([`key: ${what}`, bearer(keys[what]!)]);
    for (const [what, headers] of attempts) {
      const { status: code } = await ask(method, path, { headers });
      if (code !== 401) wrong.push(`${method} ${path} with ${what}: ${code}`);
    }
    if (path !== "/metrics" && path !== "/no/such/path") {
      const { status: code } = await ask(method, path, { headers: bearer(keys["metrics"]!) });
      if (code !== 403) wrong.push(`${method} ${path} with a key for metrics: ${code}`);
    }
    if (method !== "GET" && path !== "/logout") {
      const { status: code } = await ask(method, path, { headers: bearer(keys["viewer"]!) });
      if (code !== 403) wrong.push(`${method} ${path} with a viewer's key: ${code}`);
    }
  }
  expect(wrong).toEqual([]);
  expect((await ask("GET", "/metrics", { headers: bearer(keys["metrics"]!) })).status).toBe(200);
  expect((await ask("GET", "/api/fleet", { headers: bearer(keys["viewer"]!) })).status).toBe(200);
  expect((await ask("PUT", "/api/config", { headers: bearer(keys["operator"]!) })).status).toBe(403);
  // More than anyone has to say is not read to its end.
  const large = {
    headers: { ...bearer(keys["operator"]!), "content-type": "application/json" },
    body: JSON.stringify({ name: "x".repeat(2 * 1024 * 1024) }),
  };
  expect((await ask("POST", "/api/nodes", large)).status).toBe(413);
});

test("the dashboard asks for a login, and nothing changes without the session's token", async () => {
  const page = await ask("GET", "/", { headers: { accept: "text/html" } });
  expect([page.status, page.headers["location"]]).toEqual([303, "/login"]);
  const { body, headers } = await ask("GET", "/login");
  expect(body).toContain("<form");
  expect(headers).toMatchObject({ "x-frame-options": "DENY", "x-content-type-options": "nosniff" });
  expect(headers["strict-transport-security"]).toBeTruthy();

  const asAda = JSON.stringify({ name: "ada", password: PASSWORD });
  const elsewhere = { origin: "https://evil.example", "content-type": "application/json" };
  expect((await ask("POST", "/login", { headers: elsewhere, body: asAda })).status).toBe(403);
  const answer = await login("ada", PASSWORD);
  expect(answer.status).toBe(200);
  expect([answer.headers["set-cookie"]].flat().join("\n")).toMatch(/__Host-scoutsync=[^;]+;.*HttpOnly; Secure; SameSite=Strict/);
  const cookie = cookiesOf(answer).join("; ");
  const token = /__Host-scoutsync_csrf=([^;]+)/.exec(cookie)?.[1] ?? "";
  expect((await ask("GET", "/api/fleet", { headers: { cookie } })).status).toBe(200);
  expect((await ask("POST", "/api/jobs/pause", { headers: { cookie } })).status).toBe(403);
  expect((await ask("POST", "/api/jobs/pause", { headers: { cookie, "x-csrf-token": "x" } })).status).toBe(403);
  const foreign = { cookie, "x-csrf-token": token, origin: "https://evil.example" };
  expect((await ask("POST", "/api/jobs/pause", { headers: foreign })).status).toBe(403);
  expect((await ask("POST", "/api/jobs/pause", { headers: { cookie, "x-csrf-token": token } })).status).toBe(200);
  expect((await ask("POST", "/api/jobs/resume", { headers: { cookie, "x-csrf-token": token } })).status).toBe(200);
  expect((await ask("POST", "/logout", { headers: { cookie, "x-csrf-token": token } })).status).toBe(204);
  expect((await ask("GET", "/api/fleet", { headers: { cookie } })).status).toBe(401);
});

test("who guesses has to wait, also with the right password", async () => {
  await run(["users", "add", "grace"], { SCOUTSYNC_PASSWORD: PASSWORD });
  const answers: number[] = [];
  // Where a login takes long, the first waits are over before the next guess is there: they double.
  while (answers.at(-1) !== 429 && answers.length < 15) answers.push((await login("grace", `guess number ${answers.length}`)).status);
  expect(answers.slice(0, 5)).toEqual([401, 401, 401, 401, 401]);
  expect(answers.at(-1)).toBe(429);
  expect((await login("grace", PASSWORD)).status).toBe(429);
  // Others are not locked out by that.
  expect((await login("ada", PASSWORD)).status).toBe(200);
});

test("what is open ends with the key or login that it was opened with", async () => {
  const opened = async (headers: Record<string, string>) => {
    let begun = false;
    let ended = false;
    const request = httpsRequest(`https://${coordinator.http}/api/events`, { headers, ca, servername: "localhost" }, (response) => {
      begun = response.statusCode === 200;
      response.resume().once("end", () => (ended = true));
    });
    request.on("error", () => (ended = true));
    request.end();
    await until(() => begun, { what: "the stream has begun" });
    return () => ended;
  };
  const watched = (key: string) => {
    let code: number | null = null;
    const client = channelTo(coordinator.address, null);
    const metadata = new Metadata();
    metadata.set("authorization", `Bearer ${key}`);
    const same = (bytes: Buffer) => bytes;
    const stream = client.makeServerStreamRequest("/scoutsync.v1.Coordinator/Watch", same, same, Buffer.alloc(0), metadata);
    stream.on("error", () => {});
    stream.on("status", (ended: { code: number }) => (code = ended.code));
    stream.resume();
    return () => code;
  };
  await run(["users", "add", "hopper"], { SCOUTSYNC_PASSWORD: PASSWORD });
  const { key: leaving = "" } = await run(["keys", "create", "leaving"]);
  const cookie = cookiesOf(await login("hopper", PASSWORD)).join("; ");
  const staying = await opened(bearer(keys["viewer"]!));
  const [byKey, byLogin, byCall] = [await opened(bearer(leaving)), await opened({ cookie }), watched(leaving)];
  await run(["keys", "revoke", "leaving"]);
  await run(["users", "remove", "hopper"]);
  await until(() => byKey() && byLogin(), { what: "the streams of events have ended" });
  await until(() => byCall() === status.UNAUTHENTICATED, { what: "the call has ended" });
  expect(staying()).toBe(false);
});

test("the fleet works as ever: the coordinator catches up, and removes for good", async () => {
  const [pits, stands, judges] = nodes as [FleetNode, FleetNode, FleetNode];
  const { DatabaseSync } = process.getBuiltinModule("node:sqlite");
  const database = new DatabaseSync(pits.databases["main"]!, { timeout: 10_000 });
  database.exec("INSERT INTO note(body) VALUES('from the pits')");
  database.close();
  for (const { name, databases } of [stands, judges]) {
    await until(() => selectOne(databases["main"]!, "SELECT count(*) FROM note") === 1n, { what: `${name} was caught up` });
  }
  const worker = fleet.service(
    [
      "worker",
      "--coordinator",
      coordinator.address,
      "--redis",
      (await fleet.redis()).url,
      "--data",
      fleet.path("worker", "data"),
      "--join",
      await invite("worker"),
    ],
    "worker",
  );
  await worker;
  // Connections of a thief who has the laptop, to every node that can be reached and to the coordinator.
  const stolen = readFileSync(fleet.path("judges", "node-data", "fleet", "identity.pem"), "utf8");
  const open = await Promise.all([pits.address, stands.address, coordinator.address].map((address) => connectWith(stolen, address)));
  const begun = performance.now();
  const cut = open.map((socket) => new Promise<number>((resolve) => socket.once("close", () => resolve(performance.now() - begun))));
  await run(["nodes", "remove", "judges"]);
  const lasted = await Promise.all(cut);
  console.log(`connections of a removed node ended ${lasted.map((ms) => Math.round(ms)).join(", ")} ms after \`nodes remove\` was called`);
  await until(
    async () => {
      const refused = await scoutsync(["ping", pits.address, "--identity", fleet.path("judges", "node-data")], { env });
      return refused.stderr.includes("was put out of the fleet");
    },
    { what: "pits heard who was put out" },
  );

  // Who is not in the fleet's list any more: since when, and by whom.
  const members = (await run(["members", "list"])) as unknown as { name: string; revoked_at?: string; revoked_by?: string }[];
  expect(members.find(({ name }) => name === "judges")).toMatchObject({
    revoked_at: expect.stringMatching(/^20.*Z$/),
    revoked_by: expect.stringMatching(/^superadmin\//),
  });
  const audit = readFileSync(fleet.path("coordinator", "registry", "audit.log"), "utf8");
  expect(brokenLine(audit)).toBe(null);
  for (const expected of [
    /"key:mender"|"what":"\/scoutsync.v1.Access\/CreateKey"/,
    /"who":"user:ada","what":"POST \/api\/jobs\/pause","outcome":"done"/,
    /"what":"login","outcome":"refused"/,
    /RemoveNode/,
  ])
    expect(audit).toMatch(expected);
  // No secret is in any log.
  const logs = [audit, coordinator.process.log(), ...nodes.map((one) => one.process.log())];
  const secrets = [PASSWORD, ...Object.values(keys).filter((key) => key.length > 20)];
  for (const text of logs) expect(secrets.filter((secret) => text.includes(secret))).toEqual([]);
});

test.skipIf(findChromium() === null)("a person logs in with a browser, acts at the dashboard, and logs out", async () => {
  const browser = await startBrowser(findChromium() ?? "");
  try {
    // The fleet's own authority is nothing that a browser knows.
    const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
    page.setDefaultTimeout(boundOf(60_000));
    await page.goto(`https://${coordinator.http}/`);
    await page.getByLabel("Name").fill("ada");
    await page.getByLabel("Password").fill(PASSWORD);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByRole("heading", { level: 1, name: "Fleet" }).waitFor();
    const complaints: string[] = [];
    page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    // Something that changes the fleet: it needs the session's token, which the page sends by itself.
    await page.getByRole("button", { name: "Sync all" }).click();
    await page
      .getByRole("status")
      .getByText(/Everyone was asked|brought up to date/)
      .waitFor();
    expect(complaints).toEqual([]);
    await page.getByRole("link", { name: "Settings" }).click();
    await page.getByRole("button", { name: "Log out" }).click();
    await page.getByRole("heading", { name: "Log in" }).waitFor();
    // The session may have ended under an open page: it is taken up again where one is.
    await page.getByLabel("Name").fill("ada");
    await page.getByLabel("Password").fill(PASSWORD);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByRole("heading", { level: 1, name: "Settings" }).waitFor();
  } finally {
    await browser.close();
  }
});

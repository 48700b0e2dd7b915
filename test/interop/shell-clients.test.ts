import {
  createDatabase,
  Fleet,
  runProgram,
  scoutsync,
  startWriter,
  until,
  type FleetCoordinator,
  type FleetNode,
} from "@scoutsync/testkit";
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { coordinatorCalls, methodsOf, nodeCalls, type InteropCall } from "./calls.ts";

const SCHEMA = "CREATE TABLE note(id INTEGER PRIMARY KEY, body TEXT)";
const BUF = fileURLToPath(new URL("../../node_modules/.bin/buf", import.meta.url));
const GRPCURL = ["grpcurl", join(homedir(), "go", "bin", "grpcurl")].find((program) => !spawnSync(program, ["-version"]).error);
const proto = (file: string) => readFileSync(new URL(`../../proto/scoutsync/v1/${file}.proto`, import.meta.url), "utf8");
/** Long enough for one event of the coordinator to come by; with each try for longer, as a busy machine may need it. */
const ENDLESS_MS = 3_000;

let fleet: Fleet;
let a: FleetNode;
let b: FleetNode;
let coordinator: FleetCoordinator;
beforeAll(async () => {
  fleet = new Fleet("interop");
  const paths = [createDatabase(fleet.path("a", "app.db"), SCHEMA), createDatabase(fleet.path("b", "app.db"), SCHEMA)] as const;
  const uploads = fleet.path("a", "uploads", "hello.txt");
  writeFileSync(uploads, "hello");
  a = await fleet.node({ name: "a", databases: { app: paths[0] }, flags: ["--files", `uploads=${dirname(uploads)}`] });
  b = await fleet.node({ name: "b", databases: { app: paths[1] } });
  coordinator = await fleet.coordinator({ redis: (await fleet.privateRedis()).url });
  const writer = startWriter();
  await writer.write({
    path: paths[0],
    statements: [
      ["INSERT INTO note(body) VALUES ('first note')", []],
      ["INSERT INTO note(body) VALUES ('second note')", []],
    ],
  });
  await writer.stop();
  await until(async () => (await scoutsync(["changes", a.address, "--db", "app", "--count"])).stdout.trim() === "2", {
    what: "both notes to be changes",
  });
});
afterAll(() => fleet.stop());

/** Something has to happen for a watcher to see, and on a busy machine a client takes a while until it watches. */
function watched(client: ShellClient, call: InteropCall): Promise<string> {
  const scan = () => fetch(`http://${coordinator.http}/api/sync/catchup/scan?wait=false`, { method: "POST" });
  let tries = 0;
  const look = async () => {
    tries++;
    const happening = setInterval(() => void scan().catch(() => {}), 300);
    const answer = await client.call(coordinator.address, call, ENDLESS_MS * tries);
    clearInterval(happening);
    return call.expected.test(answer) && answer;
  };
  return until(look, { what: call.method });
}

interface ShellClient {
  name: string;
  missing: boolean;
  services(address: string): Promise<string>;
  methods(address: string, service: string): Promise<string>;
  describe(address: string, symbol: string): Promise<string>;
  /** An endless one is cut after so many milliseconds. */
  call(address: string, call: InteropCall, endlessMs?: number): Promise<string>;
}

async function output(program: string, args: readonly string[], withinMs?: number): Promise<string> {
  const { stdout, stderr } = await runProgram(program, args, withinMs === undefined ? {} : { withinMs });
  return stdout.trim() === "" ? stderr : stdout;
}

const CONNECTION = ["--protocol", "grpc", "--http2-prior-knowledge", "--emit-defaults"];

function bufCurl(reflection: "grpc-v1" | "grpc-v1alpha"): ShellClient {
  const curl = (args: string[], withinMs?: number) =>
    output(BUF, ["curl", ...CONNECTION, "--reflect-protocol", reflection, ...args], withinMs);
  return {
    name: `buf curl over reflection ${reflection}`,
    missing: false,
    services: (address) => curl(["--list-services", `http://${address}`]),
    methods: (address) => curl(["--list-methods", `http://${address}`]),
    // buf curl resolves the whole schema before it calls anything; it has no describe of its own.
    describe: (address) => curl(["--list-methods", `http://${address}`]),
    call: (address, { method, body, endless }, endlessMs) =>
      curl(["-d", body, `http://${address}/scoutsync.v1.${method}`], endless ? endlessMs : undefined),
  };
}

const grpcurl: ShellClient = {
  name: "grpcurl",
  missing: GRPCURL === undefined,
  services: (address) => output(GRPCURL ?? "", ["-plaintext", address, "list"]),
  methods: (address, service) => output(GRPCURL ?? "", ["-plaintext", address, "list", service]),
  describe: (address, symbol) => output(GRPCURL ?? "", ["-plaintext", address, "describe", symbol]),
  call: (address, { method, body, endless }, endlessMs = ENDLESS_MS) =>
    output(GRPCURL ?? "", [
      "-plaintext",
      "-emit-defaults",
      ...(endless ? ["-max-time", String(endlessMs / 1000)] : []),
      "-d",
      body,
      address,
      `scoutsync.v1.${method}`,
    ]),
};

describe.each([bufCurl("grpc-v1"), bufCurl("grpc-v1alpha"), grpcurl])("$name", (client) => {
  test.skipIf(client.missing)("lists services and every method", async () => {
    for (const [address, service, file] of [
      [a.address, "SyncNode", "sync_node"],
      [coordinator.address, "Coordinator", "coordinator"],
    ] as const) {
      const services = await client.services(address);
      expect(services).toContain(`scoutsync.v1.${service}`);
      expect(services).toContain("grpc.health.v1.Health");
      const methods = (await client.methods(address, `scoutsync.v1.${service}`)).replaceAll("/", ".");
      for (const method of methodsOf(proto(file), service)) expect(methods).toContain(`scoutsync.v1.${method.replace("/", ".")}`);
    }
  });

  test.skipIf(client.missing || !client.name.startsWith("grpcurl"))("describes services and messages", async () => {
    expect(await client.describe(a.address, "scoutsync.v1.SyncNode")).toContain(
      "rpc PushChanges ( stream .scoutsync.v1.PushChangesRequest )",
    );
    expect(await client.describe(a.address, "scoutsync.v1.Batch")).toContain("bytes sha256");
    expect(await client.describe(coordinator.address, "scoutsync.v1.ReportSessionRequest")).toContain(".scoutsync.v1.SyncResult");
  });

  test.skipIf(client.missing)("calls every RPC of a node", async () => {
    const calls = nodeCalls(b.address);
    expect(new Set(calls.map(({ method }) => method))).toEqual(new Set(methodsOf(proto("sync_node"), "SyncNode")));
    for (const call of calls) expect(await client.call(a.address, call), call.method).toMatch(call.expected);
  });

  test.skipIf(client.missing)("calls every RPC of the coordinator", async () => {
    const calls = coordinatorCalls(a.address);
    expect(new Set(calls.map(({ method }) => method))).toEqual(new Set(methodsOf(proto("coordinator"), "Coordinator")));
    for (const call of calls) {
      const answer = call.endless ? await watched(client, call) : await client.call(coordinator.address, call);
      expect(answer, call.method).toMatch(call.expected);
    }
  });

  test.skipIf(client.missing)("gets a status and a way out for what is wrong", async () => {
    const answer = await client.call(a.address, { method: "SyncNode/GetChanges", body: '{"database":"nope"}', expected: /x/ });
    expect(answer).toMatch(/not_?found/i);
    expect(answer).toContain("nope");
  });
});

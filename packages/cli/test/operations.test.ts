import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { fileURLToPath } from "node:url";
import { OPERATIONS, rpcName } from "@scoutsync/coordinator";
import { CoordinatorService } from "@scoutsync/protocol";
import type { Command } from "commander";
import { expect, test } from "vitest";
import { FLEET_COMMANDS } from "../src/fleet/table.ts";
import { buildProgram } from "../src/program.ts";
import { run } from "../src/run.ts";

/** Calls that are no operation of a person, each with why. */
const OTHER_CALLS: Readonly<Record<string, string>> = {
  Register: "what a node says at its start",
  Heartbeat: "what a node says while it runs",
  AcquireLease: "between workers and the coordinator",
  ReportSession: "between workers and the coordinator",
  Watch: "a stream; over HTTP it is /api/events",
  Ask: "any operation of the table",
};

const program = buildProgram({ argv: [], env: {}, cwd: "/", stdout: new PassThrough(), stderr: new PassThrough() });

const calls = Object.values(CoordinatorService).map(({ path }) => path.split("/")[2] ?? "");

/** Commands that are more than one operation, each with why. */
const OTHER_COMMANDS: Readonly<Record<string, string>> = {
  "review list": "of one node without a coordinator, or of the fleet",
  "review resolve": "at the node, also without a coordinator",
  import: "a file at the node, also without a coordinator",
  changes: "at the node, also without a coordinator",
  "files list": "at the node, also without a coordinator",
  api: "any operation of the table",
};
/** Where the coordinator is called by hand, each with why. */
const OTHER_CALLERS: Readonly<Record<string, string>> = {
  "connect.ts": "the connection itself, and finding a node by its name",
  "fleet/fleet-command.ts": "asks for operations of the table",
  "commands/review.ts": "the list of the fleet, where no node is named",
};
const wordsOf = (usage: string) => usage.split(" ").filter((word) => /^\w/.test(word));
const declared = new Map(FLEET_COMMANDS.map((command) => [wordsOf(command.usage).join(" "), command.operation]));

test.each(OPERATIONS.map((one) => [one.id, one] as const))("%s can be reached by HTTP, gRPC and command line", (_id, one) => {
  expect(one.path).toMatch(/^\/api\//);
  expect(calls).toContain(rpcName(one));
  let command: Command | undefined = program;
  for (const word of one.command.split(" ")) command = command?.commands.find((child) => child.name() === word);
  expect(command, `scoutsync ${one.command}`).toBeDefined();
  expect([...declared.keys(), ...Object.keys(OTHER_COMMANDS)]).toContain(one.command);
});

test.each([...declared])("scoutsync %s asks for %s", (words, id) => {
  expect(OPERATIONS.find((one) => one.id === id)?.command).toBe(words);
});

test("nothing else on the command line calls the coordinator", () => {
  const source = fileURLToPath(new URL("../src", import.meta.url));
  const callers = readdirSync(source, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts") && /\bwithCoordinator\(|CoordinatorClient\b/.test(readFileSync(join(source, file), "utf8")))
    .sort();
  expect(callers).toEqual(Object.keys(OTHER_CALLERS).sort());
});

test("every call of the coordinator is one operation of the table, or says why not", () => {
  const ofTable = OPERATIONS.flatMap((one) => (one.rpc === null ? [] : [rpcName(one)]));
  expect([...ofTable, ...Object.keys(OTHER_CALLS)].sort()).toEqual([...calls].sort());
});

test("api lists all of it, without a coordinator", async () => {
  const stdout = new PassThrough();
  const code = await run({ argv: ["api", "--json"], env: {}, cwd: "/", stdout, stderr: new PassThrough() });
  expect(code).toBe(0);
  const listed = JSON.parse(String(stdout.read())) as { operation: string }[];
  expect(listed.map(({ operation }) => operation)).toEqual(OPERATIONS.map(({ id }) => id));
});

import { PassThrough } from "node:stream";
import { OPERATIONS, rpcName } from "@scoutsync/coordinator";
import { CoordinatorService } from "@scoutsync/protocol";
import type { Command } from "commander";
import { expect, test } from "vitest";
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

test.each(OPERATIONS.map((one) => [one.id, one] as const))("%s can be reached by HTTP, gRPC and command line", (_id, one) => {
  expect(one.path).toMatch(/^\/api\//);
  expect(calls).toContain(rpcName(one));
  let command: Command | undefined = program;
  for (const word of one.command.split(" ")) command = command?.commands.find((child) => child.name() === word);
  expect(command, `scoutsync ${one.command}`).toBeDefined();
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

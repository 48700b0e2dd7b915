import { PassThrough } from "node:stream";
import { OPERATIONS } from "@scoutsync/coordinator";
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

test.each(OPERATIONS.map((one) => [one.id, one] as const))("%s can be reached by HTTP, gRPC and command line", (_id, one) => {
  const rpcs = Object.values(CoordinatorService).map(({ path }) => path.split("/")[2]);
  expect(one.path).toMatch(/^\/api\//);
  expect(rpcs).toContain(one.rpc ?? "Ask");
  let command: Command | undefined = program;
  for (const word of one.command.split(" ")) command = command?.commands.find((child) => child.name() === word);
  expect(command, `scoutsync ${one.command}`).toBeDefined();
});

test("every call of the coordinator is an operation of the table, or says why not", () => {
  const named = new Set([...OPERATIONS.map((one) => one.rpc), ...Object.keys(OTHER_CALLS)]);
  const calls = Object.values(CoordinatorService).map(({ path }) => path.split("/")[2] ?? "");
  expect(calls.filter((call) => !named.has(call))).toEqual([]);
});

test("api lists all of it, without a coordinator", async () => {
  const stdout = new PassThrough();
  const code = await run({ argv: ["api", "--json"], env: {}, cwd: "/", stdout, stderr: new PassThrough() });
  expect(code).toBe(0);
  const listed = JSON.parse(String(stdout.read())) as { operation: string }[];
  expect(listed.map(({ operation }) => operation)).toEqual(OPERATIONS.map(({ id }) => id));
});

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { childEnvironment } from "@scoutsync/testkit";
import { expect, test } from "vitest";

const PROGRAM = fileURLToPath(new URL("../bin/scoutsync.mjs", import.meta.url));
/** No flag of V8 is given to a Node that it was not tried with. */
const READY_FLAGS = Number.parseInt(process.versions.node, 10) <= 24 ? ["--always-sparkplug"] : [];
/** What every Node that is started says of itself first. */
const SAYS = `data:text/javascript,${encodeURIComponent('console.error(JSON.stringify([process.pid, process.execArgv, process.env.MALLOC_ARENA_MAX ?? ""]))')}`;

/** [process id, flags of Node, heaps of glibc] of each program that a command line ran as, in turn. */
function ranAs(
  args: readonly string[],
  { NODE_OPTIONS = "", ...env }: Record<string, string> = {},
): [pid: number, flags: string[], heaps: string][] {
  const done = spawnSync(process.execPath, [PROGRAM, ...args], {
    env: { ...childEnvironment(), ...env, NODE_OPTIONS: `${NODE_OPTIONS} --import=${SAYS}` },
    encoding: "utf8",
  });
  expect(done.status, done.stderr).toBe(0);
  return done.stderr
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as [number, string[], string]);
}

test.skipIf(process.platform === "win32")(
  "a service takes its own place with less memory and code that is compiled at once, a command that ends by itself stays as it is",
  () => {
    const [first, second, ...more] = ranAs(["node", "--help"]);
    expect(more).toEqual([]);
    expect(second).toEqual([first?.[0], [...READY_FLAGS, "--max-semi-space-size=8"], "2"]);
    expect(first?.slice(1)).toEqual([[], ""]);
    expect(ranAs(["ping", "--help"])).toHaveLength(1);
    expect(ranAs(["worker", "--help"], { MALLOC_ARENA_MAX: "5" }).at(-1)?.[2], "what somebody has set holds").toBe("5");
    const said = ranAs(["node", "--help"], { NODE_OPTIONS: "--max-semi-space-size=32" });
    expect(said.map(([, flags, heaps]) => [flags, heaps]).at(-1), "in NODE_OPTIONS as well: a flag would outdo it").toEqual([
      READY_FLAGS,
      "2",
    ]);
  },
);

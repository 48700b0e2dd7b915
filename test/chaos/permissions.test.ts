import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { childEnvironment, createDatabase, differences, dumpDatabase, Fleet, runProgram } from "@scoutsync/testkit";
import { expect, test } from "vitest";

const MAIN = fileURLToPath(new URL("../../packages/cli/src/main.ts", import.meta.url));
const SCHEMA = "CREATE TABLE entry(id INTEGER PRIMARY KEY, body TEXT NOT NULL); INSERT INTO entry VALUES(1, 'kept')";

/** Why nothing can be run as another user here; empty when it can. */
function whyNotNobody(): string {
  if (process.getuid?.() !== 0) return "only root can become another user, and the tests do not run as root";
  const done = spawnSync("runuser", ["-u", "nobody", "--", process.execPath, "-e", `require("fs").readFileSync(${JSON.stringify(MAIN)})`]);
  if (done.error) return `runuser: ${done.error.message}`;
  return done.status === 0 ? "" : "the user nobody may not read this program";
}

test.for([
  { what: "that may not be read", file: 0o600, folder: 0o777, says: /cannot be opened.*may read and write/s },
  { what: "that may not be written", file: 0o644, folder: 0o777, says: /may not be written.*write permission/s },
  {
    what: "and a folder that may not be written any more, where a node had run",
    file: 0o644,
    folder: 0o755,
    lock: 0o666,
    says: /may not be written.*write permission/s,
  },
  {
    what: "beside the lock of a node that another user had run",
    file: 0o666,
    folder: 0o777,
    lock: 0o644,
    says: /may not be written.*write permission/s,
  },
  {
    what: "in a folder that may not be written",
    file: 0o666,
    folder: 0o755,
    says: /(may not be written.*write permission|cannot be opened.*may read and write)/s,
  },
])("a database $what: the node says so, says what to do, and changes nothing", async ({ file, folder, lock, says }, context) => {
  const why = whyNotNobody();
  if (why !== "") context.skip(why);
  const fleet = new Fleet("permissions");
  try {
    chmodSync(fleet.directory, 0o755);
    const path = createDatabase(fleet.path("app", "app.db"), SCHEMA);
    const before = dumpDatabase(path);
    const own = fleet.path("node-data", "x");
    mkdirSync(own);
    // Left there as by a node that could not remove it.
    const left = `${path}-scoutsync-lock`;
    if (lock !== undefined) writeFileSync(left, "");
    for (const [one, mode] of [
      ...(lock === undefined ? [] : ([[left, lock]] as const)),
      [path, file],
      [fleet.path("app"), folder],
      [own, 0o777],
    ] as const)
      chmodSync(one, mode);
    const args = [
      "-u",
      "nobody",
      "--",
      process.execPath,
      MAIN,
      "node",
      "--name",
      "a",
      "--listen",
      "127.0.0.1:0",
      "--db",
      `app=${path}`,
      "--data",
      own,
    ];
    const done = await runProgram("runuser", args, { env: { ...childEnvironment(), HOME: own } });
    expect(done.stdout + done.stderr).toMatch(says);
    expect(done.code).not.toBe(0);
    expect(differences(before, dumpDatabase(path))).toEqual([]);
  } finally {
    await fleet.stop();
  }
});

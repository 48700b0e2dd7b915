import { existsSync, globSync } from "node:fs";
import { createDatabase, differences, dumpDatabase, Fleet, runProgram, scoutsync, select, until } from "@scoutsync/testkit";
import { afterEach, beforeEach, expect, test } from "vitest";

const SCHEMA = "CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT)";

/** Gives a program another clock; from the package libfaketime. */
const [LIBRARY] = ["/usr/lib/*/faketime/libfaketime.so.1", "/usr/local/lib/faketime/libfaketime.so.1"].flatMap((path) => globSync(path));
const atClock = (offset: string) => ({
  LD_PRELOAD: LIBRARY ?? "",
  FAKETIME: offset,
  FAKETIME_DONT_FAKE_MONOTONIC: "1",
});

let fleet: Fleet;
beforeEach(() => (fleet = new Fleet("clock")));
afterEach(() => fleet.stop());

/** Writes as an application on a machine with that clock does. */
async function write(path: string, sql: string, offset = "+0"): Promise<void> {
  const done = await runProgram(
    "python3",
    ["-c", "import sqlite3,sys; c=sqlite3.connect(sys.argv[1],timeout=30); c.execute(sys.argv[2]); c.commit()", path, sql],
    {
      env: { PATH: process.env["PATH"], ...(offset === "+0" ? {} : atClock(offset)) },
    },
  );
  expect(done.code, done.stderr).toBe(0);
}

test.skipIf(!LIBRARY || !existsSync("/usr/bin/python3"))(
  "a node whose clock is a year ahead is found out: the later of two edits wins, and both nodes say what is wrong (needs libfaketime and python3)",
  async () => {
    const paths = { a: createDatabase(fleet.path("a", "app.db"), SCHEMA), b: createDatabase(fleet.path("b", "app.db"), SCHEMA) };
    const a = await fleet.node({ name: "a", databases: { app: paths.a }, env: atClock("+365d") });
    const b = await fleet.node({ name: "b", databases: { app: paths.b } });
    await write(paths.b, "INSERT INTO note VALUES(1, 'first')");
    expect((await fleet.sync(a, b)).code).toBe(0);
    await write(paths.a, "UPDATE note SET text = 'earlier, by the clock of next year'", "+365d");
    await write(paths.a, "INSERT INTO note VALUES(2, 'of next year')", "+365d");
    // By more than what a clock that is read over the network of a busy machine is off by.
    await new Promise((done) => setTimeout(done, 2_000));
    await write(paths.b, "UPDATE note SET text = 'later, by the right clock'");
    const done = await fleet.sync(b, a);
    expect(done.code, done.stdout + done.stderr).toBe(0);
    expect(done.json()).toMatchObject({ success: true, verified: true });
    for (const path of Object.values(paths)) {
      expect(select(path, "SELECT text FROM note ORDER BY id")).toEqual([{ text: "later, by the right clock" }, { text: "of next year" }]);
    }
    expect(differences(dumpDatabase(paths.a), dumpDatabase(paths.b))).toEqual([]);
    const history = await scoutsync(["history", a.address, "--db", "app", "note", "2", "--json"]);
    expect(new Date(history.json<{ time: string }[]>()[0]?.time ?? 0).getFullYear()).toBe(new Date().getFullYear());

    const said = await scoutsync(["ping", a.address, "--json"]);
    const ping = said.json<{ clock_offset_ms: number; clock: { correction_ms: number; warning: string } }>();
    expect(ping.clock_offset_ms).toBeGreaterThan(364 * 86_400_000);
    expect(ping.clock.correction_ms).toBeLessThan(-364 * 86_400_000);
    expect(ping.clock.warning).toContain("365 days");
    await until(() => (a.process.log() + b.process.log()).includes("365 days"), { what: "a word on it in a log" });

    // So it is where only the node has the wrong clock, and who writes beside it the right one, as in another container.
    await write(paths.b, "UPDATE note SET text = 'earlier' WHERE id = 2");
    await new Promise((resolve) => setTimeout(resolve, 50));
    await write(paths.a, "UPDATE note SET text = 'later, by a clock of its own' WHERE id = 2");
    expect((await fleet.sync(a, b)).code).toBe(0);
    for (const path of Object.values(paths))
      expect(select(path, "SELECT text FROM note WHERE id = 2")).toEqual([{ text: "later, by a clock of its own" }]);

    // Long afterwards, with nothing corrected any more: whoever knows a write comes after it.
    await write(paths.a, "UPDATE note SET text = 'once more by a'", "+365d");
    expect((await fleet.sync(a, b)).code).toBe(0);
    await write(paths.b, "UPDATE note SET text = 'the last word'");
    expect((await fleet.sync(a, b)).code).toBe(0);
    for (const path of Object.values(paths)) expect(select(path, "SELECT DISTINCT text FROM note")).toEqual([{ text: "the last word" }]);
  },
);

import { boundOf, createDatabase, differences, dumpDatabase, Fleet, scoutsync, select, sqliteProgram } from "@scoutsync/testkit";
import { pause } from "@scoutsync/runtime";
import Database from "better-sqlite3";
import { expect, onTestFinished, test } from "vitest";

/** Longer than the busy timeout of a node. */
const HOLD_MS = Number(process.env["SCOUTSYNC_HOLD_MS"] ?? 8_000);
const SCHEMA = "CREATE TABLE entry(id INTEGER PRIMARY KEY, body TEXT NOT NULL UNIQUE)";

test(
  `an application that keeps a write transaction open for ${HOLD_MS} ms, beside one that reads all the time, costs time only`,
  { timeout: boundOf(360_000) + 2 * HOLD_MS },
  async () => {
    const fleet = new Fleet("long");
    onTestFinished(() => fleet.stop());
    const paths = ["a", "b"].map((name) => createDatabase(fleet.path(name, "app.db"), SCHEMA)) as [string, string];
    const a = await fleet.node({ name: "a", databases: { app: paths[0] } });
    const b = await fleet.node({ name: "b", databases: { app: paths[1] } });
    sqliteProgram(paths[0], "INSERT INTO entry(body) VALUES ('before');");
    expect((await fleet.sync(a, b)).code).toBe(0);

    const reader = new Database(paths[0], { readonly: true });
    const writer = new Database(paths[0], { timeout: 30_000 });
    onTestFinished(() => {
      writer.close();
      reader.close();
    });
    reader.exec("BEGIN");
    const seen = () => reader.prepare("SELECT count(*) FROM entry").pluck().get();
    expect(seen()).toBe(1);
    writer.exec("BEGIN IMMEDIATE");
    writer.exec("INSERT INTO entry(body) VALUES ('in the long transaction')");
    sqliteProgram(paths[1], "INSERT INTO entry(body) VALUES ('elsewhere meanwhile');");
    const began = performance.now();
    const refused = await fleet.sync(a, b);
    expect(refused.code).toBe(1);
    expect(refused.json()).toMatchObject({ success: false, errors: [{ code: "DATABASE_LOCKED" }] });
    // It still answers who asks, and what waits is not lost sight of.
    const ping = await scoutsync(["ping", a.address, "--json"]);
    expect(ping.code).toBe(0);
    await pause(Math.max(0, HOLD_MS - (performance.now() - began)));
    writer.exec("COMMIT");
    sqliteProgram(paths[0], "INSERT INTO entry(body) VALUES ('after');");
    expect((await fleet.sync(a, b)).code).toBe(0);
    expect(seen(), "a reader goes on seeing what was there when it began").toBe(1);
    reader.exec("COMMIT");

    for (const path of paths) {
      const bodies = select(path, "SELECT body FROM entry").map(({ body }) => String(body));
      expect(bodies.toSorted()).toEqual(["after", "before", "elsewhere meanwhile", "in the long transaction"]);
    }
    expect(differences(dumpDatabase(paths[0]), dumpDatabase(paths[1]))).toEqual([]);
  },
);

import { copyFileSync } from "node:fs";
import { createDatabase, differences, dumpDatabase, Fleet, integrityProblems, select, sqliteProgram } from "@scoutsync/testkit";
import { expect, onTestFinished, test } from "vitest";
import { application, hasModules, settle } from "./application.ts";

const REPORTS = 15;

test("a Flask application is migrated server by server, by Alembic in batch mode, while the others write and all follow each other", async (context) => {
  if (!hasModules("flask_migrate", "flask_sqlalchemy")) {
    return context.skip("Flask is not here: apt-get install python3-flask-migrate python3-flask-sqlalchemy");
  }
  const fleet = new Fleet("flask");
  onTestFinished(() => fleet.stop());
  const run = application("flask");
  const upgrade = (path: string, to: string) => run(path, { FLASK_APP: "app" }, "-m", "flask", "db", "upgrade", to);
  const base = createDatabase(fleet.path("base.db"), "");
  await upgrade(base, "0001");
  sqliteProgram(base, "INSERT INTO event(code) VALUES('2026arc');");
  const ledger = (await run(base, {}, "write.py", "base", String(REPORTS))).trim().split("\n");
  const paths = ["a", "b", "c"].map((name) => fleet.path(name, "app.db"));
  for (const path of paths) copyFileSync(base, path);
  const first = await fleet.node({ name: "a", databases: { main: paths[0]! } });
  const second = await fleet.node({ name: "b", databases: { main: paths[1]! }, peers: [first.address] });
  const third = await fleet.node({ name: "c", databases: { main: paths[2]! }, peers: [first.address] });

  const released = paths.map(() => "1");
  const write = async (step: string, at: number) => {
    const lines = await run(paths[at]!, { RELEASE: released[at]! }, "write.py", `${step} ${at}`, String(REPORTS));
    ledger.push(...lines.trim().split("\n"));
  };
  for (const at of paths.keys()) {
    const others = [0, 1, 2].filter((other) => other !== at);
    // The application of the server that is migrated is stopped, as anyone would; the others know nothing of it.
    await Promise.all([upgrade(paths[at]!, "0002"), ...others.map((other) => write(`while ${at}`, other))]);
    released[at] = "2";
    await Promise.all([0, 1, 2].map((each) => write(`after ${at}`, each)));
  }
  await settle(fleet, [first, second, third]);

  const dumps = paths.map((path) => dumpDatabase(path).filter(({ table }) => table !== "alembic_version"));
  for (const other of dumps.slice(1)) expect(differences(dumps[0]!, other)).toEqual([]);
  for (const path of paths) {
    const reports = select(
      path,
      "SELECT text, points, name, region, code FROM report JOIN team ON team.id = team_id JOIN event ON event.id = event_id",
    );
    expect(new Set(reports.map(({ text }) => text))).toEqual(new Set(ledger));
    expect(reports).toHaveLength(ledger.length);
    for (const { text, points, name, region, code } of reports) {
      expect(name).toBe(String(text).replace("report", "team"));
      expect(String(points)).toBe(String(text).split(" ").at(-1));
      expect(region).toBe("unknown");
      expect(code).toBe("2026arc");
    }
    const readers = select(path, "SELECT reader.name, text FROM reader JOIN report ON report.id = report_id");
    expect(readers.length).toBe(6 * REPORTS + 3 * REPORTS);
    expect(readers.filter(({ name, text }) => name !== String(text).replace("report", "reader"))).toEqual([]);
    expect(integrityProblems(path)).toEqual([]);
  }
});

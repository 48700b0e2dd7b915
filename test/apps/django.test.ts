import { copyFileSync } from "node:fs";
import { createDatabase, differences, dumpDatabase, Fleet, integrityProblems, select } from "@scoutsync/testkit";
import { expect, onTestFinished, test } from "vitest";
import { application, hasModules, migrate, settle } from "./application.ts";

const run = application("django");
const python = (path: string, ...args: string[]) => run(path, {}, ...args);

test("a Django project on three servers is migrated one by one while all of them write", async (context) => {
  if (!hasModules("django")) return context.skip("Django is not here: apt-get install python3-django");
  const fleet = new Fleet("django");
  onTestFinished(() => fleet.stop());
  const base = createDatabase(fleet.path("base.db"), "");
  await migrate(base, "shop", "0001");
  await migrate(base, "auth");
  await migrate(base, "sessions");
  await python(
    base,
    "-c",
    `import os, sqlite3; db = sqlite3.connect(os.environ["APP_DB"])
db.execute("INSERT INTO shop_tag(label) VALUES('one')")
db.executemany("INSERT INTO shop_team(name) VALUES(?)", [(f"old team {i}",) for i in range(150)])
db.executemany("INSERT INTO shop_note(line, team_id) VALUES(?, ?)", [(f"old note {i}", i + 1) for i in range(150)])
db.commit()`,
  );
  const ledger = Array.from({ length: 150 }, (_, i) => `old note ${i}`);
  const paths = ["a", "b", "c"].map((name) => fleet.path(name, "app.db"));
  for (const path of paths) copyFileSync(base, path);
  const nodes = await Promise.all(paths.map((path, i) => fleet.node({ name: "abc".charAt(i), databases: { main: path } })));

  const write = async (step: string, isMigrated: (i: number) => boolean) => {
    const written = await Promise.all(paths.map((path, i) => python(path, "write.py", `${step}${i}`, isMigrated(i) ? "new" : "old")));
    ledger.push(...written.flatMap((lines) => lines.trim().split("\n")));
  };
  await write("before", () => false);
  for (const [at, path] of paths.entries()) {
    await migrate(path, "shop");
    await write(`step${at} `, (i) => i <= at);
    await settle(fleet, nodes);
  }

  const [first, ...others] = paths.map((path) => dumpDatabase(path).filter(({ table }) => table !== "django_migrations"));
  for (const other of others) expect(differences(first!, other)).toEqual([]);
  for (const path of paths) {
    const notes = select(
      path,
      "SELECT note.body AS body, team.name AS team FROM shop_note AS note JOIN shop_team AS team ON team.id = note.team_id",
    );
    expect(new Set(notes.map(({ body }) => body))).toEqual(new Set(ledger));
    expect(notes).toHaveLength(ledger.length);
    expect(notes.filter(({ body, team }) => team !== String(body).replace("note", "team"))).toEqual([]);
    expect(select(path, "SELECT count(*) AS links FROM shop_note_tags")[0]).toEqual({ links: BigInt(ledger.length - 150) });
    expect(integrityProblems(path)).toEqual([]);
    expect(await python(path, "manage.py", "check")).toContain("no issues");
  }
});

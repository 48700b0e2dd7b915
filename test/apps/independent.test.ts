import { createDatabase, differences, dumpDatabase, Fleet, integrityProblems, scoutsync, select } from "@scoutsync/testkit";
import { expect, onTestFinished, test } from "vitest";
import { application, hasModules, migrate, settle } from "./application.ts";

const run = application("django");
const python = (path: string, ...args: string[]) => run(path, {}, ...args);

interface Accounts {
  users: Record<string, { logins: string[]; root: boolean; groups: string[]; rights: string[] | "all" }>;
  types: string[];
  permissions: string[];
  tags: string[];
}
const look = async (path: string) => JSON.parse(await python(path, "accounts.py", "look")) as Accounts;
const tables = (path: string) => dumpDatabase(path).filter(({ table }) => table !== "django_migrations");

test("two Django servers that were set up apart are joined: one admin, one of each permission, and everybody can log in on both", async (context) => {
  if (!hasModules("django")) return context.skip("Django is not here: apt-get install python3-django");
  const fleet = new Fleet("independent");
  onTestFinished(() => fleet.stop());
  const paths = ["a", "b"].map((name) => createDatabase(fleet.path(name, "app.db"), "")) as [string, string];
  // In another order, so that the same content types and permissions have other ids, and the same ids are others.
  await Promise.all([
    migrate(paths[0]),
    migrate(paths[1], "contenttypes")
      .then(() => migrate(paths[1], "shop"))
      .then(() => migrate(paths[1])),
  ]);
  await Promise.all(paths.map((path, i) => python(path, "accounts.py", "make", "ab".charAt(i))));
  const ids = paths.map((path) => select(path, "SELECT id, app_label, model FROM django_content_type ORDER BY id"));
  expect(ids[0]).not.toEqual(ids[1]);
  const alone = await look(paths[0]);

  const nodes = await Promise.all(
    paths.map((path, i) => fleet.node({ name: "ab".charAt(i), databases: { main: path }, baseline: "distinct" })),
  );
  await settle(fleet, nodes);

  const check = async (late: string[]) => {
    expect(differences(tables(paths[0]), tables(paths[1]))).toEqual([]);
    // Each of these logs everybody in, which writes to their rows.
    const [one, other] = (await Promise.all(paths.map(look))) as [Accounts, Accounts];
    expect(other).toEqual(one);
    for (const path of paths) expect(integrityProblems(path)).toEqual([]);
    const { users } = one;
    expect(Object.keys(users).sort()).toEqual(["admin", "alice", "only a", "only b", ...late.map((who) => `late ${who}`)].sort());
    // Of two passwords for one name one is valid, the same on both; the other one is in the list for people.
    expect(users["admin"]).toMatchObject({ root: true, logins: [expect.stringMatching(/^root of [ab]$/)] });
    expect(users["alice"]).toMatchObject({ logins: [expect.stringMatching(/^alice of [ab]$/)], groups: ["leads of b", "scouts"] });
    for (const who of ["a", "b"]) {
      expect(users[`only ${who}`]).toEqual({
        logins: [`own of ${who}`],
        root: false,
        groups: [`leads of ${who}`, "scouts"],
        rights: ["shop.add_note", "shop.add_team", "shop.change_team", "shop.delete_note", "shop.view_team"],
      });
    }
    for (const who of late) expect(users[`late ${who}`]).toMatchObject({ logins: [`late of ${who}`], groups: ["scouts"] });
    // As on a server that stands alone: each once, and each permission is of its own content type.
    expect(one.types).toEqual(alone.types);
    expect(one.permissions).toEqual(alone.permissions);
    expect(one.tags).toEqual(["of a", "of b", "shared"]);
  };
  await check([]);

  // Both go on: accounts are made on either side, in groups that are one now, and Django looks for its permissions again.
  await Promise.all(paths.map((path, i) => python(path, "accounts.py", "later", "ab".charAt(i))));
  await migrate(paths[1], "shop");
  await settle(fleet, nodes);
  await check(["a", "b"]);
  for (const { address } of nodes) {
    const reviews = (await scoutsync(["review", "list", address, "--json"])).json<{ kind: string; table: string; column?: string }[]>();
    expect(reviews.filter(({ table, column }) => table === "auth_user" && column === "password")).toHaveLength(2);
    expect(reviews.filter(({ kind }) => kind === "parked")).toEqual([]);
  }
}, 720_000);

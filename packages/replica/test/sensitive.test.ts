import { expect, test } from "vitest";
import { VEILED } from "../src/index.ts";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const SCHEMA =
  "CREATE TABLE person(email TEXT PRIMARY KEY, name TEXT, phone TEXT UNIQUE); CREATE TABLE note(id INTEGER PRIMARY KEY, body TEXT)";
const SECRETS = ["ada@example.org", "+49 1", "+49 2", "+49 3", "+49 7"];

/** Everything that people are shown of a site. */
function shownBy({ replica }: Site): string {
  const reviews = replica.reviews({ kind: "", id: "", limit: 100 });
  const { changes } = replica.readable(new Map(), 1_000);
  const history = SECRETS.map((key) => replica.history("person", key));
  return JSON.stringify([reviews, changes, history, replica.state().problem], (_key, value: unknown) =>
    typeof value === "bigint" ? String(value) : value,
  );
}

/** Two sites on which everything about a person is sensitive but the name. */
function sites(): [Site, Site] {
  const sensitive = ["person.email", "PERSON.Phone"];
  const [a, b] = ["a", "b"].map((name) => new Site(name, SCHEMA, { sensitive })) as [Site, Site];
  a.edit("INSERT INTO person VALUES('ada@example.org', 'Ada', '+49 1'); INSERT INTO note VALUES(1, 'plain')");
  settle(a, b);
  a.edit("UPDATE person SET phone = '+49 2', name = 'Ada A.'", START_US + SECOND_US);
  b.edit("UPDATE person SET phone = '+49 3', name = 'Ada B.'", START_US + 2 * SECOND_US);
  settle(a, b);
  return [a, b];
}

test("a sensitive value is in the tables everywhere, and in nothing that people are shown", () => {
  const [a, b] = sites();
  for (const site of [a, b]) {
    expect(site.one("SELECT phone FROM person")).toBe("+49 3");
    const shown = shownBy(site);
    for (const secret of SECRETS) expect(shown).not.toContain(secret);
    for (const plain of ["Ada A.", "Ada B.", "plain"]) expect(shown).toContain(plain);
    const phone = site.conflicts.find(({ column }) => column === "phone");
    expect(phone).toMatchObject({ key: VEILED, winner: { value: VEILED }, loser: { value: VEILED } });
  }
});

test("a conflict is decided by its value, not by what stands for it", () => {
  const [a, b] = sites();
  const { id } = a.conflicts.find(({ column }) => column === "phone")!;
  expect(JSON.stringify(a.replica.resolve({ id, keep: "loser", set: [] }))).not.toContain("+49");
  settle(a, b);
  for (const site of [a, b]) expect(site.one("SELECT phone FROM person")).toBe("+49 2");
});

test("a row that a constraint keeps out, a row that is restored and an error say nothing of it", () => {
  const [a, b] = sites();
  a.edit("INSERT INTO person VALUES('first', 'First', '+49 7')", START_US + 5 * SECOND_US);
  b.edit("INSERT INTO person VALUES('second', 'Second', '+49 7')", START_US + 6 * SECOND_US);
  settle(a, b);
  const [parked] = a.replica.reviews({ kind: "parked", id: "", limit: 10 });
  expect(parked).toMatchObject({ key: VEILED, image: [{ value: VEILED }, { value: "Second" }, { value: VEILED }] });
  a.edit("DELETE FROM person WHERE email = 'ada@example.org'", START_US + 7 * SECOND_US);
  expect(JSON.stringify(a.replica.restore("person", "ada@example.org"))).not.toMatch(/ada@|\+49/);
  expect(a.rows("SELECT phone FROM person WHERE email = 'ada@example.org'")).toEqual([{ phone: "+49 3" }]);
  expect(() => a.replica.restore("person", "ada@example.org")).toThrow(/has a row \(sensitive\)/);
  expect(() => a.replica.restore("person", "nobody@example.org")).toThrow(/had the key \(sensitive\)/);
});

test("an entry that names nothing is told, and a whole table may be sensitive", () => {
  const a = new Site("a", SCHEMA, { sensitive: ["note", "person.fone"] });
  a.edit("INSERT INTO note VALUES(7, 'plain')");
  expect(a.replica.state()).toMatchObject({ unknownSensitive: ["person.fone"], veiled: ["note"] });
  expect(JSON.stringify(a.replica.readable(new Map(), 10).changes)).not.toMatch(/plain|"7"/);
});

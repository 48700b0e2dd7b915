import { describe, expect, test } from "vitest";
import { seeded } from "./seeded.ts";
import { SECOND_US, settle, Site, START_US } from "./site.ts";

const RULES = ["a.n=counter", "a.count=counter", "a.tags=set", "a.words=set", "b.n=counter", "b.count=counter"];
const SCHEMA = `
  CREATE TABLE a(id INTEGER PRIMARY KEY, x TEXT, n INTEGER, tags TEXT DEFAULT '[]');
  CREATE TABLE b(k TEXT PRIMARY KEY, n INTEGER, x)`;
const rebuilt = (name: string, columns: string) =>
  `CREATE TABLE made(${columns}); INSERT INTO made SELECT * FROM ${name}; DROP TABLE ${name}; ALTER TABLE made RENAME TO ${name}`;
const RENAME = "ALTER TABLE a RENAME COLUMN n TO count; ALTER TABLE b RENAME COLUMN n TO count; ALTER TABLE a RENAME COLUMN tags TO words";
const REBUILD = `BEGIN; ${rebuilt("a", "id INTEGER PRIMARY KEY, x TEXT, count INTEGER, words TEXT DEFAULT '[]'")};
  ${rebuilt("b", "k TEXT PRIMARY KEY, count INTEGER, x")}; COMMIT`;
const BACK = "ALTER TABLE a RENAME COLUMN count TO n; ALTER TABLE b RENAME COLUMN count TO n; ALTER TABLE a RENAME COLUMN words TO tags";
const SUMS = "SELECT iif(id > 2, x, id) AS k, coalesce(count, 0) AS n FROM a UNION ALL SELECT k, coalesce(count, 0) FROM b";

const at = (seconds: number) => START_US + seconds * SECOND_US;

/** Three sites with a row that was counted on two of them. */
function three(rules = RULES): [Site, Site, Site] {
  const all = ["a", "b", "c"].map((name) => new Site(name, SCHEMA, { rules })) as [Site, Site, Site];
  all[0].edit(`INSERT INTO a VALUES(1, '', 10, '["x"]'), (2, '', 0, '[]'); INSERT INTO b VALUES('k', 10, ''), ('l', NULL, '')`, at(0));
  settle(...all);
  return all;
}

/** Values at every site, which agree in all that they have. */
function everywhere(all: readonly Site[], sql: string): unknown {
  const [first, ...others] = all.map((each) => ({
    value: each.one(sql),
    digest: Buffer.from(each.replica.state().digest).toString("hex"),
  }));
  for (const other of others) expect(other).toEqual(first);
  return first?.value;
}

const drawnSeeds = Array.from({ length: Number(process.env["SEEDS"] ?? 12) }, (_, i) => i + Number(process.env["FROM"] ?? 1));

describe("columns with rules that nodes rename at times of their own", () => {
  test.each(drawnSeeds)("count and collect once what was written by either name, whoever has heard of whom (seed %i)", (seed) => {
    const random = seeded(seed);
    const draw = (below: number) => Math.floor(random() * below);
    const all = three();
    const counted = new Map([
      ["1", 10],
      ["2", 0],
      ["k", 10],
      ["l", 0],
    ]);
    const words = new Set(["x"]);
    const renamed = new Set<Site>();
    const isBackAndForth = draw(4) === 0;
    const isRebuilt = draw(2) === 0;
    const rename = (each: Site) => {
      if (renamed.has(each) && isBackAndForth) {
        each.write(BACK);
        renamed.delete(each);
      } else if (!renamed.has(each)) {
        renamed.add(each);
        const rebuilds = isRebuilt && draw(2) === 0;
        each.write(rebuilds ? REBUILD : RENAME);
        // Nothing captures what is written between this and the next look at the schema.
        if (rebuilds) each.replica.drain();
      }
    };
    for (let step = 0; step < 40; step++) {
      const each = all[draw(3)] as Site;
      const [count, tags] = renamed.has(each) ? ["count", "words"] : ["n", "tags"];
      const what = draw(12);
      if (what < 4) {
        const by = draw(19) - 9;
        const rows = each.rows(
          "SELECT 'a' AS t, 'id' AS key, id AS v, iif(id > 2, x, id) AS name FROM a UNION ALL SELECT 'b', 'k', k, k FROM b",
        );
        const { t, key, v, name } = rows[draw(rows.length)] as Record<string, unknown>;
        each.write(`UPDATE ${String(t)} SET ${count} = coalesce(${count}, 0) + ${by} WHERE ${String(key)} = '${String(v)}'`);
        counted.set(String(name), (counted.get(String(name)) ?? 0) + by);
      } else if (what === 4) {
        each.write(`UPDATE a SET ${tags} = json_insert(${tags}, '$[#]', 'w${step}') WHERE id = 1`);
        words.add(`w${step}`);
      } else if (what === 5 && step > 5) rename(each);
      else if (what === 6) each.restart();
      else if (what === 7) each.replica.drain();
      else if (what === 8) {
        const by = draw(19) - 9;
        each.write(`INSERT INTO ${draw(2) > 0 ? "a(x" : "b(k"}, ${count}) VALUES('new${step}', ${by})`);
        counted.set(`new${step}`, by);
      } else each.pull(all[(all.indexOf(each) + 1 + draw(2)) % 3] as Site);
    }
    for (const each of all) if (!renamed.has(each)) rename(each);
    settle(...all);
    const ledger = [...counted].map(([k, n]) => `${k} ${n}`).sort();
    for (const each of all) {
      const now = each.rows(SUMS).map(({ k, n }) => `${String(k)} ${String(n)}`);
      expect(now.sort(), each.name).toEqual(ledger);
      expect([...(JSON.parse(each.one("SELECT words FROM a WHERE id = 1") as string) as string[])].sort()).toEqual([...words].sort());
      expect(each.conflicts, each.name).toEqual([]);
    }
    everywhere(all, "SELECT 1");
  });
});

describe("a counter that is renamed", () => {
  const sumOf = (site: Site, id: number) => site.one(`SELECT count FROM a WHERE id = ${id}`);

  test("and edited past capture is a conflict where nobody can tell what was added: it is added to nothing", () => {
    const all = three();
    const [a, b, c] = all;
    a.edit(RENAME, at(1));
    a.edit("UPDATE a SET count = count + 1 WHERE id = 1", at(2));
    // The row has only ever been inserted, and what it held then is gone.
    b.edit(`${REBUILD}; UPDATE a SET count = count + 5 WHERE id = 1`, at(3));
    settle(a, b, c);
    c.edit(RENAME, at(4));
    settle(...all);
    expect(everywhere(all, "SELECT count FROM a WHERE id = 1")).toBe(11);
    for (const each of all) expect(each.conflicts.map(({ column, loser }) => [column, loser?.value])).toContainEqual(["count", 15n]);
    c.edit("UPDATE a SET count = count + 5 WHERE id = 1", at(5));
    a.edit("UPDATE a SET count = count + 100 WHERE id = 1", at(5));
    settle(...all);
    expect(everywhere(all, "SELECT count FROM a WHERE id = 1")).toBe(116);
  });

  test("is what it was also in rows that are edited before a large table is compared to its end", () => {
    const [a, b] = [0, undefined].map(
      (turnMs, i) => new Site("ab"[i] as string, SCHEMA, { rules: RULES, ...(turnMs === 0 && { turnMs }) }),
    ) as [Site, Site];
    a.edit(
      "WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < 1800) INSERT INTO a SELECT n, 'x', 10, '[]' FROM i",
      at(0),
    );
    settle(a, b);
    b.edit("UPDATE a SET n = n + 7 WHERE id IN (2, 1790)", at(1));
    settle(a, b);
    b.edit(RENAME, at(2));
    a.write(RENAME);
    for (let turns = 0; turns < 2; turns++) expect(a.replica.drainTurn()).toBe(false);
    a.write("UPDATE a SET count = count + 1 WHERE id IN (2, 1789, 1790)");
    settle(a, b);
    expect([2, 1789, 1790].map((id) => everywhere([a, b], `SELECT count FROM a WHERE id = ${id}`))).toEqual([18, 11, 18]);
    for (const each of [a, b]) expect(each.conflicts).toEqual([]);
  });

  test("has what was counted once where only its new name has the rule", () => {
    const all = three(["a.count=counter"]);
    all[1].edit("UPDATE a SET n = n + 7 WHERE id = 1", at(1));
    settle(...all);
    for (const each of all) {
      each.edit("ALTER TABLE a RENAME COLUMN n TO count", at(2));
      settle(...all);
    }
    expect(everywhere(all, "SELECT count FROM a WHERE id = 1")).toBe(17);
    all.forEach((each, i) => each.edit(`UPDATE a SET count = count + ${10 ** i} WHERE id = 1`, at(3)));
    settle(...all);
    expect(everywhere(all, "SELECT count FROM a WHERE id = 1")).toBe(128);
    for (const each of all) expect(each.conflicts).toEqual([]);
  });

  test("is not taken for another one that comes where it is dropped", () => {
    const all = three();
    all[1].edit("UPDATE a SET n = n + 7 WHERE id = 1", at(1));
    settle(...all);
    for (const each of all) {
      each.edit("ALTER TABLE a DROP COLUMN n; ALTER TABLE a ADD COLUMN count INTEGER DEFAULT 0", at(2));
      each.edit("UPDATE a SET count = count + 1 WHERE id = 1", at(3));
      settle(...all);
    }
    expect(everywhere(all, "SELECT count FROM a WHERE id = 1")).toBe(3);
    for (const each of all) expect(each.conflicts).toEqual([]);
  });

  test("of a row that was deleted or waits goes on where others had counted on", () => {
    const all = three();
    const [a, b, c] = all;
    a.edit(RENAME, at(1));
    b.edit("UPDATE a SET n = n + 3 WHERE id = 2", at(2));
    a.edit("DELETE FROM a WHERE id = 2", at(1));
    settle(...all);
    for (const each of [b, c]) each.edit(RENAME, at(3));
    settle(...all);
    for (const each of all) expect(sumOf(each, 2), each.name).toBe(3);
    expect(everywhere(all, "SELECT 1")).toBe(1);
  });
});

test.each(["INTEGER PRIMARY KEY", "TEXT PRIMARY KEY"].flatMap((key) => [true, false].map((heard) => [key, heard] as const)))(
  "a set has what a row was inserted with by its former name, and what it got by the new one: by %s, who renames it then has heard of that: %s",
  (key, heard) => {
    const schema = `CREATE TABLE a(id ${key}, n INTEGER, tags TEXT DEFAULT '[]')`;
    const all = ["a", "b", "c"].map((name) => new Site(name, schema, { rules: RULES })) as [Site, Site, Site];
    const [a, b, c] = all;
    const rename = "ALTER TABLE a RENAME COLUMN n TO count; ALTER TABLE a RENAME COLUMN tags TO words";
    a.edit(`INSERT INTO a VALUES(1, 1, '["old", "gone"]')`, at(0));
    settle(...all);
    a.edit(rename, at(1));
    a.edit(`UPDATE a SET words = '["old"]'`, at(2));
    b.edit(`INSERT INTO a VALUES(2, 5, '["first"]')`, at(2));
    settle(...all);
    for (const word of ["second", "third"]) {
      a.edit(`UPDATE a SET words = json_insert(words, '$[#]', '${word}'), count = coalesce(count, 0) + 1 WHERE id = 2`, at(3));
      if (heard) settle(...all);
    }
    for (const each of [b, c]) {
      each.edit(rename, at(4));
      settle(...all);
      const words = "SELECT a.id, value FROM a, json_each(words) ORDER BY 1, 2";
      expect(a.rows(words).map(({ id, value }) => `${String(id)} ${String(value)}`)).toEqual(["1 old", "2 first", "2 second", "2 third"]);
    }
    expect(everywhere(all, "SELECT count FROM a WHERE id = 2")).toBe(7);
    expect(b.rows("SELECT * FROM a")).toEqual(a.rows("SELECT * FROM a"));
    for (const each of all) expect(each.conflicts).toEqual([]);
  },
);

import { describe, expect, test } from "vitest";
import { settle, Site } from "./site.ts";

/** Two sites with a schema, the second of which pulls what `sql` did on the first. */
function pulled(schema: string, sql: string): [Site, Site] {
  const [a, b] = [new Site("a", schema), new Site("b", schema)];
  a.edit(sql);
  expect(b.pull(a).at(-1)?.verified).toBe(true);
  return [a, b];
}

function expectEqualRows(a: Site, b: Site, table: string): void {
  const rows = a.rows(`SELECT * FROM ${table} ORDER BY 1, 2`);
  expect(rows.length).toBeGreaterThan(0);
  expect(b.rows(`SELECT * FROM ${table} ORDER BY 1, 2`)).toEqual(rows);
}

describe("tables as applications have them", () => {
  test("with generated columns, stored and virtual, unique ones too", () => {
    const schema = `CREATE TABLE t(id INTEGER PRIMARY KEY, first TEXT, last TEXT,
      whole TEXT GENERATED ALWAYS AS (first || ' ' || last) STORED,
      short TEXT GENERATED ALWAYS AS (lower(last)) VIRTUAL UNIQUE)`;
    const [a, b] = pulled(schema, "INSERT INTO t(first, last) VALUES('Ada', 'Lovelace'), ('Alan', 'Turing')");
    b.edit("UPDATE t SET last = 'King' WHERE first = 'Ada'; INSERT OR REPLACE INTO t(first, last) VALUES('Other', 'TURING')");
    settle(a, b);
    expectEqualRows(a, b, "t");
    expect(a.rows("SELECT whole, short FROM t ORDER BY whole")).toEqual([
      { whole: "Ada King", short: "king" },
      { whole: "Other TURING", short: "turing" },
    ]);
  });

  test("with keywords and blanks for names", () => {
    const schema = `CREATE TABLE "select"("from" TEXT, "where and when" TEXT, "group" INTEGER, "a""b" TEXT, PRIMARY KEY("from", "where and when"));
      CREATE TABLE "order"("index" INTEGER PRIMARY KEY, "table" INTEGER REFERENCES "order"("index"), "default" TEXT UNIQUE)`;
    const [a, b] = pulled(
      schema,
      `INSERT INTO "select" VALUES('x', 'y', 1, 'quoted'); INSERT INTO "order" VALUES(1, NULL, 'one'), (2, 1, 'two')`,
    );
    b.edit(`UPDATE "select" SET "a""b" = 'edited', "group" = 2; INSERT OR REPLACE INTO "order"("default") VALUES('two')`);
    settle(a, b);
    expectEqualRows(a, b, '"select"');
    expectEqualRows(a, b, '"order"');
  });

  test("with names beyond ASCII", () => {
    const schema = `CREATE TABLE "Schüler_名簿"("größe" INTEGER PRIMARY KEY, "имя" TEXT, "😀" TEXT UNIQUE)`;
    const [a, b] = pulled(schema, `INSERT INTO "Schüler_名簿" VALUES(1, 'Äpfel', 'x'), (2, '漢', NULL)`);
    b.edit(`UPDATE "Schüler_名簿" SET "имя" = 'edited' WHERE "größe" = 1; DELETE FROM "Schüler_名簿" WHERE "größe" = 2`);
    settle(a, b);
    expectEqualRows(a, b, '"Schüler_名簿"');
  });

  test("with 130 columns, any of which may change alone", () => {
    const names = Array.from({ length: 130 }, (_, i) => `c${i}`);
    const schema = `CREATE TABLE t(id INTEGER PRIMARY KEY, ${names.join(", ")}); CREATE TABLE k(${names.join(", ")}, PRIMARY KEY(c129))`;
    const values = names.map((_, i) => (i % 3 === 0 ? `${i}` : i % 3 === 1 ? `'${i}'` : `${i}.5`)).join(", ");
    const [a, b] = pulled(schema, `INSERT INTO t VALUES(1, ${values}); INSERT INTO k VALUES(${values})`);
    // Each side edits columns of its own, those at the edges of 60-column masks among them.
    a.edit("UPDATE t SET c0 = 'a', c59 = 'a', c119 = 'a'; UPDATE k SET c60 = 'a'");
    b.edit("UPDATE t SET c60 = 'b', c120 = 'b', c129 = 'b'; UPDATE k SET c59 = 'b'", b.nowUs + 1_000_000);
    settle(a, b);
    expectEqualRows(a, b, "t");
    expectEqualRows(a, b, "k");
    expect(a.rows("SELECT c0, c1, c59, c60, c119, c120, c129 FROM t")).toEqual([
      { c0: "a", c1: "1", c59: "a", c60: "b", c119: "a", c120: "b", c129: "b" },
    ]);
    expect(a.conflicts).toEqual([]);
  });

  test("with a primary key and nothing else", () => {
    const schema = "CREATE TABLE n(k TEXT PRIMARY KEY); CREATE TABLE s(id INTEGER PRIMARY KEY)";
    const [a, b] = pulled(schema, "INSERT INTO n VALUES('x'), ('y'); INSERT INTO s VALUES(7), (NULL)");
    expectEqualRows(a, b, "n, s");
    b.edit("DELETE FROM n WHERE k = 'x'; DELETE FROM s WHERE id = 7");
    settle(a, b);
    expectEqualRows(a, b, "n, s");
  });

  test("with a key of references, which follow when a row moves", () => {
    const schema = `CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT);
      CREATE TABLE member(team INTEGER REFERENCES team, no INTEGER, name TEXT, PRIMARY KEY(team, no)) WITHOUT ROWID;
      CREATE TABLE detail(team INTEGER PRIMARY KEY REFERENCES team, note TEXT)`;
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    for (const [i, site] of [a, b].entries()) {
      const { name } = site;
      site.edit(
        `INSERT INTO team VALUES(1, '${name}'); INSERT INTO member VALUES(1, 1, '${name}'); INSERT INTO detail VALUES(1, '${name}')`,
        site.nowUs + i,
      );
    }
    settle(a, b);
    for (const site of [a, b]) {
      expect(
        site.rows(
          "SELECT team.name AS team, member.name AS member, note FROM team JOIN member ON member.team = team.id JOIN detail ON detail.team = team.id ORDER BY 1",
        ),
      ).toEqual([
        { team: "a", member: "a", note: "a" },
        { team: "b", member: "b", note: "b" },
      ]);
    }
  });

  test("that stay where they are: views, full-text indexes, migration bookkeeping, and what was excluded", () => {
    const schema = `CREATE TABLE t(id INTEGER PRIMARY KEY, kept TEXT, secret TEXT); CREATE TABLE private(k TEXT PRIMARY KEY);
      CREATE TABLE alembic_version(version_num TEXT PRIMARY KEY); CREATE VIEW v AS SELECT * FROM t;
      CREATE VIRTUAL TABLE f USING fts5(kept)`;
    const exclude = ["private", "t.secret"];
    const [a, b] = [new Site("a", schema, { exclude }), new Site("b", schema, { exclude })];
    expect(a.replica.state().tables).toEqual(["t"]);
    a.edit(
      "INSERT INTO t VALUES(1, 'kept', 'secret'); INSERT INTO private VALUES('x'); INSERT INTO alembic_version VALUES('1'); INSERT INTO f VALUES('word')",
    );
    b.pull(a);
    expect(b.rows("SELECT * FROM t")).toEqual([{ id: 1, kept: "kept", secret: null }]);
    for (const table of ["private", "alembic_version", "f"]) expect(b.rows(`SELECT * FROM ${table}`)).toEqual([]);
  });
});

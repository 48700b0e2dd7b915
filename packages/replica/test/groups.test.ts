import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { Site } from "./site.ts";

const SCHEMA = `
  CREATE TABLE word(k TEXT PRIMARY KEY, x TEXT);
  CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT)`;

/** One transaction of the application that adds so many persons, with a word before and after. */
function addInOneTransaction(site: Site, rows: number): void {
  site.app.exec(`BEGIN; INSERT INTO word VALUES('first', ''); INSERT INTO person(name)
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows}) SELECT 'p' || i FROM n;
    INSERT INTO word VALUES('last', ''); COMMIT`);
}

/** One transaction of the application that adds so many persons. */
function addPersons(site: Site, rows: number): void {
  site.app.exec(
    `INSERT INTO person(name) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows}) SELECT 'p' || i FROM n`,
  );
}

const EDITED = "SELECT count(*) FROM person WHERE name = 'edited'";

/** What `to` shows after each batch that it takes from `from`: persons, words. */
function shows(
  to: Site,
  from: Site,
  batchSize: number,
  sql = "SELECT (SELECT count(*) FROM person) || ' ' || (SELECT count(*) FROM word)",
): string[] {
  const seen: string[] = [];
  for (let final = false; !final;) {
    const batch = from.batchFor(to, batchSize, true);
    to.replica.apply(batch);
    final = batch.final;
    seen.push(String(to.one(sql)));
  }
  return [...new Set(seen)];
}

describe("a transaction of the application", () => {
  test("appears whole elsewhere, and whole again behind that", () => {
    const [a, b, c] = [new Site("a", SCHEMA), new Site("b", SCHEMA), new Site("c", SCHEMA)];
    a.edit("INSERT INTO word VALUES('before', '')");
    addInOneTransaction(a, 30_000);
    a.replica.drain();
    a.edit("INSERT INTO word VALUES('after', '')");
    expect(shows(b, a, 500)).toEqual(["30000 3", "30000 4"]);
    expect(shows(c, b, 700)).toEqual(["30000 3", "30000 4"]);
  });

  test("is whole though the drain of it took several turns", () => {
    const [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
    addInOneTransaction(a, 90_000);
    a.replica.drain();
    expect(shows(b, a, 1_000)).toEqual(["90000 2"]);
  });

  test("is whole though a turn of the drain ended just with its last change", () => {
    const [a, b] = [new Site("a", SCHEMA, { turnMs: 0 }), new Site("b", SCHEMA)];
    addInOneTransaction(a, 3_998);
    a.replica.drain();
    expect(shows(b, a, 1_000)).toEqual(["3998 2"]);
  });

  test("is not made one with the next that came while it was drained, where both only inserted", () => {
    const [a, b] = [new Site("a", SCHEMA, { turnMs: 0 }), new Site("b", SCHEMA)];
    addPersons(a, 5_000);
    expect(a.replica.drainTurn()).toBe(false);
    addPersons(a, 4_500);
    expect(a.replica.drainTurn()).toBe(false);
    addPersons(a, 3_000);
    a.replica.drain();
    expect(shows(b, a, 1_000)).toEqual(["5000 0", "9500 0", "12500 0"]);
  });

  test("is not made one with the next where both were seen to come before either was drained", () => {
    const [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
    for (const rows of [5_000, 4_500, 50, 3_000]) {
      addPersons(a, rows);
      a.replica.hasNews();
    }
    a.replica.drain();
    expect(shows(b, a, 1_000)).toEqual(["5000 0", "9500 0", "12550 0"]);
  });

  test("is not made one with the next where each edited rows of its own, in their order", () => {
    const [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
    addPersons(a, 12_000);
    a.replica.drain();
    shows(b, a, 0);
    for (const range of ["1 AND 3000", "3001 AND 6000", "6500 AND 12000"]) {
      a.app.exec(`UPDATE person SET name = 'edited' WHERE id BETWEEN ${range}`);
      a.replica.hasNews();
    }
    a.replica.drain();
    expect(shows(b, a, 1_000, EDITED)).toEqual(["3000", "6000", "11501"]);
    expect(b.replica.state().digest).toEqual(a.replica.state().digest);
  });

  test("is made one with the next that edited one of its rows again", () => {
    const [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
    addPersons(a, 12_000);
    a.replica.drain();
    shows(b, a, 0);
    for (const range of ["1 AND 3000", "3000 AND 6000", "6500 AND 12000"]) {
      a.app.exec(`UPDATE person SET name = 'edited' WHERE id BETWEEN ${range}`);
      a.replica.hasNews();
    }
    a.replica.drain();
    expect(shows(b, a, 1_000, EDITED)).toEqual(["6000", "11501"]);
  });

  test("is not made one with the next where each wrote and deleted rows of its own, whatever their keys and order", () => {
    // Half of the words go, which would be kept back for a person.
    const [a, b] = [new Site("a", SCHEMA, { quarantine: null }), new Site("b", SCHEMA)];
    const words = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) SELECT";
    addPersons(a, 12_000);
    a.edit(`INSERT INTO word ${words} 'old ' || i, '' FROM n`);
    shows(b, a, 0);
    for (const sql of [
      `INSERT INTO word ${words} 'm ' || (3000 - i), '' FROM n; UPDATE person SET name = 'edited' WHERE id = 12000`,
      "UPDATE person SET name = 'edited' WHERE id BETWEEN 6001 AND 9000",
      "DELETE FROM word WHERE k LIKE 'old%'; UPDATE person SET name = 'edited' WHERE id BETWEEN 1001 AND 1500",
      `INSERT INTO word ${words} 'a ' || i, '' FROM n; DELETE FROM person WHERE id BETWEEN 1 AND 1000`,
    ]) {
      a.app.exec(`BEGIN; ${sql}; COMMIT`);
      a.replica.hasNews();
    }
    a.replica.drain();
    const all = "(SELECT count(*) FROM person) || ' ' || (SELECT count(*) FROM word)";
    expect(shows(b, a, 1_000, `SELECT (${EDITED}) || ' ' || ${all}`)).toEqual([
      "1 12000 6000",
      "3001 12000 6000",
      "3501 12000 3000",
      "3501 11000 6000",
    ]);
    expect(b.replica.state().digest).toEqual(a.replica.state().digest);
  });

  test.each([
    ["was deleted again", "DELETE FROM word WHERE k = 'W 7'"],
    ["was edited under a key that is the same to the table", "UPDATE word SET k = 'w 7', x = 'edited' WHERE k = 'W 7'"],
    ["was written over", "REPLACE INTO word VALUES('w 7', 'other')"],
    ["was displaced by another one", "REPLACE INTO word VALUES('new', 'x 7')"],
  ])("is made one with the next by which one of its rows under a TEXT key %s", (_, sql) => {
    const schema = "CREATE TABLE word(k TEXT PRIMARY KEY COLLATE NOCASE, x TEXT UNIQUE); CREATE TABLE said(k TEXT PRIMARY KEY, x TEXT)";
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    const add = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)";
    for (const [word, more] of [
      ["W", ""],
      ["v", `${sql};`],
    ]) {
      a.app.exec(`BEGIN; INSERT INTO word ${add} SELECT '${word} ' || i, '${word === "W" ? "x" : "y"} ' || i FROM n; ${more}
        INSERT INTO said VALUES('${word}', ''); COMMIT`);
      a.replica.hasNews();
    }
    a.replica.drain();
    expect(shows(b, a, 1_000, "SELECT count(*) FROM said")).toEqual(["2"]);
    expect(b.replica.state().digest).toEqual(a.replica.state().digest);
  });

  test.each([
    ["edited a row to which one of its rows refers", "UPDATE person SET name = 'edited' WHERE id = 1", ["1 6000", "1 9000"]],
    ["wrote over a row to which one of its rows refers", "REPLACE INTO person VALUES(1, 'edited')", ["1 6000", "1 9000"]],
    // Until the end of the stream that one waits for what else is to become of the integer.
    ["gave the integer of a row that it deleted to another one", "INSERT INTO person VALUES(2, 'edited')", ["1 9000"]],
  ])("is made one with the next that %s", (_, sql, shown) => {
    const schema = `${SCHEMA}; CREATE TABLE visit(id INTEGER PRIMARY KEY, person_id INTEGER REFERENCES person(id));`;
    const [a, b] = [new Site("a", schema), new Site("b", schema)];
    addPersons(a, 3);
    a.replica.drain();
    shows(b, a, 0);
    const add = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)";
    for (const [word, more] of [
      ["v", "INSERT INTO visit VALUES(1, 1); DELETE FROM person WHERE id = 2;"],
      ["w", `${sql};`],
      ["x", ""],
    ]) {
      a.app.exec(`BEGIN; ${more} INSERT INTO word ${add} SELECT '${word} ' || i, '' FROM n; COMMIT`);
      a.replica.hasNews();
    }
    a.replica.drain();
    expect(shows(b, a, 1_000, `SELECT (${EDITED}) || ' ' || (SELECT count(*) FROM word)`)).toEqual(shown);
    expect(b.replica.state().digest).toEqual(a.replica.state().digest);
  });

  test("is not made one with the next where both came while the drain waited for the lock", () => {
    let commits = 0;
    // The application has the lock, and each time it is asked for has just committed once more.
    const connect = (path: string, options: Database.Options) => {
      const db = new Database(path, options);
      const exec = db.exec.bind(db);
      db.exec = (sql) => {
        if (sql !== "BEGIN IMMEDIATE" || commits === 0) return exec(sql);
        commits--;
        addPersons(a, 3_000);
        throw Object.assign(new Error("database is locked"), { code: "SQLITE_BUSY" });
      };
      return db;
    };
    const [a, b] = [new Site("a", SCHEMA, { connect }), new Site("b", SCHEMA)];
    commits = 3;
    addPersons(a, 10);
    a.replica.drain();
    expect(shows(b, a, 1_000)).toEqual(["3010 0", "6010 0", "9010 0"]);
  });

  test.each([
    "UPDATE person SET name = 'edited' WHERE id = 4999",
    "DELETE FROM person WHERE id = 4999",
    "REPLACE INTO person VALUES(4999, '')",
  ])("is made one with the next that came while it was drained and did more: %s", (sql) => {
    const [a, b] = [new Site("a", SCHEMA, { turnMs: 0 }), new Site("b", SCHEMA)];
    addPersons(a, 5_000);
    expect(a.replica.drainTurn()).toBe(false);
    a.app.exec(`BEGIN; ${sql}; INSERT INTO person(name) VALUES('with it'); COMMIT`);
    a.replica.drain();
    expect(shows(b, a, 1_000)).toEqual([sql.startsWith("DELETE") ? "5000 0" : "5001 0"]);
  });

  describe("in the middle of whose drain the node was killed", () => {
    /** A node, and what kills it in one run after the other, just before its drain would leave no more than so many events waiting. */
    function mortal(): { a: Site; die: (waiting: number[]) => void } {
      let least = 0;
      const connect = (path: string, options: Database.Options) => {
        const db = new Database(path, options);
        const exec = db.exec.bind(db);
        const left = () => db.prepare("SELECT count(*) FROM _scoutsync_capture").pluck().get() as number;
        db.exec = (sql) => {
          if (sql === "COMMIT" && least > 0 && left() <= least) throw new Error("killed");
          return exec(sql);
        };
        return db;
      };
      const a = new Site("a", SCHEMA, { turnMs: 0, connect });
      a.edit("INSERT INTO word VALUES('before', '')");
      const die = (waiting: number[]) => {
        for (const [run, count] of waiting.entries()) {
          least = count;
          expect(() => (run === 0 ? a.replica.drain() : a.start())).toThrow("killed");
          if (run === 0) a.kill();
        }
        least = 0;
        a.start();
      };
      return { a, die };
    }

    test.each([[[4_000]], [[5]], [[4_500, 2_500, 500]]])("is whole, here and behind it (%j events waiting)", (waiting) => {
      const { a, die } = mortal();
      const [b, c] = [new Site("b", SCHEMA), new Site("c", SCHEMA)];
      addInOneTransaction(a, 6_000);
      die(waiting);
      a.edit("INSERT INTO word VALUES('after', '')");
      expect(shows(b, a, 500)).toEqual(["6000 3", "6000 4"]);
      expect(shows(c, b, 700)).toEqual(["6000 3", "6000 4"]);
      expect(c.replica.state().digest).toEqual(a.replica.state().digest);
    });

    test("is whole though whoever passes it on came to know others in between", () => {
      const { a, die } = mortal();
      const [b, c, d] = [new Site("b", SCHEMA), new Site("c", SCHEMA), new Site("d", SCHEMA)];
      b.pull(a);
      addPersons(c, 100);
      b.pull(c);
      addInOneTransaction(a, 6_000);
      die([4_000]);
      b.pull(a);
      // The transaction of a, then the hundred of c.
      expect(shows(d, b, 10)[0]).toBe("6000 3");
      d.pull(b);
      expect(d.replica.state().digest).toEqual(b.replica.state().digest);
    });

    test("is whole though whoever passes it on came to know its middle part last, and others before that", () => {
      const { a, die } = mortal();
      const [b, c, d] = [new Site("b", SCHEMA), new Site("c", SCHEMA), new Site("d", SCHEMA)];
      addInOneTransaction(a, 6_000);
      die([3_000, 1_000]);
      a.edit("UPDATE word SET x = 'of the last run' WHERE k = 'first'");
      c.pull(a);
      // Rows of the first part name the last part's run, and c, before the middle part comes.
      c.edit("UPDATE person SET name = 'of c' WHERE id <= 100");
      b.pull(c);
      b.kill();
      b.start();
      expect(shows(d, b, 10, "SELECT count(*) FROM person")).toEqual(["6000"]);
      expect(d.replica.state().digest).toEqual(b.replica.state().digest);
    });

    test("is whole though whoever passes it on came to know its last part first", () => {
      const { a, die } = mortal();
      const [b, c, d] = [new Site("b", SCHEMA), new Site("c", SCHEMA), new Site("d", SCHEMA)];
      c.edit("INSERT INTO word VALUES('of c', '')");
      a.pull(c);
      addInOneTransaction(a, 6_000);
      die([3_000, 1_000]);
      // The row of c, which comes first, names the last part's run.
      a.edit("UPDATE word SET x = 'of the last run' WHERE k = 'of c'");
      c.pull(a);
      b.pull(c);
      b.kill();
      b.start();
      expect(shows(d, b, 10, "SELECT count(*) FROM person")).toEqual(["6000"]);
      expect(d.replica.state().digest).toEqual(b.replica.state().digest);
    });
  });

  test("of more than 100,000 changes comes batch by batch", () => {
    const [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
    addInOneTransaction(a, 100_001);
    a.replica.drain();
    const seen = shows(b, a, 20_000);
    expect(seen.length).toBeGreaterThan(3);
    expect(seen.at(-1)).toBe("100001 2");
  });

  test("is whole where someone had part of it from elsewhere", () => {
    const [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
    addInOneTransaction(a, 50);
    a.replica.drain();
    // A diagnostic client, or the version before, asks for less.
    b.replica.apply(a.batchFor(b, 7));
    expect(b.one("SELECT count(*) FROM word") as bigint).toBeLessThanOrEqual(2n);
    expect(shows(b, a, 1)).toEqual(["50 2"]);
  });

  test("of more bytes than either side should hold comes batch by batch: one of 1 GiB would be refused for ever", () => {
    const photos = "CREATE TABLE photo(id INTEGER PRIMARY KEY, image BLOB)";
    const [a, b] = [new Site("a", photos), new Site("b", photos)];
    a.edit(`INSERT INTO photo WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 80)
      SELECT i, zeroblob(1000000) FROM n`);
    const sizes: number[] = [];
    for (let final = false; !final;) {
      const batch = a.batchFor(b, 0, true);
      b.replica.apply(batch);
      sizes.push(batch.payloadSize);
      final = batch.final;
    }
    expect(Math.max(...sizes)).toBeLessThan(70_000_000);
    expect(b.one("SELECT count(*) FROM photo")).toBe(80);
    expect(b.vector).toBe(a.vector);
  });
});

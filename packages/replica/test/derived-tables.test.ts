import { expect, test } from "vitest";
import { seeded } from "./seeded.ts";
import { settle, Site } from "./site.ts";

/** SCOUTSYNC_SEEDS and SCOUTSYNC_SEED_FROM for more or others; the same ones every time otherwise. */
const SEEDS = Number(process.env["SCOUTSYNC_SEEDS"] ?? 100);
const FROM = Number(process.env["SCOUTSYNC_SEED_FROM"] ?? 1);

const WORDS = ["red", "blue", "green", "robot", "arm", "lift"];

/** Indexes of each kind, fed as by an application that never changes an integer, and a summary that stays on its server. */
const SCHEMA = `
  CREATE TABLE doc(id INTEGER PRIMARY KEY, body TEXT, grp INT, x REAL, k TEXT UNIQUE, up TEXT AS (upper(body)) STORED);
  CREATE TABLE part(id INTEGER PRIMARY KEY, doc INT REFERENCES doc(id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED);
  CREATE TABLE sums(grp INTEGER PRIMARY KEY, n INT, total REAL);
  CREATE VIRTUAL TABLE prefixed USING fts5(body, content='doc', content_rowid='id', prefix='2 3');
  CREATE VIRTUAL TABLE trigrams USING fts5(up, tokenize='trigram', content='doc', content_rowid='id');
  CREATE VIRTUAL TABLE bare USING fts5(body, content='');
  CREATE VIRTUAL TABLE deletable USING fts5(body, content='', contentless_delete=1);
  CREATE VIRTUAL TABLE place USING rtree(id, x0, x1, +label TEXT);
  CREATE TRIGGER doc_i AFTER INSERT ON doc BEGIN
    INSERT INTO prefixed(rowid, body) VALUES(NEW.id, NEW.body); INSERT INTO trigrams(rowid, up) VALUES(NEW.id, NEW.up);
    INSERT INTO bare(rowid, body) VALUES(NEW.id, NEW.body); INSERT INTO deletable(rowid, body) VALUES(NEW.id, NEW.body);
    INSERT INTO place VALUES(NEW.id, NEW.x, NEW.x, NEW.body); END;
  CREATE TRIGGER doc_d AFTER DELETE ON doc BEGIN
    INSERT INTO prefixed(prefixed, rowid, body) VALUES('delete', OLD.id, OLD.body); INSERT INTO trigrams(trigrams, rowid, up) VALUES('delete', OLD.id, OLD.up);
    INSERT INTO bare(bare, rowid, body) VALUES('delete', OLD.id, OLD.body); DELETE FROM deletable WHERE rowid = OLD.id; DELETE FROM place WHERE id = OLD.id; END;
  CREATE TRIGGER doc_b AFTER UPDATE OF body ON doc WHEN OLD.body IS NOT NEW.body BEGIN
    INSERT INTO prefixed(prefixed, rowid, body) VALUES('delete', OLD.id, OLD.body); INSERT INTO prefixed(rowid, body) VALUES(NEW.id, NEW.body);
    INSERT INTO trigrams(trigrams, rowid, up) VALUES('delete', OLD.id, OLD.up); INSERT INTO trigrams(rowid, up) VALUES(NEW.id, NEW.up);
    INSERT INTO bare(bare, rowid, body) VALUES('delete', OLD.id, OLD.body); INSERT INTO bare(rowid, body) VALUES(NEW.id, NEW.body);
    DELETE FROM deletable WHERE rowid = OLD.id; INSERT INTO deletable(rowid, body) VALUES(NEW.id, NEW.body); UPDATE place SET label = NEW.body WHERE id = NEW.id; END;
  CREATE TRIGGER doc_x AFTER UPDATE OF x ON doc BEGIN UPDATE place SET x0 = NEW.x, x1 = NEW.x WHERE id = OLD.id; END;
  CREATE TRIGGER sums_i AFTER INSERT ON doc BEGIN
    INSERT INTO sums VALUES(NEW.grp, 1, NEW.x) ON CONFLICT(grp) DO UPDATE SET n = n + 1, total = total + NEW.x; END;
  CREATE TRIGGER sums_d AFTER DELETE ON doc BEGIN
    INSERT INTO sums VALUES(OLD.grp, -1, -OLD.x) ON CONFLICT(grp) DO UPDATE SET n = n - 1, total = total - OLD.x; END;
  CREATE TRIGGER sums_u AFTER UPDATE OF grp, x ON doc BEGIN
    INSERT INTO sums VALUES(OLD.grp, -1, -OLD.x) ON CONFLICT(grp) DO UPDATE SET n = n - 1, total = total - OLD.x;
    INSERT INTO sums VALUES(NEW.grp, 1, NEW.x) ON CONFLICT(grp) DO UPDATE SET n = n + 1, total = total + NEW.x; END`;

/** What an application writes next; "" for nothing. */
function statement(below: (n: number) => number): string {
  const text = `${WORDS[below(6)] ?? ""} ${WORDS[below(6)] ?? ""} ${below(9)}`;
  const some = `(SELECT id FROM doc ORDER BY (id * ${1 + below(50)}) % 7 LIMIT 1)`;
  const key = below(3) > 0 ? "NULL" : `'k${below(3)}'`;
  const all = [
    `INSERT OR IGNORE INTO doc(body, grp, x, k) VALUES('${text}', ${below(3)}, ${below(9)}, ${key}); INSERT INTO part(doc) VALUES(${some})`,
    `INSERT OR REPLACE INTO doc(body, grp, x, k) VALUES('${text}', ${below(3)}, 1, 'k${below(3)}')`,
    `UPDATE doc SET body = '${text}' WHERE id = ${some}`,
    `UPDATE doc SET x = ${below(9)}, grp = ${below(3)} WHERE id = ${some}`,
    `DELETE FROM doc WHERE id = ${some}`,
  ];
  return all[below(8)] ?? all[0] ?? "";
}

function expectToHoldWhatTablesDo(site: Site): void {
  for (const index of ["prefixed", "trigrams"]) site.write(`INSERT INTO ${index}(${index}, rank) VALUES('integrity-check', 1)`);
  for (const index of ["bare", "deletable"]) {
    site.write(`INSERT INTO ${index}(${index}) VALUES('integrity-check')`);
    for (const word of WORDS) {
      const found = site.rows(`SELECT rowid AS id FROM ${index} WHERE ${index} MATCH '${word}' ORDER BY 1`);
      expect(found).toEqual(site.rows(`SELECT id FROM doc WHERE ' ' || body || ' ' LIKE '% ${word} %' ORDER BY 1`));
    }
  }
  expect(site.one("SELECT rtreecheck('place')")).toBe("ok");
  const places = site.rows("SELECT id, x0 AS x, label AS body FROM place ORDER BY 1");
  expect(places).toEqual(site.rows("SELECT id, x, body FROM doc ORDER BY 1"));
  const sums = site.rows("SELECT grp, n, total FROM sums WHERE n <> 0 ORDER BY 1");
  expect(sums).toEqual(site.rows("SELECT grp, count(*) AS n, sum(x) AS total FROM doc GROUP BY 1 ORDER BY 1"));
}

test.each(Array.from({ length: Math.ceil(SEEDS / 50) }, (_, i) => FROM + i))(
  "what triggers feed holds what its table does on every server: seed %i",
  (seed) => {
    const random = seeded(seed);
    const below = (n: number) => Math.floor(random() * n);
    const sites = ["a", "b", "c"].map((name) => new Site(name, SCHEMA, { exclude: ["sums"] })) as [Site, Site, Site];
    for (const { app } of sites) app.exec("PRAGMA recursive_triggers = ON; PRAGMA foreign_keys = ON");
    for (let step = 1; step <= 40; step++) {
      const site = sites[below(3)] ?? sites[0];
      const other = sites[below(3)] ?? sites[0];
      if (below(10) < 7) site.edit(statement(below), sites[0].nowUs + step * 1_000_000);
      else if (site !== other) site.pull(other, below(2) === 0 ? { batchSize: 2, batches: 2 } : {});
    }
    settle(...sites);
    for (const site of sites) expectToHoldWhatTablesDo(site);
  },
);

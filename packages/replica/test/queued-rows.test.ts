import { expect, test } from "vitest";
import { rowHash } from "../src/rows/values.ts";
import { seeded } from "./seeded.ts";
import { julianDay, SECOND_US, Site, START_US } from "./site.ts";

const ROWS = 300;
/** More than twice what is stored at once. */
const BETWEEN = 130;

interface Added {
  id: number;
  /** Unix microseconds. */
  at: number;
  author: string;
  /** The author's changes are numbered from 1 on, whatever table they are of. */
  sequence: number;
}

/** Integers that mostly follow each other, with gaps and steps back, in the order in which rows are added; the largest is last. */
function integers(random: () => number, first: number): number[] {
  const left = new Set(Array.from({ length: ROWS * 2 }, (_, i) => first + i));
  const ids: number[] = [];
  for (let id = first; ids.length < ROWS; id++) {
    if (random() < 0.04 || !left.has(id)) id = [...left][Math.floor(random() * left.size)] as number;
    left.delete(id);
    ids.push(id);
  }
  return [...ids, first + ROWS * 2];
}

/**
 * The application adds rows at times of their own: in one transaction, then one by one with rows of another table in
 * between. What was added, in order.
 */
function add(site: Site, random: () => number, first: number): Added[] {
  site.nowUs = START_US + 10_000 * SECOND_US;
  const added = integers(random, first).map((id, i) => ({
    id,
    at: START_US + Math.floor(i / (1 + random() * 3)) * SECOND_US,
    author: site.name,
    sequence: i + 1,
  }));
  site.write(`BEGIN; ${added.map(({ id }) => `INSERT INTO person VALUES(${id}, 'person ${id}')`).join("; ")}; COMMIT`);
  for (const { id, at } of added) site.write(`UPDATE _scoutsync_capture SET at = ${julianDay(at)} WHERE k0 = ${id}`);
  site.replica.drain();
  for (let i = 1; i <= BETWEEN; i++) {
    const id = first + ROWS * 2 + i;
    site.edit(`INSERT INTO person VALUES(${id}, 'person ${id}')`);
    site.edit(`INSERT INTO place(name) VALUES('place ${id}')`);
    added.push({ id, at: site.nowUs, author: site.name, sequence: ROWS + 2 * i });
  }
  return added;
}

/** What is noted of rows at a site, in the order of their author's changes. */
function noted(site: Site, author: string): { id: number; hash: string; at: number; sequence: number }[] {
  const tid = Number(site.one("SELECT tid FROM _scoutsync_table WHERE name = 'person'"));
  const rows = site.rows(
    `SELECT r.id, r.hash, r.time, l.slot, l.tid, l.sequence FROM _scoutsync_log AS l JOIN _scoutsync_origin AS o USING(oid)
      JOIN _scoutsync_rows_${tid} AS r ON r.oid = l.oid AND r.sequence = l.sequence WHERE o.author = '${author}' ORDER BY l.sequence`,
  );
  expect(rows.every(({ id, slot, tid: of }) => id === slot && of === tid)).toBe(true);
  return rows.map(({ id, hash, time, sequence }) => ({
    id: Number(id),
    hash: (hash as Buffer).toString("hex"),
    at: Number(time),
    sequence: Number(sequence),
  }));
}

for (const seed of [1, 2, 3, 4, 5]) {
  test(`every new row has its own dot, time and hash at every site, in whatever order integers come: seed ${seed}`, () => {
    const random = seeded(seed);
    const schema = "CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT); CREATE TABLE place(id INTEGER PRIMARY KEY, name TEXT)";
    const [a, b, c] = [new Site("a", schema), new Site("b", schema), new Site("c", schema)];
    const fromA = add(a, random, 1);
    b.pull(a);
    // The integers of one author go on where those of the other end, in the same batch.
    const ledger = [...fromA, ...add(b, random, (fromA.at(-1) as Added).id + 1)];
    c.pull(b, { batchSize: seed % 2 === 0 ? 20 + Math.floor(random() * 100) : 0 });
    for (const [site, author] of [
      [a, "a"],
      [b, "a"],
      [b, "b"],
      [c, "a"],
      [c, "b"],
    ] as const) {
      const mine = ledger.filter((row) => row.author === author);
      const rows = noted(site, author);
      const hashOf = (id: number) => rowHash({ name: "person" }, BigInt(id), [`person ${id}`]).toString("hex");
      expect(rows.map(({ id, hash, sequence }) => ({ id, hash, sequence }))).toEqual(
        mine.map(({ id, sequence }) => ({ id, hash: hashOf(id), sequence })),
      );
      // A Julian day is not quite as exact as a microsecond.
      expect(rows.every(({ at }, i) => Math.abs(at - (mine[i] as Added).at) < 1_000)).toBe(true);
    }
  });
}

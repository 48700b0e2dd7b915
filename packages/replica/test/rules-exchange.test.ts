import { formatVector, type VersionVector } from "@scoutsync/core";
import { describe, expect, test } from "vitest";
import { refusal, SECOND_US, settle, Site, START_US } from "./site.ts";

const SCHEMA = `
  CREATE TABLE word(k TEXT PRIMARY KEY, x TEXT, y TEXT);
  CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT, mail TEXT)`;

const words = (site: Site) => site.rows("SELECT k FROM word ORDER BY k").map(({ k }) => k);

/** A site with four words, each from a drain of its own, and empty ones. */
function fourWords(...empty: string[]): Site[] {
  const a = new Site("a", SCHEMA);
  for (const k of ["1", "2", "3", "4"]) a.edit(`INSERT INTO word VALUES('${k}', '', '')`);
  return [a, ...empty.map((name) => new Site(name, SCHEMA))];
}

describe("the range of a batch", () => {
  test("that does not follow what is here is refused, and nothing changes", () => {
    const [a, b] = fourWords("b") as [Site, Site];
    const [first, , third, last] = a.streamFor(b, 1);
    b.replica.apply(first!);
    const before = b.contents();
    for (const batch of [third!, last!]) expect(refusal(() => b.replica.apply(batch))).toBe("BATCH_GAP");
    expect(b.contents()).toBe(before);
  });

  test("that is here already is harmless, at any time", () => {
    const [a, b] = fourWords("b") as [Site, Site];
    const stream = a.streamFor(b, 1);
    for (const batch of stream) {
      b.replica.apply(batch);
      expect(b.replica.apply({ ...batch, final: false })).toMatchObject({ applied: 0, conflicts: 0 });
    }
    b.edit("UPDATE word SET x = 'edited' WHERE k = '2'", START_US + SECOND_US);
    const before = [words(b), b.vector, b.replica.state().digest];
    for (const batch of stream) expect(b.replica.apply(batch)).toMatchObject({ applied: 0 });
    expect([words(b), b.vector, b.replica.state().digest]).toEqual(before);
    expect(b.one("SELECT x FROM word WHERE k = '2'")).toBe("edited");
  });

  test("applied out of order ends where it would have ended in order", () => {
    const [a, b] = fourWords("b") as [Site, Site];
    const waiting = a.streamFor(b, 1).toReversed();
    while (waiting.length > 0) {
      const at = waiting.findIndex((batch) => refusal(() => b.replica.apply(batch)) === "nothing was refused");
      expect(at).toBeGreaterThanOrEqual(0);
      waiting.splice(at, 1);
    }
    expect(words(b)).toEqual(["1", "2", "3", "4"]);
    expect(b.vector).toBe(a.vector);
  });
});

describe("the vector", () => {
  test("moves only at the end of a stream; the position says how far it came", () => {
    const [a, b] = fourWords("b") as [Site, Site];
    for (const batch of a.streamFor(b, 1)) {
      expect(b.vector).toBe("");
      const { vector } = b.replica.apply(batch);
      expect(formatVector(vector)).toBe(batch.final ? a.vector : "");
      expect(formatVector(b.replica.position(a.replica.run))).toBe(batch.final ? "" : formatVector(batch.to));
    }
  });

  test("a cut stream goes on where it was, sends nothing twice, and claims nothing before its end", () => {
    const [a, b] = fourWords("b") as [Site, Site];
    const received = [b.pull(a, { batchSize: 1, batches: 2 }), b.pull(a, { batchSize: 1, batches: 1 })].flat();
    expect(b.vector).toBe("");
    b.restart();
    expect(words(b)).toEqual(["1", "2", "3"]);
    received.push(...b.pull(a, { batchSize: 1 }));
    expect(received.reduce((sum, result) => sum + result.received, 0)).toBe(4);
    expect(b.vector).toBe(a.vector);
  });

  test("a position belongs to one run: after a restart of the server the stream starts over, and nothing is lost", () => {
    const [a, b] = fourWords("b") as [Site, Site];
    b.pull(a, { batchSize: 1, batches: 2 });
    a.restart();
    expect(formatVector(b.replica.position(a.replica.run))).toBe("");
    b.pull(a, { batchSize: 1 });
    expect(words(b)).toEqual(["1", "2", "3", "4"]);
    expect(b.vector).toBe(a.vector);
  });

  test("does not claim what a cut stream brought, to anyone", () => {
    const [a, b, c] = fourWords("b", "c") as [Site, Site, Site];
    b.pull(a, { batchSize: 1, batches: 2 });
    c.pull(b);
    expect(c.vector).toBe(b.vector);
    // What c lacks of a is still counted and still comes.
    expect(a.replica.count(c.replica.state().vector).changes).toBe(4);
    c.pull(a);
    expect(words(c)).toEqual(["1", "2", "3", "4"]);
    expect(c.vector).toBe(a.vector);
  });
});

describe("what a server holds beyond its vector", () => {
  test("goes last, and is there at the receiver without being claimed", () => {
    const [a, b, c] = fourWords("b", "c") as [Site, Site, Site];
    b.edit("INSERT INTO word VALUES('of b', '', '')");
    b.pull(a, { batchSize: 1, batches: 2 });
    const stream = b.streamFor(c, 1);
    expect(stream.length).toBeGreaterThan(1);
    expect(stream.map(({ final, beyondDigest }) => [final, beyondDigest.length])).toEqual(
      stream.map((_, i) => (i === stream.length - 1 ? [true, 32] : [false, 0])),
    );
    c.pull(b);
    expect(words(c)).toEqual(expect.arrayContaining(["1", "of b"]));
    expect(c.vector).toBe(b.vector);
    settle(a, b, c);
    expect(words(c)).toEqual(["1", "2", "3", "4", "of b"]);
  });

  test("is not sent again to who holds the same", () => {
    const [a, b, c] = fourWords("b", "c") as [Site, Site, Site];
    b.pull(a, { batchSize: 1, batches: 2 });
    expect(b.batchFor(c).count).toBe(2);
    c.pull(b);
    expect(c.replica.beyondDigest()).toEqual(b.replica.beyondDigest());
    expect(b.batchFor(c).count).toBe(0);
    b.pull(a, { batchSize: 1, batches: 1 });
    expect(b.batchFor(c).count).toBeGreaterThan(0);
  });
});

describe("the first mention of a row", () => {
  // Origins sort at random: the birth's may come before or after those of the edits.
  test.each([1, 2, 3, 4, 5, 6])("carries every register that the receiver lacks (%i)", () => {
    const [a, b, c] = [new Site("a", SCHEMA), new Site("b", SCHEMA), new Site("c", SCHEMA)];
    a.edit("INSERT INTO word VALUES('k', 'born', 'born'); INSERT INTO person VALUES(5, 'born', 'born')");
    settle(a, b);
    b.edit("UPDATE word SET x = 'edited'; UPDATE person SET name = 'edited'", START_US + SECOND_US);
    settle(a, b);
    a.edit("UPDATE word SET y = 'edited'; UPDATE person SET mail = 'edited'", START_US + 2 * SECOND_US);
    settle(a, b);
    const whole = [{ one: "edited", other: "edited" }];
    for (const batch of a.streamFor(c, 1)) {
      c.replica.apply(batch);
      const seen = c.rows("SELECT x AS one, y AS other FROM word UNION SELECT name, mail FROM person");
      expect([[], whole]).toContainEqual(seen);
    }
    expect(c.rows("SELECT * FROM word UNION SELECT * FROM person")).toHaveLength(2);
  });

  test("carries its deletes and conflicts too", () => {
    const [a, b, c] = [new Site("a", SCHEMA), new Site("b", SCHEMA), new Site("c", SCHEMA)];
    a.edit("INSERT INTO word VALUES('conflict', '', ''), ('deleted', '', '')");
    settle(a, b);
    a.edit("UPDATE word SET x = 'of a' WHERE k = 'conflict'; DELETE FROM word WHERE k = 'deleted'", START_US + SECOND_US);
    b.edit("UPDATE word SET x = 'of b' WHERE k = 'conflict'", START_US + 2 * SECOND_US);
    settle(a, b);
    c.pull(a, { batchSize: 1 });
    expect(c.conflicts).toEqual(a.conflicts);
    expect(words(c)).toEqual(["conflict"]);
  });
});

describe("sessions in a chain", () => {
  test("a and c, which never meet, end up with the same through b", () => {
    const [a, b, c] = fourWords("b", "c") as [Site, Site, Site];
    c.edit("INSERT INTO person VALUES(1, 'of c', '')");
    b.pull(a);
    c.pull(b);
    b.pull(c);
    const [last] = a.pull(b);
    expect(last?.verified).toBe(true);
    expect(words(c)).toEqual(words(a));
    expect(a.rows("SELECT name FROM person")).toEqual([{ name: "of c" }]);
  });

  test("what was pulled is not captured as if it were written here", () => {
    const [a, b] = fourWords("b") as [Site, Site];
    b.pull(a);
    expect(b.replica.state().pending).toBe(0);
    b.replica.drain();
    expect(b.vector).toBe(a.vector);
  });

  test("the second session moves nothing", () => {
    const [a, b] = fourWords("b") as [Site, Site];
    b.edit("INSERT INTO word VALUES('of b', '', '')");
    b.pull(a);
    a.pull(b);
    const before = b.contents();
    for (const [to, from] of [
      [a, b],
      [b, a],
    ] as const) {
      expect(from.batchFor(to)).toMatchObject({ count: 0, final: true });
      expect(to.pull(from)).toMatchObject([{ received: 0, applied: 0, verified: true }]);
    }
    expect(b.contents()).toBe(before);
  });
});

describe("digests", () => {
  /** Three sites with edits, deletes, conflicts and equal integers. */
  function busy(): [Site, Site, Site] {
    const sites: [Site, Site, Site] = [new Site("a", SCHEMA), new Site("b", SCHEMA), new Site("c", SCHEMA)];
    sites.forEach((site, i) =>
      site.edit(
        `INSERT INTO word VALUES('k', '${i}', ''), ('${i}', '', ''); INSERT INTO person VALUES(1, '${i}', NULL)`,
        START_US + i * SECOND_US,
      ),
    );
    sites[0].pull(sites[1]);
    sites[0].edit("DELETE FROM word WHERE k = '0'; UPDATE person SET mail = 'm' WHERE id = 1", START_US + 5 * SECOND_US);
    sites[2].pull(sites[0]);
    sites[1].edit("UPDATE word SET x = 'again'", START_US + 6 * SECOND_US);
    return sites;
  }

  test("are equal where vectors are, and those of the rows as they are", () => {
    const sites = busy();
    settle(...sites);
    const [a] = sites;
    for (const site of sites) {
      expect(site.vector).toBe(a.vector);
      expect(site.replica.state().digest).toEqual(a.replica.state().digest);
      const whole = { table: "", buckets: [] };
      expect(site.replica.digests({ ...whole, deep: true })).toEqual(site.replica.digests({ ...whole, deep: false }));
    }
  });

  test("say nothing while one side has more, true when both agree, false when they differ", () => {
    const [a, b] = busy();
    expect(a.pull(b).at(-1)?.verified).toBeNull();
    const batch = a.batchFor(b);
    expect(b.replica.apply(batch).verified).toBe(true);
    const other = Buffer.from(batch.digest);
    other[15]! ^= 1;
    expect(b.replica.apply({ ...a.batchFor(b), digest: other }).verified).toBe(false);
  });

  test("find a row that was changed behind everybody's back", () => {
    const [a] = busy();
    a.write("INSERT INTO _scoutsync_applying VALUES(1); UPDATE person SET mail = 'forged'; DELETE FROM _scoutsync_applying");
    const of = (deep: boolean) =>
      a.replica.digests({ table: "", buckets: [], deep }).entries.map(({ table, digest }) => [table, Buffer.from(digest).toString("hex")]);
    const [stored, real] = [of(false), of(true)];
    expect(real[1]).toEqual(stored[1]);
    expect(real[0]?.[1]).not.toBe(stored[0]?.[1]);
  });

  test("see a row that is there twice or not at all", () => {
    const [a, b] = [new Site("a", SCHEMA), new Site("b", SCHEMA)];
    const empty: VersionVector = new Map();
    expect(a.replica.state()).toMatchObject({ vector: empty, rows: 0 });
    a.edit("INSERT INTO person VALUES(1, 'twin', NULL), (2, 'twin', NULL)");
    b.edit("INSERT INTO person VALUES(1, 'twin', NULL)");
    expect(a.replica.state().digest).not.toEqual(b.replica.state().digest);
    a.edit("DELETE FROM person WHERE id = 2");
    expect(a.replica.state().digest).toEqual(b.replica.state().digest);
    a.edit("DELETE FROM person");
    expect(Buffer.from(a.replica.state().digest)).toEqual(Buffer.alloc(16));
  });
});

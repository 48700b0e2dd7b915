import { expect, test } from "vitest";
import { Acquaintances, repair, runSession } from "../src/index.ts";
import { DirectPeer } from "./direct-peer.ts";
import { openTestReplica, type TestReplica } from "./test-replica.ts";

const SCHEMA =
  "CREATE TABLE t(k TEXT PRIMARY KEY, v TEXT); CREATE TABLE m(id INTEGER PRIMARY KEY, v TEXT, w TEXT); CREATE TABLE c(id INTEGER PRIMARY KEY, m INTEGER REFERENCES m, v TEXT)";
const TABLES = ["t", "m", "c"] as const;
const SEEDS = Number(process.env["SCOUTSYNC_SEEDS"] ?? 6);
const FIRST_SEED = Number(process.env["SCOUTSYNC_SEED"] ?? 1);

function dice(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const sessionOf = (here: TestReplica, peer: DirectPeer) =>
  runSession({ databases: [{ replica: here, acquaintances: new Acquaintances() }], peer, nodeName: "here", named: false, retries: 0 });

/** What an application reads, by its own SELECTs. */
const contents = ({ application }: TestReplica) =>
  TABLES.map((table) => application.prepare(`SELECT * FROM ${table} ORDER BY 1`).raw().all());

const text = (value: unknown) => (typeof value === "string" ? [value] : []);
const valuesIn = (replica: TestReplica) => new Set(contents(replica).flat(2).flatMap(text));

/** Every value in a table, in the review list or in the history of a row. */
async function seen(replica: TestReplica): Promise<Set<string>> {
  const found = valuesIn(replica);
  for (const { winner, loser, image } of await replica.reviews({ kind: "", id: "", limit: 0 }))
    for (const value of [winner?.value, loser?.value, ...(image ?? []).map((cell) => cell.value)])
      text(value).forEach((one) => found.add(one));
  for (const table of TABLES) {
    const ids = replica.application
      .prepare(`SELECT ${table === "t" ? "k" : "id"} FROM ${table}`)
      .pluck()
      .all();
    const gone = Array.from({ length: 60 }, (_, i) => (table === "t" ? `k${i}` : i));
    for (const key of new Set([...ids, ...gone]))
      for (const { value } of await replica.history(table, String(key))) text(value).forEach((one) => found.add(one));
  }
  return found;
}

/** Deleted rows of natural keys have no history to ask for yet: their images are looked at in the file. */
function inImages({ application }: TestReplica, value: string): boolean {
  return application.prepare("SELECT 1 FROM _scoutsync_out WHERE instr(image, CAST(? AS BLOB)) > 0").get(value) !== undefined;
}

/** Writes that no trigger notes. */
function pastCapture({ application }: TestReplica, ...statements: string[]): void {
  application.exec(
    `BEGIN IMMEDIATE; INSERT INTO _scoutsync_applying VALUES (1); ${statements.join("; ")}; DELETE FROM _scoutsync_applying; COMMIT`,
  );
}

const tidOf = ({ application }: TestReplica, table: string) =>
  application.prepare("SELECT tid FROM _scoutsync_table WHERE name = ?").pluck().get(table) as number;

async function pair() {
  const here = await openTestReplica({ nodeName: "here" }, SCHEMA);
  const there = await openTestReplica({ nodeName: "there" }, SCHEMA);
  const peer = new DirectPeer(there);
  return { here, there, peer, mend: () => repair({ replica: here, peer, nodeName: "here" }), session: () => sessionOf(here, peer) };
}

test("what was written past capture is found, becomes an edit, and the value it replaced is in the history", async () => {
  const { here, there, mend, session } = await pair();
  here.application.exec("INSERT INTO m VALUES (1, 'one', 'x'), (2, 'two', 'x'), (3, 'three', 'x')");
  await session();
  pastCapture(here, "UPDATE m SET v = 'uno' WHERE id = 1", "INSERT INTO m VALUES (9, 'nueve', 'y')");
  pastCapture(there, "UPDATE m SET v = 'dos' WHERE id = 2", "DELETE FROM m WHERE id = 3");
  expect((await mend()).map(({ key }) => key).sort()).toEqual(["1", "2", "3", "9"]);
  expect(await session()).toMatchObject({ success: true, verified: true });
  expect(contents(here)).toEqual(contents(there));
  expect(contents(here)[1]).toEqual([
    [1, "uno", "x"],
    [2, "dos", "x"],
    [9, "nueve", "y"],
  ]);
  for (const replica of [here, there]) {
    const all = await seen(replica);
    for (const value of ["one", "two", "three"]) expect(all, value).toContain(value);
  }
  expect(await mend()).toEqual([]);
});

test("one write with two values is a conflict that both nodes list", async () => {
  const { here, there, mend, session } = await pair();
  here.application.exec("INSERT INTO t VALUES ('k', 'as written')");
  await session();
  await there.drain();
  // Value and hash of the row, and the sum of the hashes, all changed alike: nothing on this side tells of a damage.
  const other = await openTestReplica({ nodeName: "other" }, SCHEMA);
  other.application.exec("INSERT INTO t VALUES ('k', 'as damaged')");
  await other.drain();
  const tid = tidOf(other, "t");
  const hash = other.application.prepare(`SELECT hash FROM _scoutsync_rows_${tid}`).pluck().get() as Buffer;
  pastCapture(there, "UPDATE t SET v = 'as damaged'");
  there.application.prepare(`UPDATE _scoutsync_rows_${tidOf(there, "t")} SET hash = ?`).run(hash);
  await there.wholeRows({ table: "t", keys: ["k"], codecs: [] });
  expect((await mend()).map(({ columns }) => columns)).toEqual([["v"]]);
  for (let i = 0; i < 2; i++) await session();
  expect(await session()).toMatchObject({ success: true, verified: true });
  expect(contents(here)).toEqual(contents(there));
  for (const replica of [here, there]) {
    const all = await seen(replica);
    expect([...all].sort()).toEqual(expect.arrayContaining(["as damaged", "as written"]));
  }
});

test("a session that finds a difference mends it", async () => {
  const { here, there, peer, session } = await pair();
  here.application.exec("INSERT INTO m VALUES (1, 'one', 'x'), (2, 'two', 'x')");
  await session();
  // A damaged hash makes the sums wrong for good as soon as its row is written.
  there.application.exec(`UPDATE _scoutsync_rows_${tidOf(there, "m")} SET hash = zeroblob(16) WHERE id = 1`);
  there.application.exec("UPDATE m SET v = 'uno' WHERE id = 1");
  await there.drain();
  peer.calls.length = 0;
  expect(await session()).toMatchObject({ success: true, verified: true, stats: { rowsRepaired: 1 } });
  expect(peer.calls).toContain("wholeRows");
  expect(contents(here)).toEqual(contents(there));
});

test.each(Array.from({ length: SEEDS }, (_, i) => FIRST_SEED + i))(
  "random damage: all equal and nothing unseen (seed %i)",
  async (seed) => {
    const roll = dice(seed * 7_919);
    const { here, there, mend, session } = await pair();
    const sides = [here, there];
    let n = 0;
    const word = () => `w${seed}-${++n}`;
    const write = (replica: TestReplica) => {
      const id = roll(12) + 1;
      const key = `k${roll(12)}`;
      const statement = [
        () => `INSERT INTO t VALUES ('${key}', '${word()}') ON CONFLICT(k) DO UPDATE SET v = excluded.v`,
        () => `INSERT INTO m(v, w) VALUES ('${word()}', '${word()}')`,
        () => `UPDATE m SET ${roll(2) ? "v" : "w"} = '${word()}' WHERE id = ${id}`,
        () => `INSERT INTO c(m, v) SELECT id, '${word()}' FROM m ORDER BY (id * 7) % 11 LIMIT 1`,
        () => `DELETE FROM c WHERE id = ${id}`,
      ][roll(5)]!;
      replica.application.exec(statement());
    };
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 12; i++) write(sides[roll(2)]!);
      await session();
    }
    await session();
    for (let i = 0; i < 4; i++) {
      const side = sides[roll(2)]!;
      const table = TABLES[roll(3)]!;
      const rows = `_scoutsync_rows_${tidOf(side, table)}`;
      const key = table === "t" ? "k" : "id";
      const one = `(SELECT ${key} FROM ${table} ORDER BY ${table === "t" ? "v" : "id * 7 % 11"} LIMIT 1 OFFSET ${roll(4)})`;
      [
        () => pastCapture(side, `UPDATE ${table} SET v = '${word()}' WHERE ${key} = ${one}`),
        () =>
          pastCapture(side, `DELETE FROM ${table === "m" ? "c" : table} WHERE ${table === "m" ? "id" : key} = ${table === "m" ? 1 : one}`),
        () =>
          pastCapture(
            side,
            `INSERT INTO ${table}(${key}, v) VALUES (${table === "t" ? `'k${roll(3) + 15}'` : 40 + roll(15)}, '${word()}') ON CONFLICT DO NOTHING`,
          ),
        () =>
          side.application.exec(`UPDATE ${rows} SET hash = randomblob(16) WHERE id = (SELECT id FROM ${rows} LIMIT 1 OFFSET ${roll(4)})`),
        () =>
          side.application.exec(
            `UPDATE ${rows} SET extra = NULL, open = NULL WHERE extra IS NOT NULL AND id = (SELECT id FROM ${rows} WHERE extra IS NOT NULL LIMIT 1)`,
          ),
      ][roll(table === "t" ? 5 : 4)]!();
    }
    const ledger = [...new Set([...valuesIn(here), ...valuesIn(there)])].filter((value) => value.startsWith("w"));
    await mend();
    for (let i = 0; i < 3; i++) await session();
    await mend();
    for (let i = 0; i < 2; i++) await session();
    expect(await session()).toMatchObject({ success: true, verified: true });
    expect(contents(here)).toEqual(contents(there));
    const all = new Set([...(await seen(here)), ...(await seen(there))]);
    expect(ledger.filter((value) => !all.has(value) && !inImages(here, value) && !inImages(there, value))).toEqual([]);
  },
);

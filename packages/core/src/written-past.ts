import type { DigestEntry } from "./exchange.ts";

/** A table of at most this many rows is read in every round; of larger ones one per round. */
const SMALL_TABLE_ROWS = 20_000;
/** A table that is written to differs from what was captured of it for a moment; one whose capture is broken stays so. */
const LOOKS = 4;

/** Asks a database for digests: of each table where none is named, else of its buckets; `deep` from rows that are read again. */
export type AskDigest = (table: string, deep: boolean) => Promise<readonly DigestEntry[]>;

/**
 * Tables whose rows are, look after look, not those that capture knows of: something wrote past it. Small tables are read in
 * every round, of large ones one, by the number of the round. `wait` is called between two looks.
 */
export async function tablesWrittenPast(ask: AskDigest, round: number, wait: () => Promise<unknown>): Promise<string[]> {
  const entries = await ask("", false);
  const small = entries.filter((entry) => entry.rows <= SMALL_TABLE_ROWS);
  const large = entries.filter((entry) => entry.rows > SMALL_TABLE_ROWS);
  const turn = large[round % Math.max(1, large.length)];
  const broken: string[] = [];
  for (const { table } of turn === undefined ? small : [...small, turn]) {
    if (await staysBroken(table, ask, wait)) broken.push(table);
  }
  return broken;
}

/** True when the same part of the table differs from what was captured of it at every look. */
async function staysBroken(table: string, ask: AskDigest, wait: () => Promise<unknown>): Promise<boolean> {
  let suspects: number[] | null = null;
  for (let look = 0; look < LOOKS; look++) {
    if (look > 0) await wait();
    const [stored, read] = [await ask(table, false), await ask(table, true)];
    const differing = differingBuckets(stored, read);
    suspects = suspects === null ? [...differing] : suspects.filter((bucket) => differing.has(bucket));
    if (suspects.length === 0) return false;
  }
  return true;
}

function differingBuckets(stored: readonly DigestEntry[], read: readonly DigestEntry[]): Set<number> {
  const sums = new Map(stored.map((entry) => [entry.bucket, entry.digest.join()]));
  const differing = new Set<number>();
  for (const { bucket, digest } of read) {
    if (sums.get(bucket) !== digest.join()) differing.add(bucket);
    sums.delete(bucket);
  }
  // What was captured and is not in the table any more.
  for (const bucket of sums.keys()) differing.add(bucket);
  return differing;
}

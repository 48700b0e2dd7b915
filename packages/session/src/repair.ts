import { SyncError } from "@scoutsync/core";
import type { Replica } from "@scoutsync/replica";
import type { Peer } from "./peer.ts";
import { PushWindow } from "./push-window.ts";
import { CODECS } from "./codecs.ts";
import { verify, type Difference } from "./verify.ts";

/** Rows exchanged by one request: each may be large. */
const ROWS_AT_ONCE = 100;
/** Each round mends at most what one comparison names. */
const MAX_ROUNDS = 20;

export interface RepairOptions {
  replica: Replica;
  peer: Peer;
  nodeName: string;
  signal?: AbortSignal | undefined;
}

/**
 * Finds the rows in which two replicas differ and merges everything known of them in both directions; nothing is wiped.
 * What one side wrote past capture becomes an edit of that side, which the next session carries. Returns the rows that
 * differed. Rows that differ only because one side lacks changes are among them, and take no harm.
 */
export async function repair(options: RepairOptions): Promise<Difference[]> {
  const mended = new Map<string, Difference>();
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const found = await differences(options);
    const fresh = found.filter((difference) => !mended.has(nameOf(difference)));
    for (const difference of fresh) mended.set(nameOf(difference), difference);
    if (fresh.length === 0) break;
    for (const [table, keys] of byTable(fresh)) await exchange(options, table, keys);
  }
  return [...mended.values()];
}

/** What differs by the stored hashes, which a session compares, and by the rows themselves. */
async function differences({ replica, peer, signal }: RepairOptions): Promise<Difference[]> {
  const stored = await verify({ replica, peer, deep: false, signal });
  const actual = await verify({ replica, peer, deep: true, signal });
  const seen = new Set(actual.differences.map(nameOf));
  return [...actual.differences, ...stored.differences.filter((difference) => !seen.has(nameOf(difference)))];
}

function byTable(found: readonly Difference[]): Map<string, string[]> {
  const tables = new Map<string, string[]>();
  // A difference without a key is one of the table's sums: the table is read again, and no row is named.
  for (const { table, key } of found) tables.set(table, [...(tables.get(table) ?? []), ...(key === "" ? [] : [key])]);
  return tables;
}

async function exchange({ replica, peer, nodeName, signal }: RepairOptions, table: string, keys: string[]): Promise<void> {
  for (let at = 0; at === 0 || at < keys.length; at += ROWS_AT_ONCE) {
    const some = keys.slice(at, at + ROWS_AT_ONCE);
    // Both sides read their rows again before either merges: an edit made past capture must not be taken for a damage.
    const ours = await replica.wholeRows({ table, keys: some, codecs: CODECS });
    const theirs = await peer.wholeRows({ database: replica.name, table, keys: some, codecs: CODECS }, signal);
    if (!theirs.repair) throw tooOld(peer.address);
    const stream = await peer.openPush(
      { database: replica.name, name: nodeName, run: replica.run, baseline: replica.state.baseline },
      signal,
    );
    try {
      const window = new PushWindow(stream);
      await window.send(ours);
      stream.end();
      await window.drained();
    } finally {
      stream.cancel();
    }
    // What is here has gone by now: a large row of both sides would be there beside what merging them takes.
    await replica.apply(theirs);
  }
}

function nameOf({ table, key }: Difference): string {
  return `${table}\0${key}`;
}

function tooOld(address: string): SyncError {
  return new SyncError({
    code: "PROTOCOL_VERSION",
    message: `${address} does not know how to mend differences`,
    action: "Upgrade it to this version.",
  });
}

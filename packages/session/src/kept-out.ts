import { SyncError } from "@scoutsync/core";
import type { Replica } from "@scoutsync/replica";
import type { Peer } from "./peer.ts";
import { verify, type Difference } from "./verify.ts";

/** Where more rows than these are kept out, or differ, nobody looks whether the ones explain the others. */
const MOST_ROWS = 500;

/** A row that is known and that a constraint keeps out of its table. */
export interface KeptOutRow {
  table: string;
  key: string;
}

/**
 * How many rows one of two replicas holds and the other one keeps out of its tables, as a constraint there refuses them, where
 * that is all in which they differ. 0 where anything else differs too, and where it cannot be said: then they diverged.
 */
export async function keptOutOnly(sides: { replica: Replica; peer: Peer; signal?: AbortSignal | undefined }): Promise<number> {
  const { replica, peer, signal } = sides;
  const [ours, theirs] = await Promise.all([
    replica.reviews({ kind: "parked", id: "", limit: MOST_ROWS }),
    peer.keptOut(replica.name, MOST_ROWS, signal).catch(nothingWhereRefused),
  ]);
  if (ours.length + theirs.length === 0 || Math.max(ours.length, theirs.length) === MOST_ROWS) return 0;
  const [here, there] = [new Set(ours.map(nameOf)), new Set(theirs.map(nameOf))];
  const isExplained = async (difference: Difference) => {
    const { table, key } = difference;
    if (here.has(nameOf(difference)) && (await replica.row(table, key)) === null) return true;
    if (!there.has(nameOf(difference))) return false;
    const rows = await peer.rows({ database: replica.name, table, keys: [key] }, signal);
    return rows.every(({ columns }) => columns === null);
  };
  let found = 0;
  for (const deep of [false, true]) {
    const { differences, notCompared } = await verify({ replica, peer, deep, signal });
    if (notCompared.length > 0 || differences.length > MOST_ROWS) return 0;
    for (const difference of differences) if (!(await isExplained(difference))) return 0;
    // Sums that differ over rows that do not are no matter of single rows.
    if (differences.length === 0) return 0;
    found = differences.length;
  }
  return found;
}

/** The same for people. */
export function keptOutText(database: string, address: string, rows: number): string {
  const which =
    rows === 1
      ? "one row that a rule of its table (UNIQUE or CHECK) keeps"
      : `${rows} rows that rules of their tables (UNIQUE or CHECK) keep`;
  return `"${database}" here and at ${address} know the same and differ only in ${which} out on one side: \`scoutsync review list\` there says which and why.`;
}

/** Nodes of a scope may not list what waits for people. */
function nothingWhereRefused(error: unknown): KeptOutRow[] {
  if (error instanceof SyncError && error.code === "FORBIDDEN") return [];
  throw error;
}

function nameOf({ table, key }: KeptOutRow): string {
  return `${table}\0${key}`;
}

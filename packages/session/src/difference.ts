import { SyncError, type DigestEntry } from "@scoutsync/core";
import type { Replica } from "@scoutsync/replica";
import type { Peer } from "./peer.ts";

/** Buckets whose rows are listed by one request. */
const BUCKETS_PER_REQUEST = 32;
const BUCKETS = 256;
/** Keys named per kind and table. */
const EXAMPLES = 3;
/** Rows that are not equal kept in memory while their other side is looked for; beyond that counts are not exact. */
const MOST_UNMATCHED = 200_000;

/** How the rows of one table compare by key, on two sides that have not been joined. */
export interface TableDifference {
  table: string;
  equal: number;
  onlyHere: number;
  onlyThere: number;
  /** Same key, other values. */
  different: number;
  /** False: too many rows differ to match them all; `onlyHere` and `onlyThere` then hold rows that are on both sides. */
  exact: boolean;
  /** A few keys of each kind. */
  examples: { onlyHere: string[]; onlyThere: string[]; different: string[] };
}

export interface DifferenceOptions {
  replica: Replica;
  peer: Peer;
  signal?: AbortSignal | undefined;
}

/** Counts, per table that differs or holds rows, what two sides have in common by key. Reads stored row hashes; changes nothing. */
export async function compareByKey(options: DifferenceOptions): Promise<TableDifference[]> {
  const { replica, peer, signal } = options;
  const whole = { table: "", buckets: [], deep: false };
  const [here, there] = await Promise.all([replica.digest(whole), peer.digest({ database: replica.name, ...whole }, signal)]);
  const rowsOf = (entries: DigestEntry[], table: string) => entries.find((entry) => entry.table === table);
  const names = [...new Set([...here.entries, ...there.entries].map(({ table }) => table))];
  const tables: TableDifference[] = [];
  for (const table of names) {
    const [ours, theirs] = [rowsOf(here.entries, table), rowsOf(there.entries, table)];
    const counted = emptyDifference(table);
    if (!ours || !theirs) tables.push({ ...counted, onlyHere: ours?.rows ?? 0, onlyThere: theirs?.rows ?? 0 });
    else if (Buffer.compare(ours.digest, theirs.digest) === 0) tables.push({ ...counted, equal: ours.rows });
    else tables.push(await compareTable(options, table));
  }
  return tables.filter(({ equal, onlyHere, onlyThere, different }) => equal + onlyHere + onlyThere + different > 0);
}

const emptyDifference = (table: string): TableDifference => ({
  table,
  equal: 0,
  onlyHere: 0,
  onlyThere: 0,
  different: 0,
  exact: true,
  examples: { onlyHere: [], onlyThere: [], different: [] },
});

async function compareTable({ replica, peer, signal }: DifferenceOptions, table: string): Promise<TableDifference> {
  const result = emptyDifference(table);
  const here = new Set<string>();
  const there = new Set<string>();
  for (let first = 0; first < BUCKETS; first += BUCKETS_PER_REQUEST) {
    const request = { table, buckets: Array.from({ length: BUCKETS_PER_REQUEST }, (_, i) => first + i), deep: false };
    const [ours, theirs] = await Promise.all([replica.digest(request), peer.digest({ database: replica.name, ...request }, signal)]);
    // Equal rows have equal hashes, and are in the same bucket.
    const hashes = new Map(ours.entries.map(({ key, digest }) => [key, Buffer.from(digest).toString("latin1")]));
    const matches = (key: string | undefined, { digest }: DigestEntry) => {
      if (key === undefined || hashes.get(key) !== Buffer.from(digest).toString("latin1")) return false;
      result.equal++;
      return hashes.delete(key);
    };
    const unequal = theirs.entries.filter((entry) => !matches(entry.key, entry));
    const common = new Map([...hashes.keys()].map((key) => [commonName(key), key]));
    for (const entry of unequal) {
      const name = commonName(entry.key);
      if (matches(common.get(name), entry)) continue;
      if (there.size < MOST_UNMATCHED) there.add(there.has(name) ? entry.key : name);
      else {
        result.exact = false;
        result.onlyThere++;
      }
    }
    for (const key of hashes.keys()) {
      const name = commonName(key);
      if (here.size < MOST_UNMATCHED) here.add(here.has(name) ? key : name);
      else {
        result.exact = false;
        result.onlyHere++;
      }
    }
  }
  const note = (kind: "onlyHere" | "onlyThere" | "different", key: string) => {
    result[kind]++;
    if (result.examples[kind].length < EXAMPLES) result.examples[kind].push(key);
  };
  for (const key of here) note(there.has(key) ? "different" : "onlyHere", key);
  for (const key of there) if (!here.has(key)) note("onlyThere", key);
  return result;
}

/**
 * A row without a key that was there before syncing is named by which copy held it, too, until copies are joined as shared:
 * what both would call it then.
 */
const commonName = (key: string): string => key.replace(/^[a-z2-7]{16}=(?=[0-9a-f]{32}$)/, "");

/** One line per table, for people. */
export function describeDifference(tables: readonly TableDifference[]): string {
  const part = (count: number, what: string, keys: readonly string[]) => {
    if (count === 0) return [];
    const named = keys.length === 0 ? "" : ` (${keys.join("; ")}${count > keys.length ? "; …" : ""})`;
    return [`${count} ${what}${named}`];
  };
  return tables
    .map(({ table, equal, onlyHere, onlyThere, different, exact, examples }) => {
      const parts = [
        `${equal} rows equal`,
        ...part(different, "with the same key differ", examples.different),
        ...part(onlyHere, "only here", examples.onlyHere),
        ...part(onlyThere, "only there", examples.onlyThere),
      ];
      return `${table}: ${exact ? "" : "about "}${parts.join(", ")}`;
    })
    .join("\n  ");
}

/** Why a choice is probably wrong for these rows; null when it is not. */
export function doubtsOf(choice: "shared" | "distinct", tables: readonly TableDifference[]): string | null {
  const sum = (kind: "equal" | "different" | "onlyHere" | "onlyThere") => tables.reduce((total, table) => total + table[kind], 0);
  const [equal, different] = [sum("equal"), sum("different")];
  const smaller = equal + different + Math.min(sum("onlyHere"), sum("onlyThere"));
  if (choice === "distinct" && equal * 2 > smaller)
    return `they are joined as distinct, and ${equal} of at most ${smaller} rows are equal: they look like copies of one file, and every such row exists twice now. Copies are joined with --baseline shared`;
  if (choice === "shared" && different > equal)
    return `they are joined as shared, and of the rows with the same key ${different} differ and only ${equal} are equal: they look filled independently, and their rows are merged by key now. Independent files are joined with --baseline distinct`;
  return null;
}

/** BASELINE_CHOICE with what a person has to know to choose: the rows of both sides, and what to say. */
export async function explainChoice(options: DifferenceOptions, refused: SyncError): Promise<SyncError> {
  const tables = await compareByKey(options);
  return new SyncError({
    code: "BASELINE_CHOICE",
    message: `"${options.replica.name}" here and at ${options.peer.address}: ${refused.message.replace(`. ${refused.action}`, "")}.\n  ${describeDifference(tables)}`,
    action:
      "Both began as copies of one file: start this node with --baseline shared; rows with the same key are one row, and of values that differ one is in the table and the other in `scoutsync review`. Filled independently: --baseline distinct; every row of both sides stays a row of its own. A file that took part and was detached: begin with an empty one instead, or each row written meanwhile is there twice.",
    cause: refused,
  });
}

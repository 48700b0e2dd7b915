import { brief, LONGEST_COMPARED, RawText, equalVectors, type DigestEntry, type SqlValue, type VersionVector } from "@scoutsync/core";
import type { Replica } from "@scoutsync/replica";
import { sameBytes } from "./bytes.ts";
import type { Peer } from "./peer.ts";

/** Rows named at most: whoever sees this many does not read on. */
const MAX_DIFFERENCES = 1_000;
/** Buckets whose rows are listed by one request, and rows whose columns are fetched by one. */
const BUCKETS_PER_REQUEST = 32;
const KEYS_PER_REQUEST = 100;
/** Writes that arrive while comparing look like differences: look again this often. */
const MAX_ROUNDS = 3;

export interface VerifyOptions {
  replica: Replica;
  peer: Peer;
  /** Read every row again on both sides instead of trusting the stored row hashes. */
  deep: boolean;
  signal?: AbortSignal | undefined;
}

export interface Difference {
  table: string;
  key: string;
  /** The columns that differ; empty when the row is missing on one side, or the table differs as a whole. */
  columns: string[];
}

/** A table whose rows cannot be compared: one side lacks it, or some of its columns. */
export interface NotCompared {
  table: string;
  reason: string;
}

export interface Verification {
  /** Everything was compared and nothing differs. */
  equal: boolean;
  differences: Difference[];
  notCompared: NotCompared[];
  vector: VersionVector;
  peerVector: VersionVector;
}

interface Snapshot {
  vector: VersionVector;
  entries: DigestEntry[];
}

/** Compares a database with a peer's: tables, then the buckets that differ, then their rows, then their columns. */
export async function verify(options: VerifyOptions): Promise<Verification> {
  for (let round = 1; ; round++) {
    const verification = await compareOnce(options);
    const { replica } = options;
    const still = equalVectors(verification.vector, replica.state.vector) && equalVectors(verification.vector, verification.peerVector);
    if (verification.equal || still || round === MAX_ROUNDS) return verification;
  }
}

async function compareOnce(options: VerifyOptions): Promise<Verification> {
  const [here, there] = await both(options, "", []);
  const differences: Difference[] = [];
  const notCompared: NotCompared[] = [];
  for (const table of differing(here.entries, there.entries, (entry) => entry.table)) {
    if (differences.length >= MAX_DIFFERENCES) break;
    const reason = whyNotComparable(table, here.entries, there.entries);
    if (reason) {
      notCompared.push({ table, reason });
      continue;
    }
    const keys = await differingRows(options, table, MAX_DIFFERENCES - differences.length);
    for (let at = 0; at < keys.length; at += KEYS_PER_REQUEST) {
      differences.push(...(await compareColumns(options, table, keys.slice(at, at + KEYS_PER_REQUEST))));
    }
    // The table's digest differs but no row does: it exists on one side only, or it changed while we looked.
    if (keys.length === 0) differences.push({ table, key: "", columns: [] });
  }
  const equal = differences.length === 0 && notCompared.length === 0;
  return { equal, differences, notCompared, vector: here.vector, peerVector: there.vector };
}

/** Null where both sides have the table with the same columns, and where the first version of the program does not say. */
function whyNotComparable(table: string, here: readonly DigestEntry[], there: readonly DigestEntry[]): string | null {
  const ours = here.find((entry) => entry.table === table);
  const theirs = there.find((entry) => entry.table === table);
  if ([...here, ...there].some(({ schema }) => schema === "")) return null;
  if (!ours) return "only the other side has this table";
  if (!theirs) return "only this side has this table";
  return ours.schema === theirs.schema ? null : "the two sides have other columns, or another kind of key";
}

async function differingRows(options: VerifyOptions, table: string, limit: number): Promise<string[]> {
  const [here, there] = await both(options, table, []);
  const buckets = differing(here.entries, there.entries, (entry) => String(entry.bucket)).map(Number);
  const keys: string[] = [];
  for (let at = 0; at < buckets.length && keys.length < limit; at += BUCKETS_PER_REQUEST) {
    const [ours, theirs] = await both(options, table, buckets.slice(at, at + BUCKETS_PER_REQUEST));
    keys.push(...differing(ours.entries, theirs.entries, (entry) => entry.key));
  }
  return keys.slice(0, limit);
}

async function compareColumns({ replica, peer, signal }: VerifyOptions, table: string, keys: string[]): Promise<Difference[]> {
  const [here, there] = await Promise.all([
    Promise.all(keys.map((key) => replica.row(table, key))),
    peer.rows({ database: replica.name, table, keys }, signal),
  ]);
  const theirs = new Map(there.map(({ key, columns }) => [key, columns]));
  return keys.map((key, index) => {
    const ours = here[index] ?? null;
    const other = theirs.get(key) ?? null;
    return { table, key, columns: ours && other ? differingColumns(ours, other) : [] };
  });
}

function differingColumns(here: { name: string; value: SqlValue }[], there: { name: string; value: SqlValue }[]): string[] {
  const ours = new Map(here.map(({ name, value }) => [name, brief(value, LONGEST_COMPARED)]));
  // A node of the version before sends them whole.
  const theirs = new Map(there.map(({ name, value }) => [name, brief(value, LONGEST_COMPARED)]));
  return [...new Set([...ours.keys(), ...theirs.keys()])].filter((name) => !sameValue(ours.get(name), theirs.get(name)));
}

function sameValue(a: SqlValue | undefined, b: SqlValue | undefined): boolean {
  if (a === undefined || b === undefined || a === null || b === null) return a === b;
  if (typeof a !== "object" || typeof b !== "object") return Object.is(a, b);
  if (a instanceof RawText) return b instanceof RawText && sameBytes(a.bytes, b.bytes);
  return !(b instanceof RawText) && sameBytes(a, b);
}

function both({ replica, peer, deep, signal }: VerifyOptions, table: string, buckets: number[]): Promise<[Snapshot, Snapshot]> {
  return Promise.all([replica.digest({ table, buckets, deep }), peer.digest({ database: replica.name, table, buckets, deep }, signal)]);
}

/** The names whose digests are not the same on both sides. Rows without a primary key may have a name more than once. */
function differing(here: DigestEntry[], there: DigestEntry[], name: (entry: DigestEntry) => string): string[] {
  const ours = group(here, name);
  const theirs = group(there, name);
  return [...new Set([...ours.keys(), ...theirs.keys()])].filter((key) => ours.get(key) !== theirs.get(key));
}

function group(entries: DigestEntry[], name: (entry: DigestEntry) => string): Map<string, string> {
  const lists = new Map<string, string[]>();
  for (const entry of entries) {
    // An empty table or bucket is the same as none.
    if (entry.rows === 0 && entry.key === "") continue;
    const key = name(entry);
    lists.set(key, [...(lists.get(key) ?? []), Buffer.from(entry.digest).toString("hex")]);
  }
  return new Map([...lists].map(([key, digests]) => [key, digests.sort().join()]));
}

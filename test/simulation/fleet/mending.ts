import type { DigestEntry } from "@scoutsync/core";
import type { ReplicaDatabase } from "@scoutsync/replica";

const EVERY_BUCKET = Array.from({ length: 256 }, (_, i) => i);

/** Rows that differ between two replicas, by table; none where every table is equal. */
export type Differing = Map<string, Set<string>>;

/** Names the rows whose hashes differ, of tables that both have under the same columns. */
export function differingRows(here: ReplicaDatabase, there: ReplicaDatabase): Differing {
  const found: Differing = new Map();
  const sums = ({ replica, table }: { replica: ReplicaDatabase; table: string }) =>
    replica.digests({ table, buckets: table === "" ? [] : EVERY_BUCKET, deep: false }).entries;
  const theirs = new Map(sums({ replica: there, table: "" }).map((entry) => [entry.table, entry]));
  for (const { table, digest, schema } of sums({ replica: here, table: "" })) {
    const other = theirs.get(table);
    if (!other || other.schema !== schema || Buffer.compare(other.digest, digest) === 0) continue;
    const nameOf = ({ key, digest: hash }: DigestEntry) => `${key}\0${Buffer.from(hash).toString("hex")}`;
    const [ours, others] = [here, there].map((replica) => new Map(sums({ replica, table }).map((entry) => [nameOf(entry), entry.key])));
    const keys = [...(ours ?? [])].filter(([name]) => !others?.has(name)).concat([...(others ?? [])].filter(([name]) => !ours?.has(name)));
    found.set(table, new Set(keys.map(([, key]) => key)));
  }
  return found;
}

/** What a session does with rows that differ though neither side misses anything: everything known of them is merged in both directions. */
export function mend(here: ReplicaDatabase, there: ReplicaDatabase, differing: Differing): void {
  for (const [table, keys] of differing) {
    const request = { table, keys: [...keys], codecs: [] };
    // Both read before either merges.
    const [ours, theirs] = [here.wholeRows(request), there.wholeRows(request)];
    here.apply(theirs);
    there.apply(ours);
  }
}

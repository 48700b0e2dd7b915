import type { DigestEntry } from "@scoutsync/core";
import type { ReplicaDatabase } from "@scoutsync/replica";
import type { FleetHistory } from "./history.ts";
import { textOf } from "./ledger.ts";
import { levelOf } from "./migrations.ts";
import type { SimulatedNode } from "./node.ts";
import type { ModelTable } from "./schema.ts";

const EVERY_BUCKET = Array.from({ length: 256 }, (_, i) => i);

/** Rows that differ between two replicas, by table; none where every table is equal. */
type Differing = Map<string, Set<string>>;

/** Names the rows whose hashes differ, of tables that both have under the same columns. */
function differingRows(here: ReplicaDatabase, there: ReplicaDatabase): Differing {
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
function mend(here: ReplicaDatabase, there: ReplicaDatabase, differing: Differing): void {
  for (const [table, keys] of differing) {
    const request = { table, keys: [...keys], codecs: [] };
    // Both read before either merges.
    const [ours, theirs] = [here.wholeRows(request), there.wholeRows(request)];
    here.apply(theirs);
    there.apply(ours);
  }
}

/**
 * A node that has dropped a column passes rows on without its values: who gets them there lacks the values alone, which a
 * session with a node that has them finds, and mends. One that has dropped a table passes its rows over: who pulls from it lacks
 * them, and what was written to them. False for any other difference, and where it stays.
 */
export function isMended(history: FleetHistory, { replica: here }: SimulatedNode, { replica: there }: SimulatedNode): boolean {
  if (!here || !there) return false;
  const differing = differingRows(here, there);
  const dropped = passedOver(history, differing);
  for (const [table, keys] of differing) {
    if (dropped.has(table)) continue;
    const left = columnsLeft(history, table);
    for (const key of keys) {
      const [ours, theirs] = [here.row(table, key), there.row(table, key)];
      if (!ours || !theirs) return false;
      const columns = ours.filter(({ value }, i) => textOf(value) !== textOf(theirs[i]?.value));
      if (columns.length === 0 || !columns.every(({ name }) => left.has(name))) return false;
    }
  }
  if (differing.size === 0) return false;
  mend(here, there, differing);
  history.counts.mended++;
  return differingRows(here, there).size === 0;
}

/**
 * Of tables that differ those that some node has dropped: whoever still has the rows brings them back, also to one that never
 * dropped them, or has not yet (seed 20000057). And what they refer to: a deleted row is kept by who has the row that it is kept
 * for, and keeps another out that has its UNIQUE value (seed 20000123).
 */
function passedOver(history: FleetHistory, differing: Differing): Set<string> {
  const tables = [history.tables, ...history.migrations.map((migration) => migration.tables)].flat();
  const found = new Set([...differing.keys()].filter((table) => history.dropped.has(table)));
  for (const name of found)
    for (const table of tables) if (table.name === name) for (const { parent } of table.references) found.add(parent);
  return found;
}

/** Columns of a table that some node had and has dropped. */
function columnsLeft(history: FleetHistory, name: string): Set<string> {
  const columns = (tables: readonly ModelTable[]) =>
    tables.flatMap((table) => (table.name === name ? table.columns.map((one) => one.name) : []));
  const left = history.nodes.flatMap(({ connections: [connection] }) => {
    if (!connection) return [];
    const here = new Set(columns(history.tablesIn(connection.db)));
    const former = history.migrations.slice(0, levelOf(connection.db)).flatMap(({ tables }) => columns(tables));
    return [...columns(history.tables), ...former].filter((column) => !here.has(column));
  });
  return new Set(left);
}

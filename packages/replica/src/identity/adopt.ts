import { createHash } from "node:crypto";
import type { Database } from "better-sqlite3";
import { keylessIdentity } from "../rows/keyless-rows.ts";
import type { RowStore } from "../rows/row-store.ts";
import type { RowState } from "../rows/row-state.ts";
import { packKey, rowHash } from "../rows/values.ts";
import type { Table } from "../schema/catalog.ts";
import { pages } from "../rows/pages.ts";
import { drawOrigin, type Knowledge } from "./knowledge.ts";

/** The author recorded for rows that a table without a primary key held when a node first saw it. */
const ADOPTED_AUTHOR = "before the table was synced";

/**
 * Takes the rows that a table without a primary key holds when it joins an attached database: the migration that made
 * it, or the version before, which left such tables out. As at attaching they get an origin drawn from their content, so
 * that servers whose tables are equal share it, and their rows are not there twice. Inside the caller's write
 * transaction. Returns false, and does nothing, where rows of the table are known: those have to be compared.
 */
export function adoptKeyless(db: Database, rows: RowStore, knowledge: Knowledge, table: Table): boolean {
  const store = rows.of(table);
  if (store.hasRows || db.prepare("SELECT 1 FROM _scoutsync_out WHERE tid = ?").get(table.tid) !== undefined) return false;
  db.exec("DROP TABLE IF EXISTS temp.adopted; CREATE TEMP TABLE adopted(local BLOB, hash BLOB)");
  try {
    const add = db.prepare("INSERT INTO temp.adopted(local, hash) VALUES(?, ?)");
    for (const { key, values } of pages(db, table)) add.run(packKey(table.key, key), rowHash(table, null, values));
    const found = db.prepare("SELECT local, hash FROM temp.adopted ORDER BY hash").raw(true).all() as [Buffer, Buffer][];
    if (found.length === 0) return true;
    const content = createHash("sha256").update(`rows of ${table.name}:`);
    for (const [, hash] of found) content.update(hash);
    const name = drawOrigin(content.digest());
    if (knowledge.numberOf(name) !== undefined) return false;
    const origin = knowledge.origin(name, ADOPTED_AUTHOR);
    const put = db.prepare("INSERT INTO _scoutsync_log(oid, sequence, tid, slot) VALUES(?, ?, ?, ?)");
    found.forEach(([local, hash], i) => {
      const birth = { origin, sequence: i + 1 };
      const key = keylessIdentity(table, birth);
      const slot = store.add(null, { oid: origin, sequence: i + 1, time: 0, context: 0, open: null, extra: null, hash, key });
      store.setLocal(slot, local);
      put.run(origin, i + 1, table.tid, slot);
      rows.digest.add(table.tid, hash);
    });
    knowledge.advance(origin, found.length);
    return true;
  } finally {
    db.exec("DROP TABLE temp.adopted");
  }
}

/** More rows than a migration writes into a table that it makes: those are compared, in turns. */
const MOST_SEEDED = 10_000;

/**
 * The same for rows of a table with a surrogate key, which a migration wrote before the table was captured, on every server
 * again: as new rows of each server they would be there once per server. Not for rows that refer to others, whose integers mean rows
 * of this server alone. Returns false, and does nothing, where the rows have to be compared. Of what was held of them,
 * as a server that ran the migration first has written since: `takeOut` is called for each, before the table's take its place.
 * What was deleted there and is forgotten goes from the table by `remove`.
 */
export function adoptSeeded(
  { db, rows, knowledge }: { db: Database; rows: RowStore; knowledge: Knowledge },
  table: Table,
  { takeOut, remove }: { takeOut: (held: RowState) => void; remove: (id: bigint) => void },
): boolean {
  const store = rows.of(table);
  if (!table.surrogate || table.references.length > 0 || table.linked.length > 0 || table.dependsOn.length > 0 || store.hasRows)
    return false;
  const found: { id: bigint; hash: Buffer }[] = [];
  const content = createHash("sha256").update(`numbered rows of ${table.name}:`);
  for (const { key, values } of pages(db, table)) {
    if (found.length === MOST_SEEDED) return false;
    const id = key[0] as bigint;
    const hash = rowHash(table, id, values);
    content.update(hash);
    found.push({ id, hash });
  }
  if (found.length === 0) return false;
  const name = drawOrigin(content.digest());
  const known = knowledge.numberOf(name);
  const floor = db
    .prepare("SELECT sequence FROM _scoutsync_floor WHERE oid = ?")
    .pluck()
    .get(known ?? null) as number | undefined;
  const held = known === undefined ? [] : found.map((_, i) => rows.byIdentity(table, known, i + 1));
  const isForgotten = (state: RowState | null | undefined, i: number) =>
    state === null && known !== undefined && knowledge.covers(known, i + 1) && i + 1 <= (floor ?? 0);
  const isWhole = (state: RowState | null) => state?.place.kind === "held" && !state.partial;
  if (!held.every((state, i) => isWhole(state) || isForgotten(state, i))) return false;
  const origin = known ?? knowledge.origin(name, ADOPTED_AUTHOR);
  for (const state of held) if (state) takeOut(state);
  found.forEach(({ id, hash }, i) => {
    if (isForgotten(held[i], i)) return remove(id);
    store.addPlain(id, origin, i + 1, 0, 0, hash);
    rows.digest.add(table.tid, hash);
  });
  if (known === undefined) knowledge.advance(origin, found.length);
  return true;
}

import { createHash } from "node:crypto";
import { ByteReader, type SqlValue } from "@scoutsync/core";
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

interface Parts {
  db: Database;
  rows: RowStore;
  knowledge: Knowledge;
}

interface Taking {
  /** Called for each row of others that is held and is one of the table's, before that takes its place. */
  takeOut: (held: RowState) => void;
  /** Removes a row that others have deleted and forgotten from the table. */
  remove: (key: SqlValue[]) => void;
}

/** What is known of a row that the table holds. */
type Known = RowState | "new" | "forgotten";

/**
 * Takes the rows that a table without a primary key holds when it joins an attached database: the migration that made
 * it, or the version before, which left such tables out. As at attaching they get an origin drawn from their content, so
 * that servers whose tables are equal share it, and their rows are not there twice. Inside the caller's write
 * transaction. Returns false, and does nothing, where rows of the table are known that are not these: those have to be compared.
 */
export function adoptKeyless({ db, rows, knowledge }: Parts, table: Table, { takeOut, remove }: Taking): boolean {
  const store = rows.of(table);
  if (store.hasRows) return false;
  const isHeld = db.prepare("SELECT 1 FROM _scoutsync_out WHERE tid = ?").get(table.tid) !== undefined;
  db.exec("DROP TABLE IF EXISTS temp.adopted; CREATE TEMP TABLE adopted(local BLOB, hash BLOB, content BLOB)");
  try {
    const add = db.prepare("INSERT INTO temp.adopted(local, hash, content) VALUES(?, ?, ?)");
    for (const { key, values } of pages(db, table)) {
      const content = contentOf(rows, knowledge, table, values);
      if (!content) return false;
      add.run(packKey(table.key, key), rowHash(table, null, values), content);
    }
    const found = db.prepare("SELECT local, hash, content FROM temp.adopted ORDER BY content").raw(true).all() as [
      Buffer,
      Buffer,
      Buffer,
    ][];
    if (found.length === 0) return !isHeld;
    const all = createHash("sha256").update(`rows of ${table.name}:`);
    for (const [, , content] of found) all.update(content);
    const name = drawOrigin(all.digest());
    const known = knowledge.numberOf(name);
    if (known === undefined && isHeld) return false;
    const held = heldOf({ db, rows, knowledge }, table, known, found.length);
    if (!held) return false;
    const origin = known ?? knowledge.origin(name, ADOPTED_AUTHOR);
    for (const one of held) if (typeof one !== "string") takeOut(one);
    const put = db.prepare("INSERT INTO _scoutsync_log(oid, sequence, tid, slot) VALUES(?, ?, ?, ?)");
    found.forEach(([local, hash], i) => {
      if (held[i] === "forgotten") return remove([new ByteReader(local).value() as bigint]);
      const birth = { origin, sequence: i + 1 };
      const key = keylessIdentity(table, birth);
      const slot = store.add(null, { oid: origin, sequence: i + 1, time: 0, context: 0, open: null, extra: null, hash, key });
      store.setLocal(slot, local);
      put.run(origin, i + 1, table.tid, slot);
      rows.digest.add(table.tid, hash);
    });
    claim(knowledge, origin, found.length);
    return true;
  } finally {
    db.exec("DROP TABLE temp.adopted");
  }
}

/**
 * The hash of a row in which whom it refers to stands for the integer, which means another row on another server. Null where
 * nobody is known to have the integer.
 */
function contentOf(
  rows: RowStore,
  knowledge: Knowledge,
  table: Table,
  values: readonly SqlValue[],
  key: bigint | null = null,
): Buffer | null {
  const cells = [...values];
  for (const { index, parent } of table.references) {
    const id = values[index];
    if (typeof id !== "bigint") continue;
    const { identity } = rows.byId(parent, id) ?? {};
    if (!identity) return null;
    cells[index] = knowledge.dotText(identity.origin, identity.sequence);
  }
  return rowHash(table, key, cells);
}

/**
 * What is known of the first `count` rows of an origin drawn from content. Those that have not come yet, as in the middle of a stream,
 * are as the table has them; the floor says which were deleted and are forgotten. Null where something is missing of one that came.
 */
function heldOf({ db, rows, knowledge }: Parts, table: Table, origin: number | undefined, count: number): Known[] | null {
  if (origin === undefined) return Array.from({ length: count }, () => "new");
  const floor = (db.prepare("SELECT sequence FROM _scoutsync_floor WHERE oid = ?").pluck().get(origin) as number | undefined) ?? 0;
  const held: Known[] = [];
  for (let sequence = 1; sequence <= count; sequence++) {
    const state = table.keyless
      ? rows.byKey(table, keylessIdentity(table, { origin, sequence }))
      : rows.byIdentity(table, origin, sequence);
    if (state && (state.place.kind !== "held" || state.partial)) return null;
    const isMissing = !state && knowledge.covers(origin, sequence);
    if (isMissing && sequence > floor) return null;
    held.push(state ?? (isMissing ? "forgotten" : "new"));
  }
  return held;
}

/** All that an origin drawn from content ever wrote is here. */
function claim(knowledge: Knowledge, origin: number, count: number): void {
  if (!knowledge.covers(origin, count)) knowledge.advance(origin, count);
}

/** More rows than a migration writes into a table that it makes: those are compared, in turns. */
const MOST_SEEDED = 10_000;

/**
 * The same for rows of a table with a surrogate key, which a migration wrote before the table was captured, on every server
 * again: as new rows of each server they would be there once per server. Not for rows that refer into
 * other databases or by value, nor to rows that nobody knows yet. Returns false, and does nothing, where the rows have to be compared. Of what was held of them,
 * as a server that ran the migration first has written since: `takeOut` is called for each, before the table's take its place.
 */
export function adoptSeeded({ db, rows, knowledge }: Parts, table: Table, { takeOut, remove }: Taking): boolean {
  const store = rows.of(table);
  if (!table.surrogate || table.linked.length > 0 || table.dependsOn.length > 0 || store.hasRows) return false;
  const found: { id: bigint; hash: Buffer }[] = [];
  const content = createHash("sha256").update(`numbered rows of ${table.name}:`);
  for (const { key, values } of pages(db, table)) {
    if (found.length === MOST_SEEDED) return false;
    const id = key[0] as bigint;
    const hash = rowHash(table, id, values);
    const named = contentOf(rows, knowledge, table, values, id);
    if (!named) return false;
    content.update(named);
    found.push({ id, hash });
  }
  if (found.length === 0) return false;
  const name = drawOrigin(content.digest());
  const known = knowledge.numberOf(name);
  const held = heldOf({ db, rows, knowledge }, table, known, found.length);
  if (!held) return false;
  const origin = known ?? knowledge.origin(name, ADOPTED_AUTHOR);
  for (const one of held) if (typeof one !== "string") takeOut(one);
  found.forEach(({ id, hash }, i) => {
    if (held[i] === "forgotten") return remove([id]);
    store.addPlain(id, origin, i + 1, 0, 0, hash);
    rows.digest.add(table.tid, hash);
  });
  claim(knowledge, origin, found.length);
  return true;
}

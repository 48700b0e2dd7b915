import type { Database } from "better-sqlite3";
import { ByteReader, type Write } from "@scoutsync/core";
import { EARLIEST, MASK_BITS, Op, UNDATED } from "../capture/events.ts";
import { noteEvents } from "../capture/touch.ts";
import { pages } from "../rows/pages.ts";
import { isContested, ownedDots, type RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { rowsTable } from "../rows/table-store.ts";
import { packKey, rowHash } from "../rows/values.ts";
import type { Column, Table } from "./catalog.ts";
import type { FormerShape } from "./former-shape.ts";
import { asHashed } from "./spelled.ts";

type Stored = [id: bigint, local: Buffer | null];
type Found = [rowid: bigint, hash: Buffer, written: bigint];
type Pair = [id: bigint, rowid: bigint, hash: Buffer, written: bigint];

/**
 * As `Reconciliation`, in one go, for a table without a primary key: rows are compared as a multiset. What is left on both sides at one
 * rowid is an edited row; the rest came, or went. `blind`: writes may have gone uncaptured. Returns the births of rows with
 * held values for added columns.
 */
export function reconcileKeyless(db: Database, rows: RowStore, table: Table, former: FormerShape | null, blind: boolean): Write[] {
  const toFill: Write[] = [];
  const stored = `main.${rowsTable(table.tid)}`;
  db.exec(`
    DROP TABLE IF EXISTS temp.found;
    DROP TABLE IF EXISTS temp.stored;
    CREATE TEMP TABLE found(at INTEGER PRIMARY KEY, hash BLOB, old BLOB, written INTEGER NOT NULL);
    CREATE TEMP TABLE stored(id INTEGER PRIMARY KEY, hash BLOB, local BLOB);
    INSERT INTO temp.stored SELECT id, hash, local FROM ${stored}`);
  const add = db.prepare("INSERT INTO temp.found VALUES(?, ?, ?, ?)");
  for (const { key, values } of pages(db, table)) {
    const old = former?.isWhole ? former.hash(null, asHashed(table, values)) : null;
    add.run(key[0], rowHash(table, null, values), old, former?.written(values, null, false).some((mask) => mask > 0n) ? 1 : 0);
  }
  const take = (hash: "hash" | "old") => {
    const pairs = db
      .prepare(
        `SELECT s.id, f.at, f.hash, f.written
          FROM (SELECT id, hash, row_number() OVER (PARTITION BY hash ORDER BY id) AS copy FROM temp.stored) AS s
          JOIN (SELECT at, hash, ${hash} AS key, written, row_number() OVER (PARTITION BY ${hash} ORDER BY at) AS copy FROM temp.found) AS f
            ON f.key = s.hash AND f.copy = s.copy`,
      )
      .safeIntegers(true)
      .raw(true)
      .all() as Pair[];
    forget(pairs);
    for (const [id, at] of pairs) rows.of(table).setLocal(id, packKey(table.key, [at]));
    return pairs;
  };
  const known: Pair[] = [];
  const forget = (pairs: readonly Pair[]) => {
    const [gone, there] = [db.prepare("DELETE FROM temp.stored WHERE id = ?"), db.prepare("DELETE FROM temp.found WHERE at = ?")];
    for (const pair of pairs) {
      known.push(pair);
      gone.run(pair[0]);
      there.run(pair[1]);
    }
  };
  const alike = take("hash");
  // A column that went took what the hashes were made of with it. Where all was captured each row is where it was, or all have moved.
  const pairsWithout = (gone: FormerShape) => {
    const pairs = (blind ? null : pairsByPlace(db, table)) ?? likelyPairs(db, rows, table, gone);
    forget(pairs);
    return pairs;
  };
  const note = noteEvents(db, table);
  // Where nobody can tell whether a row was edited it was right after the latest write that is known of, if at all.
  const earliest = former && !former.isWhole ? EARLIEST : null;
  // A migration that makes a table anew may change values in it, of any column.
  const differing = former?.isWhole && former.isRebuilt ? UNDATED : earliest;
  const edit = (slot: bigint, at: bigint, columns = 0n, date: number | bigint | null = earliest) => {
    note(Op.update, at, slot, date);
    note(Op.insert, at, columns, date);
  };
  // What lost in columns that were not written stays open, and what others wrote in them counts.
  const came = former ? table.columns.filter(({ cid }) => former.added.includes(cid)) : [];
  const daysOf = (state: RowState | null, inPlace: boolean) =>
    state && former && !former.isWhole ? former.daysOf(state, came, inPlace) : new Map<null, number>();
  const isInPlace = (state: RowState | null, at: bigint) => {
    const values = rows.of(table).read([at]) ?? [];
    return state !== null && former?.isInPlace(state.hash, null, values, asHashed(table, values)) === true;
  };
  const tell = (state: RowState | null, slot: bigint, at: bigint, inPlace: boolean) => {
    const days = daysOf(state, inPlace);
    const dayOf = ({ cid }: Column) => days.get(cid) ?? days.get(null) ?? earliest;
    const told = (former as FormerShape).told(rows.of(table).read([at]) ?? [], state, inPlace);
    for (const [day, columns] of Map.groupBy(told, dayOf)) edit(slot, at, columnBits(table, columns), day);
  };
  // A column that has another name has the values, and so the hash, that it had: nobody else knows them by it.
  if (former && !former.isWhole) {
    for (const [id, at, , written] of alike) {
      const state = rows.atLog(table.tid, id);
      const inPlace = isInPlace(state, at);
      if (written !== 0n || wasWritten(state, former, inPlace)) tell(state, id, at, inPlace);
      // Where it was empty here, others may have told what it holds.
      else if (state && rows.columnsToFill(state).length > 0) toFill.push(state.birth);
    }
  }
  for (const [id, at, hash, written] of former ? (former.isWhole ? take("old") : pairsWithout(former)) : []) {
    const state = rows.atLog(table.tid, id);
    const inPlace = isInPlace(state, at);
    const values = state && former?.isWhole && isContested(state, former.added) ? rows.of(table).read([at]) : null;
    if (state && values) rows.saveInTable(state, null, values, ownedDots(state));
    else if (state) rows.rehash(state, hash);
    if (written !== 0n || wasWritten(state, former, inPlace)) tell(state, id, at, inPlace);
    else if (state && rows.columnsToFill(state).length > 0) toFill.push(state.birth);
  }
  // A table that was made anew has its rows in their order, mostly at other places: at those are others of them.
  if (former && (blind || !former.isWhole)) {
    const pairs = (former.isWhole ? null : pairsByPlace(db, table)) ?? pairsBetween(db, known);
    forget(pairs);
    // What came had another name before, and may have been written last.
    for (const [id, at, , written] of pairs) {
      const days = written === 0n ? [] : [...daysOf(rows.atLog(table.tid, id), false).values()];
      // As `notBefore` has them the least is the latest.
      const latest = days.reduce((a, b) => (b < a ? b : a), days[0] ?? UNDATED);
      edit(id, at, 0n, former.isWhole ? differing : latest);
    }
  }
  const left = db.prepare("SELECT id, local FROM temp.stored ORDER BY id").safeIntegers(true).raw(true).all() as Stored[];
  const here = db.prepare("SELECT at, hash, written FROM temp.found ORDER BY at").safeIntegers(true).raw(true).all() as Found[];
  const places = new Map(here.map(([at]) => [packKey(table.key, [at]).toString("latin1"), at]));
  for (const [id, local] of left) {
    const name = local?.toString("latin1") ?? "";
    const at = places.get(name);
    places.delete(name);
    if (at !== undefined) edit(id, at, 0n, differing);
    else note(Op.delete, null, id);
  }
  for (const at of places.values()) note(Op.insert, at, 0n);
  // The drain finds none of these rows while a column is gone: which of them are written anew it says when they are written as they are.
  for (const at of former && !former.isWhole ? takenOver(rows, table) : []) {
    note(Op.update, at, 0n, EARLIEST, true);
    note(Op.insert, at, 0n, EARLIEST);
  }
  db.exec("DROP TABLE temp.found; DROP TABLE temp.stored");
  return toFill;
}

/** What is left on both sides, as far as a row has its hash with what most rows hold in columns that went. */
function likelyPairs(db: Database, rows: RowStore, table: Table, former: FormerShape): Pair[] {
  const pairs: Pair[] = [];
  db.exec("CREATE INDEX temp.stored_hash ON stored(hash)");
  const known = db.prepare("SELECT id FROM temp.stored WHERE hash = ? ORDER BY id LIMIT 1").safeIntegers(true).pluck();
  const take = db.prepare("DELETE FROM temp.stored WHERE id = ?");
  const found = db.prepare("SELECT at, hash, written FROM temp.found ORDER BY at").safeIntegers(true).raw(true);
  for (const [at, hash, written] of found.all() as Found[]) {
    const values = rows.of(table).read([at]) ?? [];
    let id: bigint | undefined;
    for (const likely of former.likelyHashes(null, asHashed(table, values)))
      if ((id = known.get(likely) as bigint | undefined) !== undefined) break;
    if (id === undefined) continue;
    take.run(id);
    rows.of(table).setLocal(id, packKey(table.key, [at]));
    pairs.push([id, at, hash, written]);
  }
  return pairs;
}

/**
 * What is left on both sides between two rows that are `known`, in their order, where as many are left there on both sides. None where
 * the rows are not in the order in which they were stored.
 */
function pairsBetween(db: Database, known: readonly Pair[]): Pair[] {
  const stored = db.prepare("SELECT id, local FROM temp.stored ORDER BY id").safeIntegers(true).raw(true).all() as Stored[];
  const found = db.prepare("SELECT at, hash, written FROM temp.found ORDER BY at").safeIntegers(true).raw(true).all() as Found[];
  if (stored.length === 0 || found.length === 0) return [];
  const fixed = known.toSorted(([a], [b]) => (a < b ? -1 : 1));
  if (!isAscending(fixed.map(([, at]) => at)) || !isAscending(stored.map(([, local]) => notedAt(local)))) return [];
  const after = (values: readonly bigint[]) => {
    let before = 0;
    return (value: bigint) => {
      while (before < values.length && (values[before] as bigint) < value) before++;
      return before;
    };
  };
  const [storedAfter, foundAfter] = [after(fixed.map(([id]) => id)), after(fixed.map(([, at]) => at))];
  const there = Map.groupBy(found, ([at]) => foundAfter(at));
  return [...Map.groupBy(stored, ([id]) => storedAfter(id))].flatMap(([part, rows]) => {
    const here = there.get(part) ?? [];
    return here.length === rows.length ? rows.map(([id], i): Pair => [id, ...(here[i] as Found)]) : [];
  });
}

/** The rowid that a row had when it was stored. */
const notedAt = (local: Buffer | null): bigint | null => local && (new ByteReader(local).value() as bigint);

const isAscending = (values: readonly (bigint | null)[]): boolean =>
  values.every((value, i) => value !== null && (i === 0 || value > (values[i - 1] as bigint)));

/** True where a column that came has its default, and somebody wrote that; see `FormerShape`. */
const wasWritten = (state: RowState | null, former: FormerShape | null, inPlace: boolean): boolean =>
  state !== null && former !== null && former.added.some((cid) => former.wasWritten(state, cid, inPlace));

/** Bits of columns, as `slot` of a `KeylessEvent` has them; 0, which is all, where there are too many. */
function columnBits({ columns }: Table, some: readonly { cid: number }[]): bigint {
  if (columns.length > MASK_BITS) return 0n;
  return columns.reduce((bits, { cid }, index) => (some.some((column) => column.cid === cid) ? bits | (1n << BigInt(index)) : bits), 0n);
}

/** Rowids of rows that refer to an integer which another row had before: see `TakenOver`. */
function takenOver(rows: RowStore, table: Table): Set<bigint> {
  const found = new Set<bigint>();
  for (const { index, parent } of table.references) {
    const { name } = table.columns[index] as { name: string };
    for (const id of rows.of(table).integersIn(name)) {
      // To write a row as it is says that a kept one lives.
      const isTaken = rows.wasUsed(parent, id) && rows.byId(parent, id)?.kept === false;
      if (isTaken) for (const [at] of rows.of(table).keysWhere(name, id)) found.add(at as bigint);
    }
  }
  return found;
}

/**
 * What is left on both sides, row by row as noted. Where one of them is elsewhere VACUUM has moved them all, and kept their order: in that
 * they are paired, if they were stored in it. (A row that came after the VACUUM was noted at a place that another one had before, or at one
 * before such.) Null where that does not hold.
 */
function pairsByPlace(db: Database, table: Table): Pair[] | null {
  const stored = db.prepare("SELECT id, local FROM temp.stored ORDER BY id").safeIntegers(true).raw(true).all() as Stored[];
  const found = db.prepare("SELECT at, hash, written FROM temp.found ORDER BY at").safeIntegers(true).raw(true).all() as Found[];
  const there = new Map(found.map((row) => [packKey(table.key, [row[0]]).toString("latin1"), row]));
  const pairs = stored.flatMap(([id, local]): Pair[] => {
    const name = local?.toString("latin1") ?? "";
    const row = there.get(name);
    there.delete(name);
    return row ? [[id, ...row]] : [];
  });
  if (pairs.length === stored.length && there.size === 0) return pairs;
  const inOrder = isAscending(stored.map(([, local]) => notedAt(local)));
  return inOrder && found.length === stored.length ? stored.map(([id], i): Pair => [id, ...(found[i] as Found)]) : null;
}

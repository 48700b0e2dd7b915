import type { Database } from "better-sqlite3";
import { type CellValue, elementsOf, rootOf, type SqlValue, winnerOf, type Write } from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import { holdValue } from "../rows/held-columns.ts";
import { isSame, type EntityMembers, type Member } from "../rows/members.ts";
import {
  asApart,
  blindWrite,
  closeWinners,
  contextOfReplacing,
  localWrite,
  rebirth,
  replaceColumn,
  tellBirth,
  unseeingDelete,
  writeBeside,
  writeFormer,
  writeUnseen,
} from "../rows/local-writes.ts";
import { isAlive, isOneWrite, latestTime, registerOf } from "../rows/registers.ts";
import { type ColumnWrite, type ExistenceWrite, newState, ownedDots, type RowState, UNSTORED } from "../rows/row-state.ts";
import type { RowStore, Used } from "../rows/row-store.ts";
import { type Edit, hasCombiningRule, ruleOf } from "../rows/ruled-columns.ts";
import { sameValue } from "../rows/values.ts";
import type { Column, Table } from "../schema/catalog.ts";
import type { Affected } from "./affected.ts";
import { isHeldElsewhere, UnseenRows } from "./unseen-rows.ts";

/** What was written to a row, and what it held before as far as somebody saw that; in catalog order. */
export interface Written {
  values: readonly CellValue[];
  found: readonly CellValue[] | null;
  /** What it held that its author never saw, by column; null where nobody knows of any. */
  since?: ReadonlyMap<number, CellValue> | null | undefined;
  /** What it held while its delete was kept back, references as identities; where it was inserted again after that. */
  keptBack?: readonly CellValue[] | null | undefined;
  /** As of an `Event`, by column. */
  undated?: ReadonlyMap<number, number> | null;
  /** Of columns that have come in the place of others: as of an `Edit`, by number. */
  former?: ReadonlyMap<number, readonly ColumnWrite[] | null> | undefined;
  /** The same of one of several rows that are one: when each column was written, if it was. Microseconds, by column. */
  dates?: ReadonlyMap<number, number> | null;
}

const NONE: ReadonlySet<number> = new Set();

export const NO_DOTS: ReadonlyMap<string, { origin: number; sequence: number }> = new Map();

/** What the application did to one row becomes writes of this run, in the registers of the row and of all that are one entity with it. */
export class OwnWrites {
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  private readonly members: EntityMembers;
  private readonly affected: Affected;
  private readonly unseen: UnseenRows;
  private toFill: Write[] = [];
  /** Some of what the edit at hand wrote knows nothing of what others wrote, nor of a delete. */
  private isBlind = false;
  private rowsAreHeld = false;

  constructor(options: { db: Database; rows: RowStore; knowledge: Knowledge; members: EntityMembers; affected: Affected }) {
    this.rows = options.rows;
    this.knowledge = options.knowledge;
    this.members = options.members;
    this.affected = options.affected;
    this.unseen = new UnseenRows(options);
  }

  /** Call at the start of a drain. */
  begin(): void {
    this.rowsAreHeld = this.rows.out.holds;
    this.unseen.forget();
  }

  /** Takes the births of rows in which a column with a rule has been written beside what is held for it. */
  takeToFill(): Write[] {
    const toFill = this.toFill;
    this.toFill = [];
    return toFill;
  }

  /** A row is born, or again. `unseen`: what others wrote of this row while there was no table here for it. */
  birth(
    table: Table,
    existing: RowState | null,
    unseen: RowState | null,
    id: bigint | null,
    key: Buffer | null,
    wall: number,
    values: readonly SqlValue[],
  ): RowState {
    if (existing) {
      const found = hasCombiningRule(table) ? this.rows.cells(existing) : null;
      const replaced: Write[] = [existing.birth, ...existing.deletes];
      for (const writes of existing.columns.values()) replaced.push(...writes);
      const write = localWrite(existing, wall, replaced, this.knowledge);
      // The application could not see the row that is out of its table under its key: what that one held stays in the history.
      if (existing.place.kind !== "table") closeWinners(existing, this.rows.cells(existing), write, this.knowledge);
      rebirth(existing, write, this.knowledge, editsOf(table, { values, found }));
      return existing;
    }
    const birth = unseen ? blindWrite(unseen, wall, this.knowledge) : localWrite(null, wall, [], this.knowledge);
    const state = newState({ table, place: { kind: "table" }, key, birth, claim: id ?? 0n });
    tellBirth(state, editsOf(table, { values, found: null }), this.knowledge);
    return state;
  }

  /** Stores a row that has just been born, as its table shows it. `before`: the dots that were its own. */
  saveBirth(state: RowState, id: bigint | null, values: SqlValue[], before: ReturnType<typeof ownedDots> | typeof NO_DOTS): void {
    this.affected.noteReferred(state, values);
    if (id !== null && state.table.referencedBy.length > 0) this.affected.born(state.table, id);
    if (state.slot === UNSTORED && id !== null && state.deletes.length === 0) {
      const hash = this.rows.hashes.hashOf(state, id, values);
      this.rows.digest.add(state.table.tid, hash);
      this.rows.touchedRow(state.table, state.identity);
      this.rows.of(state.table).addPlain(id, state.birth.origin, state.birth.sequence, state.birth.time, state.birth.context, hash);
      return;
    }
    this.rows.saveInTable(state, id, values, new Map(before));
  }

  /** A write to a row that is in its table, and stores it. `used` as of `saveInTable`. */
  edit(
    state: RowState,
    id: bigint | null,
    row: Written & { values: SqlValue[] },
    written: boolean[],
    wall: number,
    before: ReadonlyMap<string, { origin: number; sequence: number }>,
    { used }: Used = {},
  ): void {
    this.isBlind = false;
    this.write(state, written, wall, row);
    this.affected.noteReferred(state, row.values, written, { isBlind: this.isBlind, undated: row.undated });
    // One that is deleted, and kept for what refers to it, is not brought back by what nobody typed: nor is it elsewhere.
    if (isAlive(state, this.knowledge)) state.kept = false;
    this.rows.saveInTable(state, id, row.values, new Map(before), null, { used });
  }

  /**
   * What a row in its table has in columns that count or collect and that have come in the place of others is told: as what these were made of, the
   * same for each node that renames them. `at` is when that was, Unix microseconds.
   */
  tellRenamed(
    state: RowState,
    id: bigint | null,
    values: SqlValue[],
    came: readonly { cid: number; writes: readonly ColumnWrite[] | null; at: number }[],
  ): void {
    const isAlone = this.members.standing(state).length < 2;
    const former = new Map(came.map(({ cid, writes }) => [cid, isAlone ? writes : null]));
    const undated = new Map(came.map(({ cid, at }) => [cid, at]));
    const written = state.table.columns.map(({ cid }) => former.has(cid));
    this.edit(state, id, { values, found: null, undated, former }, written, 0, ownedDots(state));
  }

  /** A write to a row, and to every live row that is one entity with it. `row`: its values, and what was there before. */
  write(state: RowState, written: readonly boolean[], wall: number, row: Written): void {
    const members = this.members.standing(state);
    if (members.length < 2) return this.writeColumns(state, written, wall, row);
    const values = this.rows.references.abstract(state.table, row.values as readonly SqlValue[]);
    const { columns, key, surrogate } = state.table;
    // A natural key says which row it is: each member keeps its own.
    const edited = columns.map((column, i) => written[i] === true && (surrogate || !key.some(({ cid }) => cid === column.cid)));
    const at = afterAll(members, wall);
    const shown = new Map(columns.map(({ cid }) => [cid, this.members.shownWrite(members, cid).write]));
    const held = row.since ?? this.rows.former.unseenBy(state);
    const standing = new Map(columns.map(({ cid }) => [cid, winnerOf(registerOf(state, cid), this.knowledge)]));
    const states = members.map((member) => member.state);
    const cids = columns.map(({ cid }) => cid);
    const dates = datesOf(row, states, cids);
    for (const member of members) {
      const others = !isSame(member.state, state);
      const target = others ? member.state : state;
      const before = ownedDots(target);
      const late = (others && target.late) || NONE;
      const was = (index: number, cid: number) => (others ? (member.cells[index] as CellValue) : state.own.get(cid));
      const lost = columns.flatMap(({ cid }, index) => {
        const value = was(index, cid);
        return value === undefined ? [] : [[cid, { shown: shown.get(cid) as Write, value }] as const];
      });
      // Under a rule that combines, each of them changes from what it had itself to what was written.
      const had = others
        ? member.cells
        : row.found && columns.map(({ cid }, i) => state.own.get(cid) ?? (row.found as CellValue[])[i] ?? null);
      // What this member holds for a column that has just come the table has not shown: it stays, as what has lost to the edit.
      const its = late.size === 0 ? edited : edited.map((is, i) => is && !late.has((columns[i] as Column).cid));
      const unseen = others && held ? this.shownOf(member, held, shown) : null;
      const unmeant = others ? { since: unseen, former: row.former } : { since: row.since, keptBack: row.keptBack, former: row.former };
      this.writeColumns(target, its, at, { values: row.values, found: had, dates, ...unmeant }, new Map(lost));
      if (!others) continue;
      if (unseen) this.closeApart(member, unseen, { shown, standing }, row);
      const cells = member.cells.map((cell, i) => (its[i] ? (values[i] as CellValue) : cell));
      for (const cid of late) holdValue(target, cid, cells[target.table.indexOf.get(cid) as number] as CellValue);
      this.rows.saveRegisters(target, cells, before);
    }
  }

  /** What the table showed of one of the rows that are one, by column, among what the author of an edit may never have seen, `held`. */
  private shownOf(
    { state, cells }: Member,
    held: ReadonlyMap<number, CellValue>,
    shown: ReadonlyMap<number, Write>,
  ): ReadonlyMap<number, CellValue> {
    const found = new Map<number, CellValue>();
    for (const [cid, write] of shown) {
      const mine = winnerOf(registerOf(state, cid), this.knowledge);
      if (mine && held.has(cid) && isOneWrite(mine, write, this.knowledge))
        found.set(cid, cells[state.table.indexOf.get(cid) as number] as CellValue);
    }
    return found;
  }

  /**
   * What this node wrote to one of the rows that are one, while it was not yet, stays in the history where an edit that may have meant
   * another row has overwritten it, `unseen`. `standing`: what was written to the row in the table, which has each edit of them all.
   */
  private closeApart(
    { state, cells }: Member,
    unseen: ReadonlyMap<number, CellValue>,
    { shown, standing }: { shown: ReadonlyMap<number, Write>; standing: ReadonlyMap<number, Write | undefined> },
    { values }: Written,
  ): void {
    for (const cid of unseen.keys()) {
      const lost = shown.get(cid) as Write;
      const its = standing.get(cid);
      const write = winnerOf(registerOf(state, cid), this.knowledge);
      if (!write || (its && isOneWrite(its, lost, this.knowledge))) continue;
      this.closeKeptBack(state, new Map([[cid, lost]]), write, { values, found: null, keptBack: cells });
    }
  }

  /**
   * One dot for all columns that were written, and one more for each that may not have been seen; all of one time, or of two edits of one
   * moment each would win in some columns. `was`: what an entity showed in them, and what this member said itself.
   */
  writeColumns(
    state: RowState,
    written: readonly boolean[],
    wall: number,
    row: Written,
    was: ReadonlyMap<number, { shown: Write; value: CellValue }> | null = null,
  ): void {
    const editOf = editsOf(state.table, row);
    const at = Math.max(wall, latestTime(state) + 1);
    const unseen = new Set(this.rows.columnsToFill(state));
    // What others have written by a name that the column had before, too, has not been in the table either.
    for (const [cid, writes] of row.former ?? []) if (writes && state.columns.get(cid)?.length) unseen.add(cid);
    if (unseen.size > 0) {
      const fresh = state.table.columns.filter((column, i) => written[i] && unseen.has(column.cid));
      const cells = this.rows.references.abstract(state.table, row.values as SqlValue[]);
      // What a column that went had last is no later than what others have typed since in the one that came.
      for (const [time, together] of Map.groupBy(fresh, ({ cid }) => row.undated?.get(cid) || at)) {
        const write = { ...blindWrite(state, at, this.knowledge), time };
        for (const { cid } of together) {
          const value = cells[state.table.indexOf.get(cid) as number] as CellValue;
          if (row.former?.get(cid)) {
            writeFormer(state, cid, { ...blindWrite(state, at, this.knowledge), time }, this.knowledge, { ...editOf(cid), value });
            continue;
          }
          writeBeside(state, cid, write, this.knowledge, { ...editOf(cid), value }, Boolean(row.undated?.get(cid)));
        }
      }
      this.toFill.push(state.birth);
      this.isBlind ||= fresh.length > 0;
    }
    const meant = state.table.columns.flatMap((column, i) => (written[i] && !unseen.has(column.cid) ? [column.cid] : []));
    const shownIn = (cid: number) => was?.get(cid)?.shown ?? winnerOf(registerOf(state, cid), this.knowledge);
    const cids = this.overwriteUnseen(state, meant, at, row, shownIn);
    if (cids.length === 0) return;
    const dates = row.dates ?? datesOf(row, [state], cids);
    const shown = row.keptBack && new Map(cids.map((cid) => [cid, shownIn(cid)]));
    if (dates) return this.writeUndated(state, cids, dates, row, { editOf, was, shown });
    const replaced = cids.flatMap((cid) => [...registerOf(state, cid)]);
    const write = this.replacing(state, replaced, at);
    if (!state.table.surrogate && cids.length === state.table.columns.length) rebirth(state, write, this.knowledge, editOf);
    else for (const cid of cids) replaceColumn(state, cid, write, this.knowledge, editOf(cid), was?.get(cid) ?? null);
    if (shown) this.closeKeptBack(state, shown, write, row);
  }

  private replacing(state: RowState, replaced: readonly Write[], at: number): Write {
    const isApart = holdsElements(state);
    const isHeld = (this.rowsAreHeld && isHeldElsewhere(this.rows, state)) || isApart;
    this.isBlind ||= isHeld;
    if (!isHeld) return localWrite(null, at, replaced, this.knowledge);
    const write = { ...this.knowledge.nextDot(), time: at, context: contextOfReplacing(replaced, this.knowledge, false) };
    return isApart ? asApart(write, this.knowledge) : write;
  }

  /**
   * Columns that may hold what nobody saw written: each is dated right after what it has had itself, so that it beats nothing of others'
   * that is newer than that.
   */
  private writeUndated(
    state: RowState,
    cids: readonly number[],
    dates: ReadonlyMap<number, number>,
    row: Written,
    {
      editOf,
      was,
      shown,
    }: {
      editOf: (cid: number) => Edit;
      was: ReadonlyMap<number, { shown: Write; value: CellValue }> | null;
      shown: ReadonlyMap<number, Write | undefined> | null | undefined;
    },
  ): void {
    const keys = state.table.surrogate ? [] : state.table.key.map(({ cid }) => cid);
    const written = cids.filter((cid) => !keys.includes(cid));
    for (const [at, columns] of Map.groupBy(written, (cid) => dates.get(cid) as number)) {
      const replaced = columns.flatMap((cid) => [...registerOf(state, cid)]);
      const write = this.replacing(state, replaced, at);
      for (const cid of columns) replaceColumn(state, cid, write, this.knowledge, editOf(cid), was?.get(cid) ?? null);
      if (shown) this.closeKeptBack(state, new Map(columns.map((cid) => [cid, shown.get(cid)])), write, row);
    }
  }

  /** What a kept-back row held stays in the history where `write` says something else: who inserted it again may have meant a new row. */
  private closeKeptBack(
    state: RowState,
    shown: ReadonlyMap<number, Write | undefined>,
    { origin, sequence }: Write,
    { values, keptBack }: Written,
  ): void {
    const now = this.rows.references.abstract(state.table, values as SqlValue[]);
    for (const [cid, lost] of shown) {
      const index = state.table.indexOf.get(cid) as number;
      const value = keptBack?.[index] ?? null;
      if (!lost || ruleOf(state.table, cid).kind !== "lww" || sameValue(value, now[index] ?? null)) continue;
      // What stays beside is a conflict instead.
      if (registerOf(state, cid).some((left) => left.origin === lost.origin && left.sequence === lost.sequence)) continue;
      const loser = { origin: rootOf(lost.origin, this.knowledge), sequence: lost.sequence, time: lost.time, context: lost.context };
      state.closed.push({ cid, loser, value, origin, sequence });
    }
  }

  /**
   * Of a row that has had its integer only since a sync, or whose delete was kept back: columns in which the application overwrote
   * what it may never have seen. Returns the other ones. `shownIn`: the write whose value the table had in a column.
   */
  private overwriteUnseen(
    state: RowState,
    cids: readonly number[],
    at: number,
    row: Written,
    shownIn: (cid: number) => Write | undefined,
  ): readonly number[] {
    const { values, since } = row;
    const held = since ?? this.rows.former.unseenBy(state);
    if (!held) return cids;
    // What this node wrote before that nobody has meant by this integer. Of a kept-back row it is closed below.
    const givenAt = since || row.keptBack ? 0 : this.rows.former.givenAt(state);
    const cells = this.rows.references.abstract(state.table, values as SqlValue[]);
    return cids.filter((cid) => {
      const was = held.get(cid);
      const index = state.table.indexOf.get(cid) as number;
      // What adds up loses nothing by an increment.
      if (was === undefined || ruleOf(state.table, cid).kind !== "lww" || sameValue(was, cells[index] ?? null)) return true;
      // Of rows that are one the table may show what another of them says.
      const own = state.own.get(cid);
      this.isBlind = true;
      const showed = shownIn(cid);
      const shown = row.keptBack && new Map([[cid, showed]]);
      const write = writeUnseen(state, cid, at, this.knowledge, own === undefined ? was : own, showed, givenAt);
      state.own.delete(cid);
      if (shown) this.closeKeptBack(state, shown, write, row);
      return false;
    });
  }

  /** True where the application that deletes this row cannot have seen which rows name it. */
  isNamedUnseen(state: RowState): boolean {
    return this.unseen.name(state);
  }

  /**
   * True where, in mid-stream, somebody had this row live who knew what may refer to it. A delete would inherit that author's
   * knowledge.
   */
  private isNews(row: RowState): boolean {
    return row.deletes.some(({ alive, origin, sequence }) => alive && !this.knowledge.covers(origin, sequence));
  }

  /**
   * A delete of a row, and of every live row that is one entity with it. `image`: what it held, references as identities; `replaced` as
   * of an `ExistenceWrite`; `done`: nobody reads what is in `state` beside its writes.
   */
  delete(
    state: RowState,
    inTable: boolean,
    id: bigint | null,
    { image, wall, replaced, done = false }: { image: CellValue[]; wall: number; replaced: boolean; done?: boolean },
    before: ReadonlyMap<string, { origin: number; sequence: number }>,
  ): void {
    // The application may have been unable to see what refers to this row. Not what it leaves behind: it would be kept for
    // that elsewhere, and not here.
    const wentBefore = this.unseen.mayReferTo(state.table);
    const missesRows = (wentBefore || this.rowsAreHeld) && !this.unseen.areLeftBy(state, id, image);
    const writeTo = (row: RowState, at: number) => {
      if (this.unseen.referTo(row) || (missesRows && wentBefore)) return unseeingDelete(row, at, this.knowledge);
      if (missesRows || this.isNews(row) || (this.rowsAreHeld && isHeldElsewhere(this.rows, row)))
        return blindWrite(row, at, this.knowledge);
      return localWrite(row, at, row.deletes, this.knowledge);
    };
    const members = this.members.standing(state);
    const at = members.length < 2 ? wall : afterAll(members, wall);
    for (const member of members) {
      if (isSame(member.state, state)) continue;
      const dots = ownedDots(member.state);
      member.state.deletes = [deleted(writeTo(member.state, at), replaced)];
      this.rows.saveRegisters(member.state, member.cells, dots);
    }
    const write = writeTo(state, at);
    this.affected.noteLeft(state, id, image, write);
    state.deletes = [deleted(write, replaced)];
    state.kept = false;
    for (const [cid, value] of state.own) image[state.table.indexOf.get(cid) ?? image.length] = value;
    state.place = { kind: "dead" };
    if (this.members.concerns(state)) this.affected.touch(state.birth);
    this.rows.saveOut(state, inTable && state.slot !== UNSTORED, id, image, new Map(before), { used: true, done });
  }
}

/** A write that says that its row is gone. */
export const deleted = (write: Write, replaced: boolean): ExistenceWrite => ({ ...write, alive: false, ...(replaced && { replaced }) });

/** What was done to a column, by its number. */
function editsOf(table: Table, { values, found, former }: Written): (cid: number) => Edit {
  return (cid) => {
    const index = table.indexOf.get(cid) as number;
    return { value: values[index] ?? null, found: found ? (found[index] ?? null) : undefined, former: former?.get(cid) };
  };
}

/**
 * True where others have added elements to a set that the table lacks. It may be one that has another name here, and who knows of an element and
 * does not hold it has taken it out: an edit here says nothing of these.
 */
function holdsElements({ table, columns, birth, twins }: RowState): boolean {
  if (table.lacking.size === 0 || table.columns.every(({ rule }) => rule.kind !== "set")) return false;
  const isBirth = (write: Write) =>
    [birth, ...twins].some(({ origin, sequence }) => origin === write.origin && sequence === write.sequence);
  const holds = (write: ColumnWrite) =>
    write.tally ? write.tally.kind === "set" : isBirth(write) && (elementsOf(write.value ?? null)?.length ?? 0) > 0;
  for (const [cid, writes] of columns)
    if (!table.indexOf.has(cid) && writes.some((write) => write.value !== undefined && holds(write))) return true;
  return false;
}

/** A time right after everything that was written to a column of these rows. */
function afterAllOf(states: readonly RowState[], cid: number): number {
  return 1 + Math.max(0, ...states.flatMap((state) => registerOf(state, cid).map(({ time }) => time)));
}

/** When columns were written that nobody saw written: right after what each has had itself. */
function datesOf({ undated = null }: Written, states: readonly RowState[], cids: readonly number[]): ReadonlyMap<number, number> | null {
  return undated && new Map(cids.map((cid) => [cid, Math.max(undated.get(cid) ?? 0, afterAllOf(states, cid))]));
}

/** A time after everything that any of these rows knows. */
function afterAll(members: readonly Member[], wall: number): number {
  return Math.max(wall, ...members.map(({ state }) => latestTime(state) + 1));
}

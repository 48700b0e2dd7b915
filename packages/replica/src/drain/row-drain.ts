import type { CellValue, SqlValue } from "@scoutsync/core";
import { Op } from "../capture/triggers.ts";
import type { Knowledge } from "../identity/knowledge.ts";
import type { Quarantine } from "../quarantine/quarantine.ts";
import { indexesOf } from "../rows/foreign-keys.ts";
import { forgetValues } from "../rows/local-writes.ts";
import { ownedDots, releaseRead, type RowState, UNSTORED } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { hasCombiningRule } from "../rows/ruled-columns.ts";
import { sameValue } from "../rows/values.ts";
import type { ForeignKey, Table } from "../schema/catalog.ts";
import type { Doubts, Reconciliation } from "../schema/reconcile.ts";
import { type Event, isMarked, unseenImage } from "./captured.ts";
import { NO_DOTS, type OwnWrites } from "./own-writes.ts";
import { TakenOver } from "./taken-over.ts";

/** Follows one row of a table with a key through its events: what came of it, and who wrote what when. */
export class RowDrain {
  private readonly rows: RowStore;
  private readonly reconciliation: Reconciliation;
  private readonly quarantine: Quarantine;
  private readonly writes: OwnWrites;
  private readonly takenOver: TakenOver;
  /** Where deletes are kept back; null when they are ordinary ones. */
  private into: number | null = null;
  /** A row with NULL in its key was captured, and the table's rows without a key do not take part yet. */
  foundWithoutKey = false;
  /** Rows kept back whose delete emptied columns of others: said when those have been drained that go, too. */
  private emptying: (() => void)[] = [];

  constructor(options: {
    rows: RowStore;
    knowledge: Knowledge;
    reconciliation: Reconciliation;
    quarantine: Quarantine;
    writes: OwnWrites;
  }) {
    this.rows = options.rows;
    this.reconciliation = options.reconciliation;
    this.quarantine = options.quarantine;
    this.writes = options.writes;
    this.takenOver = new TakenOver(options);
  }

  /** Call at the start of a drain. */
  begin(): void {
    this.into = this.quarantine.into();
    this.emptying = [];
  }

  /** An update changed the columns of a foreign key which a delete may have emptied; see `EmptiedReferences.note`. */
  noteEmptied(state: RowState, foreign: ForeignKey, event: Pick<Event, "found" | "n">): void {
    if (this.into !== null) this.quarantine.emptied.note(state, foreign, event, this.into);
  }

  /** Call when all rows of some events have been followed. */
  settleEmptied(): void {
    for (const say of this.emptying.splice(0)) say();
  }

  /** The row as the table holds it now; null when it is not there. */
  read(table: Table, events: readonly Event[]): SqlValue[] | null {
    const [first] = events;
    return first ? this.rows.of(table).read(first.key) : null;
  }

  /** Follows one row through its events to what it is now, `values`, which nobody may read afterwards. `complete`: no later event of it waits. */
  follow(table: Table, events: readonly Event[], values: SqlValue[] | null, complete: boolean): void {
    const [first] = events;
    if (!first) return;
    if (!table.surrogate && first.key.includes(null)) {
      // The twin's. Where there is none yet, this is the first such row.
      this.foundWithoutKey ||= table.twin === null;
      return;
    }
    const id = table.surrogate ? (first.key[0] as bigint) : null;
    for (const { index, parent } of table.keyReferences) this.bearUncompared(parent, first.key[index], first.wall);
    const packed = table.surrogate ? null : this.rows.keys.keyFromValues(table, first.key);
    const known = packed ? this.rows.byKey(table, packed) : this.rows.byId(table, id as bigint);
    // A row that waits outside its table is not the one the application wrote, unless its key says so.
    const unseen = known?.place.kind === "held" ? known : null;
    let state: RowState | null = known && !unseen && (known.place.kind === "table" || !table.surrogate) ? known : null;
    let alive = state?.place.kind === "table";
    let before = state ? ownedDots(state) : NO_DOTS;
    let born: number | null = null;
    let written = table.columns.map(() => false);
    let wall = first.wall;
    let undated: Map<number, number> | null = null;
    let displaced: Event | null = null;
    let writtenBefore = written;
    let found: readonly SqlValue[] | null = null;
    // What others wrote while its delete was kept back: whoever inserts it again has not seen that.
    let since: ReadonlyMap<number, CellValue> | null = null;
    // What it held then: they may mean a new row, to which SQLite gave its integer out again.
    let keptBack: readonly CellValue[] | null = null;
    let isKeptBack = false;
    // By which updates foreign keys lost their values last: where a mass delete did it, undoing that gives them back.
    const emptied = new Map<ForeignKey, Event>();
    const noteEmptied = () => {
      if (!state) return;
      for (const [foreign, event] of emptied) this.noteEmptied(state, foreign, event);
      emptied.clear();
    };
    const store = this.rows.of(table);
    if (store.keptBack && events.some(({ op }) => op === Op.insert)) values = store.readTable(first.key);

    const keepBack = (event: Event): boolean => {
      if (this.into === null || !event.seen || !state || !alive) return false;
      const { image } = event;
      const doubts = this.reconciliation.doubts(table, id, image);
      if (doubts && state.hash && !this.rows.hashes.hashOf(state, id, image).equals(state.hash))
        written = withDoubts(state, written, doubts);
      if (written.includes(true)) this.writes.edit(state, id, { values: image, found, since, keptBack }, written, event.wall, before);
      before = ownedDots(state);
      found = null;
      since = null;
      keptBack = null;
      written = table.columns.map(() => false);
      this.quarantine.keep(table, first.key, image, state.hash as Buffer, this.into);
      noteEmptied();
      const { into } = this;
      if (table.empties.length > 0) this.emptying.push(() => this.quarantine.emptied.confirm(table, event, into));
      // In its table by the time of a decision, what waits now would have nothing to refer to.
      if (this.writes.isNamedUnseen(state)) this.rows.keepBack(table).spare(first.key);
      isKeptBack = true;
      return true;
    };
    /** A row that is kept back is inserted again: what differs was written, and it is there as before. */
    const comeBack = () => {
      const was = store.keptBack?.read(first.key) ?? null;
      const now = values;
      if (!state || !was || !now) return false;
      since = this.quarantine.writtenSince(state, first.key, was);
      keptBack = store.keptBack?.cells(first.key) ?? null;
      written = was.map((value, i) => !sameValue(value, now[i] as SqlValue));
      found = was;
      store.keptBack?.remove(first.key);
      isKeptBack = false;
      return true;
    };

    /** `seen`: the image is what the row held. Otherwise nothing captured where it went, and nobody here has its values. */
    const die = ({ image, wall: at, seen, replaced }: Pick<Event, "image" | "wall" | "seen" | "replaced">, isLast = true) => {
      for (const { index, parent } of table.references) this.bearUncompared(parent, image[index], at);
      if (!state || !alive) {
        state = this.writes.birth(table, state, unseen, id, packed, at, image);
        before = before.size > 0 && state.slot !== UNSTORED ? before : NO_DOTS;
      } else if (!seen) forgetValues(state);
      else {
        const doubts = this.reconciliation.doubts(table, id, image);
        if (doubts && state.hash && Buffer.compare(this.rows.hashes.hashOf(state, id, image), state.hash) !== 0) {
          written = withDoubts(state, written, doubts);
        }
        written = this.takenOver.withReferences(state, image, written);
        // The image holds edits that no drain has seen: they have authors and times of their own.
        if (written.includes(true)) this.writes.write(state, written, at, { values: image, found, since, keptBack });
      }
      // A natural key that is inserted again is the row that was deleted.
      const done = unseen === null && (table.surrogate || (isLast && values === null));
      const went = { image: this.rows.references.abstract(table, image), wall: at, replaced, done };
      this.writes.delete(state, alive, id, went, before);
      if (table.surrogate) {
        state = null;
        before = NO_DOTS;
      } else before = ownedDots(state);
      alive = false;
      born = null;
      found = null;
      since = null;
      keptBack = null;
      written = table.columns.map(() => false);
    };

    for (const event of events) {
      if (alive) found ??= event.found;
      if (event.op === Op.found) continue;
      wall = event.wall;
      undated = event.undated === null ? null : withDates(table, undated, event.undated, event.masks);
      if (event.op === Op.displaced) writtenBefore = written;
      // An action of a foreign key to another row that the same statement replaces: it is written before it goes, and is gone then.
      const goesAllTheSame = event.op === Op.update && displaced?.at === event.at && values === null;
      if (!goesAllTheSame) displaced = event.op === Op.displaced ? event : null;
      if (event.op === Op.insert) {
        emptied.clear();
        if (alive && comeBack()) continue;
        if (alive || born !== null) written = written.map(() => true);
        else born = event.wall;
      } else if (event.op === Op.update) {
        // Inserted again past capture, which a comparison has found.
        if (alive && store.keptBack && store.readTable(first.key) && comeBack()) continue;
        written = written.map((was, i) => was || isMarked(event.masks, i));
        for (const foreign of table.emptied)
          if (indexesOf(foreign).some((index) => isMarked(event.masks, index))) emptied.set(foreign, event);
      } else if (event.op === Op.delete) {
        if (!keepBack(event)) die(event, event === events.at(-1));
      }
    }

    if (values === null) {
      if (displaced) written = writtenBefore;
      if (isKeptBack || (displaced && keepBack(displaced))) return;
      // Known or not: its insert may have been among events drained before these, when it was gone already.
      if (displaced) die(displaced);
      // Without a later event nothing captured where the row went: it is gone all the same.
      else if (alive && complete && state) die({ image: unseenImage(table, first.key), wall, seen: false, replaced: false });
      else if (alive && state && written.includes(true) && !hasCombiningRule(table)) {
        // Its delete is among the events to come: the edit has a dot of its own all the same, but for columns whose rule
        // needs the values, which nobody has any more.
        const gone = table.columns.map(() => null);
        this.writes.writeColumns(state, written, wall, { values: gone, found: null });
        this.rows.saveInTable(state, id, gone, new Map(before));
        noteEmptied();
      }
      return;
    }
    if (!alive) {
      // Its insert is among the events to come.
      if (born === null && !complete) return;
      // A row that is there though no insert was seen: capture began between.
      const birth = this.writes.birth(table, state, unseen, id, packed, born ?? wall, values);
      this.writes.saveBirth(birth, id, values, state ? before : NO_DOTS);
      state = birth;
      noteEmptied();
      if (id !== null && table.referencedBy.length > 0 && this.rows.wasUsed(table, id)) this.takenOver.follow(table, id);
    } else if (state && written.includes(true)) {
      const edited = state;
      this.writes.edit(
        state,
        id,
        { values, found, since, keptBack, undated, former: this.reconciliation.formerOf(state, id, first.key, values, found) },
        withDoubts(state, written, this.reconciliation.doubts(table, id, values)),
        wall,
        before,
        { used: () => releaseRead(edited, []) },
      );
      noteEmptied();
    }
  }

  /**
   * A row that came and went since the last drain is born before the rows that referred to it go, which is before it goes
   * itself: otherwise what they referred to would be whoever had its integer last, or a bare integer. False for all others.
   */
  bearGone(table: Table, events: readonly Event[]): boolean {
    const last = events.at(-1);
    if ((last?.op !== Op.delete && last?.op !== Op.displaced) || !table.surrogate || table.referencedBy.length === 0) return false;
    const id = last.key[0] as bigint;
    // Its insert may have been among events drained before these.
    if (this.rows.byId(table, id)) return false;
    const wall = events.find(({ op }) => op === Op.insert)?.wall ?? last.wall;
    const birth = this.writes.birth(table, null, null, id, null, wall, last.image);
    this.writes.saveBirth(birth, id, last.image, NO_DOTS);
    if (this.rows.wasUsed(table, id)) this.takenOver.follow(table, id);
    return true;
  }

  /**
   * A row that a migration hid from the drain, as its events were captured under columns that are gone: it is found when its
   * table is compared, which comes later, and is born now where a row is drained that refers to it by this integer. Otherwise
   * that one would be named by the bare integer, which is another row's elsewhere.
   */
  private bearUncompared(parent: Table, id: SqlValue | undefined, wall: number): void {
    if (typeof id !== "bigint" || !this.reconciliation.compares(parent) || this.rows.byId(parent, id)) return;
    const values = this.rows.of(parent).read([id]);
    if (values === null) return;
    this.writes.saveBirth(this.writes.birth(parent, null, null, id, null, wall, values), id, values, NO_DOTS);
    if (this.rows.wasUsed(parent, id)) this.takenOver.follow(parent, id);
  }

  /** Deletes a row that `bearGone` bore. */
  deleteBorn(table: Table, { key, image, wall }: Event): void {
    const id = key[0] as bigint;
    const state = this.rows.byId(table, id);
    const went = { image: this.rows.references.abstract(table, image), wall, replaced: false };
    if (state) this.writes.delete(state, true, id, went, ownedDots(state));
  }
}

/** Marks what nobody may have captured, too; and columns that are newer than a natural key's birth as written by nobody yet. */
function withDoubts(state: RowState, written: boolean[], doubts: Doubts | null): boolean[] {
  if (!doubts) return written;
  if (!state.table.surrogate) for (const cid of doubts.added) if (!state.columns.has(cid)) state.columns.set(cid, []);
  return written.map((was, i) => was || doubts.written[i] === true);
}

/** Notes when the columns that an event marks were written, by number, where nobody saw it: as `Event.undated`. */
function withDates({ columns }: Table, dates: ReadonlyMap<number, number> | null, undated: number, masks: readonly bigint[]) {
  const marked = columns.filter((_, i) => isMarked(masks, i));
  return new Map([...(dates ?? []), ...marked.map(({ cid }) => [cid, undated] as const)]);
}

import type { Database } from "better-sqlite3";
import { isCombining, LWW, type Rule, type SqlValue, type Write } from "@scoutsync/core";
import { CAPTURE, eventCode, MASK_BITS, NOW, Op, UNDATED } from "../capture/triggers.ts";
import type { OwnWrites } from "../drain/own-writes.ts";
import type { Knowledge } from "../identity/knowledge.ts";
import { pages } from "../rows/pages.ts";
import { isContested, ownedDots, type RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { hasCombiningRule } from "../rows/ruled-columns.ts";
import { bindable, rowsTable } from "../rows/table-store.ts";
import { packKey, rowHash } from "../rows/values.ts";
import type { Table } from "./catalog.ts";
import { differs, FormerShape, maskOf, type Shape } from "./former-shape.ts";
import { quote } from "./quote.ts";
import { reconcileKeyless } from "./reconcile-keyless.ts";
import { RenamedRules } from "./renamed-rules.ts";
import { asHashed, formerlyHashed } from "./spelled.ts";

/** A comparison that is not through. */
interface Comparison {
  /** Shapes that stored hashes may have, the oldest first: a second migration may come before the first is compared. */
  shapes: Shape[];
  /** Rows may have been written without being captured. */
  blind: boolean;
}

/** What a captured write to a row that is not compared yet has to take into account. */
export interface Doubts {
  written: boolean[];
  added: number[];
}

/** What rows are compared with, and where the outcome goes. */
interface Comparing {
  shapes: readonly FormerShape[];
  /** Columns that count as written in a row with none of the former hashes, as masks. */
  written: (values: readonly SqlValue[], state: RowState) => bigint[];
  /** Nothing went uncaptured: a row that differs does so because columns went and came. Numbers of those that came. */
  trusted: number[] | null;
  /** When a row with none of the former hashes was written, as of an event. */
  differing: number | string;
  notes: Notes;
  toFill: Write[];
  /** What is stored of rows that have only got new columns is made anew at once. */
  settles: boolean;
}

/** Where a comparison is: rows of the table up to `after` are compared, then known rows up to `slot` looked for. */
interface Progress {
  tid: number;
  after: SqlValue[];
  rowsDone: boolean;
  slot: bigint;
}

/** Rows compared before the clock is looked at. */
const ROWS_AT_ONCE = 500;
/** Differences noted before they are drained: each costs several times what comparing it does. */
const NOTES_AT_ONCE = 2_000;
const EVERY_ROW = -(2n ** 63n);

/**
 * Finds what was written to a table while it was not captured, by comparing row hashes in turns, and puts it on the
 * dirty list: the drain then treats it like any other write. Capture is whole before the first turn, and every turn
 * comes after a drain in the same transaction: so a row that differs from what is known of it was written past capture.
 *
 * Which tables are being compared is in the file; how far is not: after a crash a table is compared from its start.
 */
export class Reconciliation {
  private readonly db: Database;
  private readonly rows: RowStore;
  /** As of `OwnWrites`; set once, as a drain asks what is compared. */
  tellRenamed!: OwnWrites["tellRenamed"];
  readonly renamed: RenamedRules;
  private open = new Map<number, Comparison>();
  private progress: Progress | null = null;

  /** `rules` as of `Terms`. */
  constructor({ db, rows, knowledge }: { db: Database; rows: RowStore; knowledge: Knowledge }, rules: ReadonlyMap<string, Rule>) {
    this.db = db;
    this.rows = rows;
    rows.mayBeSpelled = (table) => this.open.get(table.tid)?.blind === true;
    this.renamed = new RenamedRules({ db, knowledge, rules });
    this.reload();
  }

  /** Reads again what is open, after a rollback; what had been compared is compared again. */
  reload(): void {
    const stored = this.db.prepare("SELECT tid, shapes, blind FROM _scoutsync_comparison").all() as {
      tid: number;
      shapes: string;
      blind: number;
    }[];
    this.open = new Map(stored.map(({ tid, shapes, blind }) => [tid, { shapes: JSON.parse(shapes) as Shape[], blind: blind === 1 }]));
    this.progress = null;
  }

  /** True while some table is not compared to its end: what it holds may not be what the log says. */
  get isOpen(): boolean {
    return this.open.size > 0;
  }

  /** True while rows of this table may be there that nobody knows of. */
  compares(table: Table): boolean {
    return this.open.has(table.tid);
  }

  /**
   * Opens the comparison of a table, or starts it again. `shape` is what its rows' hashes were made under (null: as the
   * table is); `blind` whether writes may have gone uncaptured, and `isRebuilt` whether that is because the table was made anew.
   */
  begin(tid: number, shape: Shape | null, blind: boolean, isRebuilt = false): void {
    const held = this.open.get(tid) ?? { shapes: [], blind: false };
    const isKnown = shape === null || held.shapes.some((other) => printOf(other) === printOf(shape));
    const was = held.shapes.some((former) => former.rebuilt);
    const rebuilt = blind ? isRebuilt && (was || !held.blind) : was;
    const shapes = (isKnown ? held.shapes : [...held.shapes, shape]).map(({ name, columns, order }) => ({
      name,
      columns,
      ...(order && { order }),
      ...(rebuilt && { rebuilt }),
    }));
    const comparison = { shapes, blind: held.blind || blind };
    this.open.set(tid, comparison);
    this.db
      .prepare(
        "INSERT INTO _scoutsync_comparison(tid, shapes, blind) VALUES(?, ?, ?) ON CONFLICT(tid) DO UPDATE SET shapes = excluded.shapes, blind = excluded.blind",
      )
      .run(tid, JSON.stringify(comparison.shapes), comparison.blind ? 1 : 0);
    this.progress = null;
  }

  /** Starts the comparison in hand again: the schema moved, and VACUUM gives rows without an integer key other rowids. */
  restart(): void {
    this.progress = null;
  }

  /** Forgets a table that does not take part any more. */
  private end(tid: number): void {
    this.db.prepare("DELETE FROM _scoutsync_comparison WHERE tid = ?").run(tid);
    this.open.delete(tid);
    this.renamed.forget(tid);
    this.progress = null;
  }

  /**
   * For a row that is drained before it was compared, null where nothing is in doubt: `written` are the columns that may
   * hold what nobody captured (it would hide in the captured write, as the row's hash is then that of all its values),
   * `added` the numbers of columns that are newer than the row.
   */
  doubts(table: Table, id: bigint | null, values: readonly SqlValue[]): Doubts | null {
    const comparison = this.open.get(table.tid);
    if (!comparison || (!comparison.blind && comparison.shapes.length === 0)) return null;
    if (this.isPassed(table, id)) return null;
    const isOld = (name: string) => isIn(comparison.shapes, name);
    return {
      written: table.columns.map(({ name, fallback }, i) => (isOld(name) ? comparison.blind : differs(values[i] as SqlValue, fallback))),
      added: table.columns.flatMap(({ name, cid }) => (isOld(name) ? [] : [cid])),
    };
  }

  /**
   * For a row that is edited before it was compared: what columns that count or collect were made of by other names before the edit, which
   * `found` these values in them; as of `Written`.
   */
  formerOf(state: RowState, id: bigint | null, key: SqlValue[], values: readonly SqlValue[], found: readonly SqlValue[] | null) {
    const { table } = state;
    const comparison = this.open.get(table.tid);
    if (!comparison || !hasCombiningRule(table) || this.isPassed(table, id)) return undefined;
    const shapes = comparison.shapes.map((shape) => new FormerShape(table, shape));
    const before = values.map((value, i) => (found && isCombining(table.columns[i]?.rule ?? LWW) ? (found[i] ?? null) : value));
    const cells = asHashed(table, this.rows.hashes.hashedCells(table, id, before, state.own));
    const { hash } = state;
    const known = hash ? shapes.find((shape) => shape.isThatOf(hash, id, cells)) : undefined;
    const came = this.renamed.columns(state, shapes, { key, known, isInPlace: () => false, values: before });
    return new Map(came.filter(({ at }) => at > 0).map(({ cid, writes }) => [cid, writes]));
  }

  private isPassed({ tid }: Table, id: bigint | null): boolean {
    const { progress } = this;
    if (progress?.tid !== tid) return false;
    return progress.rowsDone || (id !== null && id <= ((progress.after[0] as bigint | undefined) ?? EVERY_ROW));
  }

  /**
   * Before what a row shows is written over: true where it is still to be compared and holds what the application wrote past
   * capture. That is on the dirty list then.
   */
  noteUnseen(state: RowState): boolean {
    const { table, place } = state;
    const comparison = this.open.get(table.tid);
    if (!comparison || place.kind !== "table" || table.keyless || this.isPassed(table, table.surrogate ? state.slot : null)) return false;
    const key = this.rows.keys.keyValues(state);
    const values = key && this.rows.of(table).read(key);
    if (!values) return false;
    const notes = new Notes(this.db, table);
    this.compareRow(table, [...key], values, { ...comparingOf(table, comparison), notes, toFill: [], settles: false });
    return notes.count > 0;
  }

  /**
   * Goes on comparing until `until` (milliseconds of performance.now). Inside the caller's write transaction, drained.
   * `through` says that nothing is left to compare or to drain; `toFill` are the births of rows with held values for
   * columns that came, which the caller delivers in the same transaction.
   */
  turn(until: number): { through: boolean; toFill: Write[] } {
    const toFill: Write[] = [];
    for (;;) {
      const [tid] = this.progress ? [this.progress.tid] : this.open.keys();
      if (tid === undefined) return { through: true, toFill };
      const table = this.rows.byTid(tid);
      const comparison = this.open.get(tid);
      if (!table || table.absent !== null || !comparison) {
        this.end(tid);
        continue;
      }
      if (table.keyless) {
        const [first] = comparison.shapes;
        const former = first ? new FormerShape(table, first) : null;
        toFill.push(...reconcileKeyless(this.db, this.rows, table, former, comparison.blind));
        this.end(tid);
        return { through: false, toFill };
      }
      this.progress ??= { tid, after: [], rowsDone: false, slot: EVERY_ROW };
      const notes = new Notes(this.db, table);
      const through = this.compareRows(table, comparison, notes, until, toFill) && this.findLost(table, notes, until);
      if (through) {
        this.rows.of(table).keptBack?.rehash();
        this.end(tid);
      }
      if (!through || notes.count > 0) return { through: false, toFill };
    }
  }

  /** Rows of the table against what is known of them. True when there are no more. */
  private compareRows(table: Table, comparison: Comparison, notes: Notes, until: number, toFill: Write[]): boolean {
    const progress = this.progress as Progress;
    if (progress.rowsDone) return true;
    const comparing = { ...comparingOf(table, comparison), notes, toFill, settles: true };
    let left = ROWS_AT_ONCE;
    for (const { key, values, at } of pages(this.db, table, progress.after, ROWS_AT_ONCE)) {
      if (table.surrogate || !key.includes(null)) this.compareRow(table, key, values, comparing);
      progress.after = at;
      if (--left > 0) continue;
      if (performance.now() > until || notes.count >= NOTES_AT_ONCE) return false;
      left = ROWS_AT_ONCE;
    }
    progress.rowsDone = true;
    return true;
  }

  private compareRow(
    table: Table,
    key: SqlValue[],
    values: SqlValue[],
    { shapes, written, trusted, differing, notes, toFill, settles }: Comparing,
  ): void {
    const id = table.surrogate ? (key[0] as bigint) : null;
    const read = () => (id === null ? this.rows.byKey(table, this.rows.keys.keyFromValues(table, key)) : this.rows.byId(table, id));
    const state = read();
    if (state?.place.kind !== "table" || !state.hash) return notes.add(Op.insert, key);
    const stored = state.hash;
    const cells = this.rows.hashes.hashedCells(table, id, values, state.own);
    const hash = rowHash(table, id, cells);
    const isAsNow = hash.equals(stored);
    const named = id === null && this.rows.keys.isSpelled(state, key) ? this.rows.keys.asNamed(state, cells) : null;
    if (named) this.rows.of(table).setLocal(state.slot, packKey(table.key, key));
    const formerly = isAsNow ? [] : [...(named ? [named] : []), ...formerlyHashed(table, values, cells)];
    const isEqual = isAsNow || formerly.some((was) => rowHash({ name: table.name }, id, was).equals(stored));
    if (named && isEqual && !isAsNow && settles) this.rows.rehash(state, hash);
    if (isEqual && shapes.length === 0) return;
    const spelled = [asHashed(table, cells), ...formerly];
    const ways = isEqual ? [] : spelled;
    const former = shapes.find((shape) => ways.some((was) => shape.isThatOf(stored, id, was)));
    // A column that got another name has the values, and so the hash, that the former one had: nobody else knows them by it.
    const renamed = isEqual ? shapes.find((shape) => !shape.isWhole) : undefined;
    const isInPlace = (shape: FormerShape) => spelled.some((was) => shape.isInPlace(stored, id, values, was));
    const known = isEqual ? renamed : former;
    const bits = known ? known.written(values, state, isInPlace(known)) : isEqual ? [] : written(values, state);
    const marked = (index: number) => ((bits[Math.floor(index / MASK_BITS)] ?? 0n) >> BigInt(index % MASK_BITS)) & 1n;
    const added = former ? former.added : isEqual ? null : trusted;
    if (added && settles) this.settleAdded(state, id, values, hash, added);
    let kept = state;
    if (hasCombiningRule(table)) {
      const came = this.renamed.columns(state, shapes, { key, known, isInPlace, values });
      for (const { cid } of came) {
        const index = table.indexOf.get(cid) as number;
        const at = Math.floor(index / MASK_BITS);
        if (marked(index)) bits[at] = (bits[at] as bigint) ^ (1n << BigInt(index % MASK_BITS));
      }
      const told = came.filter(({ at }) => at > 0);
      if (settles && told.length > 0) {
        kept = read() as RowState;
        this.tellRenamed(kept, id, values, told);
      }
    }
    if (bits.every((mask) => mask === 0n)) {
      if (this.rows.columnsToFill(kept).length > 0) toFill.push(state.birth);
      return;
    }
    // What is held for other columns comes once these are written: a default that somebody wrote is not what was held.
    // Without a column that went, nobody can tell whether the others were edited. If they were, then since the latest
    // edit known of: dated like that it never beats what others wrote meanwhile. Nor may a column that has another name
    // now: what it holds was written before, in a column that went, or the application's write of it is captured by itself.
    const shrunk = shapes.find((shape) => !shape.isWhole);
    if (!shrunk) return notes.add(Op.update, key, bits, String(isEqual || former ? NOW : differing));
    const came = table.columns.filter(({ cid }, i) => marked(i) > 0n && shapes.every((shape) => shape.added.includes(cid)));
    const days = shrunk.daysOf(state, came, isInPlace(shrunk));
    const dayOf = (index: number) => days.get((table.columns[index] as { cid: number }).cid) ?? days.get(null) ?? UNDATED;
    const all = [...table.columns.keys()].filter((index) => marked(index) > 0n);
    for (const [day, indexes] of Map.groupBy(all, dayOf)) {
      const together = new Set(indexes);
      notes.add(
        Op.update,
        key,
        maskOf(table, (index) => together.has(index)),
        String(day),
      );
    }
  }

  /** A row that is as it was but for columns that came: its hash is made anew, and nobody has written those that are new. */
  private settleAdded(state: RowState, id: bigint | null, values: readonly SqlValue[], hash: Buffer, added: readonly number[]): void {
    const fresh = state.table.surrogate ? [] : added.filter((cid) => !state.columns.has(cid));
    if (fresh.length === 0 && !isContested(state, added)) return this.rows.rehash(state, hash);
    for (const cid of fresh) state.columns.set(cid, []);
    this.rows.saveInTable(state, id, values, ownedDots(state));
  }

  /** Known rows that the table does not hold. True when there are no more. */
  private findLost(table: Table, notes: Notes, until: number): boolean {
    const progress = this.progress as Progress;
    const known = this.db
      .prepare(`SELECT id FROM ${rowsTable(table.tid)} WHERE id > ? ORDER BY id LIMIT ${ROWS_AT_ONCE}`)
      .safeIntegers(true)
      .pluck();
    for (;;) {
      const page = known.all(progress.slot) as bigint[];
      const last = page.at(-1);
      if (last === undefined) return true;
      for (const key of table.surrogate && !this.rows.of(table).keptBack
        ? this.absent(table, progress.slot, last)
        : this.absentKeys(table, page))
        notes.add(Op.delete, key);
      progress.slot = last;
      if (performance.now() > until || notes.count >= NOTES_AT_ONCE) return false;
    }
  }

  private absent(table: Table, after: bigint, last: bigint): SqlValue[][] {
    const key = quote((table.key[0] as { name: string }).name);
    const there = `SELECT 1 FROM ${quote(table.source)} AS u WHERE u.${key} = r.id`;
    return this.db
      .prepare(`SELECT id FROM ${rowsTable(table.tid)} AS r WHERE id > ? AND id <= ? AND NOT EXISTS (${there}) ORDER BY id`)
      .safeIntegers(true)
      .raw(true)
      .all(after, last) as SqlValue[][];
  }

  private absentKeys(table: Table, slots: readonly bigint[]): SqlValue[][] {
    return slots.flatMap((slot) => {
      const state = this.rows.atLog(table.tid, slot);
      const key = state && this.rows.keys.keyValues(state);
      return key && !this.rows.of(table).read(key) ? [key] : [];
    });
  }
}

/** How rows of a table are compared that may be of these former shapes. */
function comparingOf(table: Table, { shapes: former, blind }: Comparison): Pick<Comparing, "shapes" | "written" | "trusted" | "differing"> {
  const shapes = former.map((shape) => new FormerShape(table, shape));
  const isTrusted = !blind && shapes.some((shape) => !shape.isWhole);
  const trusted = isTrusted ? table.columns.filter(({ name }) => !isIn(former, name)).map(({ cid }) => cid) : null;
  const written = (values: readonly SqlValue[], state: RowState) =>
    maskOf(table, (index) => {
      const { cid, name, fallback } = table.columns[index] as { cid: number; name: string; fallback: SqlValue };
      if (isIn(former, name)) return !trusted;
      return differs(values[index] as SqlValue, fallback) || shapes.some((shape) => shape.wasWritten(state, cid, false));
    });
  return { shapes, written, trusted, differing: shapes.some(({ isRebuilt }) => isRebuilt) ? UNDATED : NOW };
}

const printOf = ({ name, columns }: Shape): string => JSON.stringify({ name, columns });

/** Puts what was found on the dirty list. */
class Notes {
  count = 0;
  private readonly db: Database;
  private readonly table: Table;

  constructor(db: Database, table: Table) {
    this.db = db;
    this.table = table;
  }

  add(op: number, key: readonly SqlValue[], bits: readonly bigint[] = [], at = NOW): void {
    const { values, raw } = bindable(key);
    const places = [...bits.map(() => "?"), ...values.map((_, i) => (raw.includes(i) ? "CAST(? AS TEXT)" : "?"))].join(", ");
    const columns = [...bits.map((_, i) => `m${i}`), ...key.map((_, i) => `k${i}`)].join(", ");
    this.db
      .prepare(`INSERT INTO ${CAPTURE}(event, at, ${columns}) VALUES(?, ${at}, ${places})`)
      .run(eventCode(this.table.tid, op), ...bits, ...values);
    this.count++;
  }
}

/** True for a column that some former shape has, and for every one where no former shape is known. */
const isIn = (shapes: readonly Shape[], name: string): boolean =>
  shapes.length === 0 || shapes.some(({ columns }) => columns.includes(name));

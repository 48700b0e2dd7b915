import type { Database } from "better-sqlite3";
import { type CellValue, type SqlValue, winnerOf } from "@scoutsync/core";
import { CAPTURE, eventCode, imageNumber, imageTable, Op, REPLACED } from "../capture/triggers.ts";
import type { Placement } from "../apply/placement.ts";
import type { Knowledge } from "../identity/knowledge.ts";
import { meant, pick } from "../rows/foreign-keys.ts";
import { EmptiedReferences } from "./emptied-references.ts";
import { isSame } from "../rows/members.ts";
import { registerOf } from "../rows/registers.ts";
import { ownedDots, type RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { bindable } from "../rows/table-store.ts";
import type { Table } from "../schema/catalog.ts";
import { keyParts } from "../rows/kept-back-rows.ts";
import { packKey } from "../rows/values.ts";
import { valueStatement } from "../kept-statements.ts";

/** From when on the deletes of one group are kept back: at least so many rows, and more than this share of the table's. */
export interface QuarantineLimits {
  rows: number;
  share: number;
}

/** The limits a database was opened with. */
export const quarantineLimits = ({
  quarantine = { rows: 100, share: 0.5 },
}: {
  quarantine?: QuarantineLimits | null;
}): QuarantineLimits | null => quarantine;

export type QuarantineDecision = "release" | "undo";

/** What the author of a mass delete knew: the last change of each origin, by its local number. */
type Known = Record<string, number>;

interface Counts {
  /** Deletes and inserts the group began with, and rows the table had, by table number. */
  [tid: string]: { deleted: number; inserted: number; live: number };
}

/** One mass delete that is kept back. */
export interface KeptBackDelete {
  id: number;
  sinceUs: number;
  counts: Counts;
  decision: QuarantineDecision | null;
  rows: { table: Table; rows: number; sample: SqlValue[][] }[];
}

/** True of one that waits for a person and has no row any more. */
const IS_EMPTY =
  "draining = 0 AND decision IS NULL AND NOT EXISTS (SELECT 1 FROM _scoutsync_quarantined AS q WHERE q.quarantine = _scoutsync_quarantine.id AND q.tid > 0)";
/** Rows looked at before the clock is. */
const LOOKED_AT_ONCE = 200;
/** Rows put back before the clock is looked at. */
const PUT_AT_ONCE = 200;
/** Deletes let go before they are drained. */
const LET_GO_AT_ONCE = 2_000;
const EPOCH_DAY = 2_440_587.5;
const DAY_US = 86_400_000_000;

/**
 * Mass deletes: when what waits in the dirty list deletes most of a table, all deletes of that group are kept back. For
 * everybody the rows are still there, here too but for the application's table. A person lets them go or puts them back;
 * a row that the application inserts again under its key is that row again. All inside write transactions.
 */
export class Quarantine {
  private readonly db: Database;
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  private readonly placement: Placement;
  private readonly limits: QuarantineLimits | null;
  private readonly nowUs: () => number;
  /** The quarantine into which the deletes of this drain go; undefined = not looked yet. */
  private active: number | null | undefined = undefined;
  /** What deletes that are kept back emptied in other rows. */
  readonly emptied: EmptiedReferences;

  constructor(options: {
    db: Database;
    rows: RowStore;
    knowledge: Knowledge;
    placement: Placement;
    limits: QuarantineLimits | null;
    nowUs: () => number;
  }) {
    this.db = options.db;
    this.rows = options.rows;
    this.knowledge = options.knowledge;
    this.placement = options.placement;
    this.limits = options.limits;
    this.nowUs = options.nowUs;
    this.emptied = new EmptiedReferences(options);
  }

  /** Call after a rollback. */
  forget(): void {
    this.active = undefined;
  }

  /** Before events are drained: which quarantine their deletes go to; null when they are ordinary ones. */
  into(): number | null {
    if (this.active === undefined)
      this.active =
        (this.db.prepare("SELECT id FROM _scoutsync_quarantine WHERE draining = 1").pluck().get() as number | undefined) ?? null;
    if (this.active !== null || this.limits === null) return this.active;
    // What a person has let go is on its way through the dirty list.
    if (this.db.prepare("SELECT 1 FROM _scoutsync_quarantine WHERE decision = 'release'").get() !== undefined) return null;
    const counts = this.survey(this.limits);
    if (!counts) return null;
    this.active = Number(
      this.db
        .prepare("INSERT INTO _scoutsync_quarantine(since, draining, counts) VALUES(?, 1, ?)")
        .run(this.nowUs(), JSON.stringify(counts)).lastInsertRowid,
    );
    return this.active;
  }

  /** Counts what waits, per table; null when no table loses most of its rows. */
  private survey({ rows, share }: QuarantineLimits): Counts | null {
    const most = Math.max(0, rows - 1);
    if (this.db.prepare(`SELECT 1 FROM ${CAPTURE} LIMIT 1 OFFSET ${most}`).get() === undefined) return null;
    const many = this.rows.tables.some(
      (table) => !table.keyless && this.db.prepare(`SELECT 1 FROM ${imageTable(table.tid)} LIMIT 1 OFFSET ${most}`).get() !== undefined,
    );
    if (!many) return null;
    const events = this.db.prepare(`SELECT event >> 3 AS tid, event & 7 AS op, count(*) AS events FROM ${CAPTURE} GROUP BY 1, 2`).all() as {
      tid: number;
      op: number;
      events: number;
    }[];
    const live = this.db.prepare("SELECT coalesce(sum(rows), 0) FROM _scoutsync_digest WHERE tid = ?").pluck();
    const counts: Counts = {};
    for (const { tid, op, events: number } of events) {
      const count = (counts[tid] ??= { deleted: 0, inserted: 0, live: live.get(tid) as number });
      if (op === Op.delete || op === Op.displaced) count.deleted += number;
      if (op === Op.insert) count.inserted += number;
    }
    const isMass = this.rows.tables.some((table) => {
      const count = counts[table.tid];
      return !table.keyless && count !== undefined && count.deleted >= rows && count.deleted > count.live * share;
    });
    return isMass ? counts : null;
  }

  /** Nothing waits any more: what came back is no mass delete; what only moved to other keys is let go. */
  drained(): void {
    if (this.active === null || this.active === undefined) return this.removeEmpty();
    const id = this.active;
    this.active = null;
    const counts = JSON.parse(this.db.prepare("SELECT counts FROM _scoutsync_quarantine WHERE id = ?").pluck().get(id) as string) as Counts;
    const { rows, share } = this.limits ?? { rows: 0, share: 0 };
    const isLoss = Object.values(counts).some(
      ({ deleted, inserted, live }) => deleted - inserted >= rows && deleted - inserted > live * share,
    );
    const noted = JSON.stringify({ ...counts, known: Object.fromEntries(this.knowledge.entries), moved: isLoss ? 0 : 1 });
    this.db
      .prepare("UPDATE _scoutsync_quarantine SET draining = 0, decision = ?, counts = ? WHERE id = ?")
      .run(isLoss ? null : "release", noted, id);
    this.removeEmpty();
  }

  /** Nobody can decide about one whose rows have all come back. One that is decided may still have references to give back. */
  private removeEmpty(): void {
    const empty = valueStatement(this.db, `SELECT id FROM _scoutsync_quarantine WHERE ${IS_EMPTY}`).all() as number[];
    for (const id of empty) this.remove(id);
    if (empty.length > 0) this.rows.lookForKeptBack();
  }

  private remove(id: number): void {
    this.db.prepare("DELETE FROM _scoutsync_quarantined WHERE quarantine = ?").run(id);
    this.db.prepare("DELETE FROM _scoutsync_quarantine WHERE id = ?").run(id);
  }

  /**
   * What a row whose delete is kept back holds, `values`, by column, where somebody else wrote it since: whoever inserts the row
   * again has seen none of it. Null where nothing was written, and where a version kept it back that did not note when that was.
   */
  writtenSince(state: RowState, key: readonly SqlValue[], values: readonly SqlValue[]): ReadonlyMap<number, CellValue> | null {
    const { table } = state;
    const kept = this.db
      .prepare(
        "SELECT hash, counts FROM _scoutsync_quarantined AS q JOIN _scoutsync_quarantine AS of ON of.id = q.quarantine WHERE tid = ? AND local = ?",
      )
      .get(table.tid, packKey(table.key, key)) as { hash: Buffer; counts: string } | undefined;
    if (!kept || !state.hash || kept.hash.equals(state.hash)) return null;
    const { known } = JSON.parse(kept.counts) as { known?: Known };
    if (!known) return null;
    const cells = this.rows.references.abstract(table, values);
    const written = table.columns.flatMap(({ cid }, index) => {
      const winner = winnerOf(registerOf(state, cid), this.knowledge);
      const isNews = winner && !this.knowledge.isOwn(winner.origin) && winner.sequence > (known[winner.origin] ?? 0);
      return isNews ? [[cid, cells[index] ?? null] as const] : [];
    });
    return new Map(written);
  }

  /** Keeps a row's delete back. */
  keep(table: Table, key: readonly SqlValue[], values: readonly SqlValue[], hash: Buffer, quarantine: number): void {
    this.rows.keepBack(table).add(key, values, hash, quarantine);
  }

  /** True while a decision is not carried out to its end. */
  get isOpen(): boolean {
    return valueStatement(this.db, "SELECT 1 FROM _scoutsync_quarantine WHERE decision IS NOT NULL LIMIT 1").get() !== undefined;
  }

  /** Mass deletes that wait for a person. */
  undecided(): number {
    return valueStatement(this.db, "SELECT count(*) FROM _scoutsync_quarantine WHERE draining = 0 AND decision IS NULL").get() as number;
  }

  list(): KeptBackDelete[] {
    const held = this.db.prepare("SELECT id, since, counts, decision FROM _scoutsync_quarantine ORDER BY id").all() as {
      id: number;
      since: number;
      counts: string;
      decision: QuarantineDecision | null;
    }[];
    const count = this.db.prepare("SELECT count(*) FROM _scoutsync_quarantined WHERE quarantine = ? AND tid = ?").pluck();
    const sample = this.db
      .prepare("SELECT local FROM _scoutsync_quarantined WHERE quarantine = ? AND tid = ? ORDER BY local LIMIT 5")
      .pluck();
    return held.flatMap(({ id, since, counts, decision }) => {
      const rows = this.rows.tables.flatMap((table) => {
        const number = count.get(id, table.tid) as number;
        if (number === 0) return [];
        return [{ table, rows: number, sample: (sample.all(id, table.tid) as Buffer[]).map((local) => keyParts(table, local)) }];
      });
      if (rows.length === 0) return [];
      return [{ id, sinceUs: since, counts: JSON.parse(counts) as Counts, decision, rows: rows.sort((a, b) => b.rows - a.rows) }];
    });
  }

  decide(id: number, decision: QuarantineDecision): void {
    this.db.prepare("UPDATE _scoutsync_quarantine SET decision = ? WHERE id = ? AND decision IS NULL").run(decision, id);
  }

  /**
   * Goes on carrying out decisions until `until` (milliseconds of performance.now); drained, and silent. True when nothing
   * is left to do or to drain. What is let go becomes an ordinary delete of the dirty list.
   */
  turn(until: number): boolean {
    for (;;) {
      const next = this.db
        .prepare(
          "SELECT id, since, decision, counts ->> 'moved' AS moved FROM _scoutsync_quarantine WHERE decision IS NOT NULL ORDER BY id LIMIT 1",
        )
        .get() as { id: number; since: number; decision: QuarantineDecision; moved: number | null } | undefined;
      if (!next) return true;
      if (next.decision === "release") {
        const isThrough = this.spareReferredTo(next.id, until);
        this.undoEmpty();
        if (!isThrough) return false;
      }
      // Children go first and come back last.
      const tables = next.decision === "release" ? this.rows.tables.toReversed() : this.rows.tables;
      const table = tables.find(({ tid }) => this.page(next.id, tid, 1).length > 0);
      if (!table) {
        if (next.decision === "undo" && !this.emptied.giveBack(next.id, PUT_AT_ONCE)) return false;
        this.remove(next.id);
        this.rows.lookForKeptBack();
        continue;
      }
      for (const { local, hash } of this.page(next.id, table.tid, next.decision === "release" ? LET_GO_AT_ONCE : PUT_AT_ONCE))
        if (next.decision === "undo" || this.isEdited(table, local, hash) || this.lacksParent(table, local))
          this.putBackWithParents(table, local);
        else this.letGo(table, local, next);
      this.undoEmpty();
      if (next.decision === "release" || performance.now() > until) return false;
    }
  }

  /** Rows come back with what they refer to. Where that was all of another mass delete, what that one emptied is given back, too: nobody can undo it any more. */
  private undoEmpty(): void {
    this.db.exec(`UPDATE _scoutsync_quarantine SET decision = 'undo' WHERE ${IS_EMPTY}`);
  }

  private page(id: number, tid: number, limit: number): { local: Buffer; hash: Buffer }[] {
    return this.db
      .prepare("SELECT local, hash FROM _scoutsync_quarantined WHERE quarantine = ? AND tid = ? ORDER BY local LIMIT ?")
      .all(id, tid, limit) as { local: Buffer; hash: Buffer }[];
  }

  private stateOf(table: Table, key: readonly SqlValue[]) {
    const state = table.surrogate
      ? this.rows.byId(table, key[0] as bigint)
      : this.rows.byKey(table, this.rows.keys.keyFromValues(table, key));
    return state?.place.kind === "table" ? state : null;
  }

  /** True where a row waits that this one refers to: its table has no integer for that one, and the image of a delete would not either. */
  private lacksParent(table: Table, local: Buffer): boolean {
    return Boolean(this.rows.keepBack(table).concrete(keyParts(table, local))?.missing);
  }

  /** What others wrote since is later than the delete: as always, it revives the row. */
  private isEdited(table: Table, local: Buffer, hash: Buffer): boolean {
    const state = this.stateOf(table, keyParts(table, local));
    return state?.hash !== undefined && state.hash !== null && Buffer.compare(state.hash, hash) !== 0;
  }

  /** Puts a row into its table as if it had never been deleted: nothing of what is known of it changes. */
  private putBack(table: Table, local: Buffer): void {
    const key = keyParts(table, local);
    const store = this.rows.of(table);
    const state = this.stateOf(table, key);
    const values = store.read(key);
    if (!state || !values) return this.rows.keepBack(table).remove(key);
    const before = ownedDots(state);
    const cells = this.rows.cells(state);
    // Nobody saw that it refers to a row which others deleted meanwhile, not knowing of it.
    this.placement.kept.keepParents(state, cells);
    // Whoever deleted one alone meanwhile knew this row for deleted, too.
    this.placement.kept.reviveParents(state, cells, this.nowUs());
    const missing = this.rows.keepBack(table).concrete(key)?.missing;
    this.rows.keepBack(table).remove(key);
    if (store.readTable(key)) return;
    // Its parent was put back before it, and waits: another row has its UNIQUE value by now.
    if (missing) return this.placement.evict(state, cells, "parent", missing, before);
    const bound = bindable(values);
    const refused = this.placement.tryInsert(table, table.surrogate ? (key[0] as bigint) : null, bound.values, bound.raw);
    if (refused) this.placement.evict(state, cells, refused, null, before);
    else this.rows.saveInTable(state, table.surrogate ? (key[0] as bigint) : null, values, before);
  }

  /** What a row refers to may be kept back with another mass delete: whoever lets that go knows of the row, and it would have no parent. */
  private putBackWithParents(table: Table, local: Buffer): void {
    const state = this.stateOf(table, keyParts(table, local));
    this.putBack(table, local);
    this.putBackParents(state && this.rows.byDot(state.birth.origin, state.birth.sequence));
  }

  /**
   * Puts back what rows refer to that were written since: nobody's row loses its parent to a delete whose author could not
   * know of it. Goes on where it was; false when time is up before all are looked at.
   */
  private spareReferredTo(id: number, until: number): boolean {
    const counts = JSON.parse(this.db.prepare("SELECT counts FROM _scoutsync_quarantine WHERE id = ?").pluck().get(id) as string) as {
      known?: Known;
      looked?: Known;
    };
    // Kept back by a version that did not note it.
    if (!counts.known) return true;
    const looked = (counts.looked ??= { ...counts.known });
    const since = this.db.prepare(
      "SELECT sequence, tid, slot FROM _scoutsync_log WHERE oid = ? AND sequence > ? ORDER BY sequence LIMIT ?",
    );
    let through = true;
    for (const oid of this.db.prepare("SELECT oid FROM _scoutsync_origin").pluck().all() as number[]) {
      for (;;) {
        const page = since.all(oid, looked[oid] ?? 0, LOOKED_AT_ONCE) as { sequence: number; tid: number; slot: number }[];
        for (const { tid, slot } of page) this.putBackParents(this.rows.atLog(tid, BigInt(slot)));
        const last = page.at(-1);
        if (!last) break;
        looked[oid] = last.sequence;
        if (performance.now() > until) through = false;
        if (!through) break;
      }
      if (!through) break;
    }
    this.db.prepare("UPDATE _scoutsync_quarantine SET counts = ? WHERE id = ?").run(JSON.stringify(counts), id);
    return through;
  }

  /** Puts back what a row in its table refers to and is kept back, what that refers to, and so on; also past rows that are kept for others. */
  private putBackParents(row: RowState | null): void {
    const open = row ? [row] : [];
    for (const state of open) {
      const values = this.valuesOf(state);
      if (!values) continue;
      const id = state.table.surrogate ? state.slot : null;
      const named = state.table.references.flatMap(({ index, parent }) => {
        const value = values[index];
        return typeof value === "bigint" && !state.table.columns[index]?.soft ? (this.rows.byId(parent, value) ?? []) : [];
      });
      const keyed = state.table.dependsOn.flatMap((foreign) => {
        const wanted = foreign.isKey ? pick(state.table, foreign.columns, id, values) : null;
        if (!wanted) return [];
        const held = meant(foreign, wanted);
        const key = foreign.parent.key.map((column) => held[foreign.targets.indexOf(column.name)] as SqlValue);
        return this.rows.byKey(foreign.parent, this.rows.keys.keyFromValues(foreign.parent, key)) ?? [];
      });
      for (const parent of [...named, ...keyed]) {
        const key = this.rows.keys.keyValues(parent);
        if (key && this.rows.of(parent.table).keptBack?.has(key)) this.putBack(parent.table, packKey(parent.table.key, key));
        else if (!parent.kept || open.some((other) => isSame(other, parent))) continue;
        open.push(parent);
      }
    }
  }

  /** What a live row holds, also one that waits for what it refers to. */
  private valuesOf(state: RowState): SqlValue[] | null {
    if (state.place.kind === "table") return this.rows.tableValues(state);
    return state.place.kind === "waiting" ? this.rows.references.concrete(state.table, this.rows.cells(state)).values : null;
  }

  /** Makes the delete an event of the dirty list, as it was. */
  private letGo(table: Table, local: Buffer, { since, moved }: { since: number; moved: number | null }): void {
    const key = keyParts(table, local);
    const values = this.rows.of(table).read(key);
    this.rows.keepBack(table).remove(key);
    if (!values || !this.stateOf(table, key)) return;
    const put = (into: string, columns: string[], head: readonly unknown[], row: readonly SqlValue[]) => {
      const { values: bound, raw } = bindable(row);
      const places = [...head.map(() => "?"), ...row.map((_, i) => (raw.includes(i) ? "CAST(? AS TEXT)" : "?"))];
      return this.db.prepare(`INSERT INTO ${into}(${columns.join(", ")}) VALUES(${places.join(", ")})`).run(...head, ...bound)
        .lastInsertRowid;
    };
    const at = since / DAY_US + EPOCH_DAY;
    const head = [eventCode(table.tid, Op.delete), at, moved === 1 ? REPLACED : null];
    const n = put(CAPTURE, ["event", "at", "m0", ...key.map((_, i) => `k${i}`)], head, key);
    put(imageTable(table.tid), [imageNumber(table), ...values.map((_, i) => `c${i}`)], [n], values);
  }
}

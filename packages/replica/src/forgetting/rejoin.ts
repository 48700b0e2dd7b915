import type { Database } from "better-sqlite3";
import {
  type CellValue,
  isCovered,
  Ref,
  type SchemaPrint,
  SyncError,
  type SqlValue,
  type VersionVector,
  winnerOf,
  type Write,
} from "@scoutsync/core";
import type { Placement } from "../apply/placement.ts";
import { tablePrint } from "../digest/schema-print.ts";
import type { EarlyReferences } from "../drain/early-references.ts";
import type { Knowledge } from "../identity/knowledge.ts";
import { isSharedName } from "../rows/content-names.ts";
import { keylessCell, keylessIdentity } from "../rows/keyless-rows.ts";
import { closeLosers, localWrite, replaceColumn, tellBirth } from "../rows/local-writes.ts";
import { isAlive, registerOf } from "../rows/registers.ts";
import { isSame, type Member } from "../rows/members.ts";
import { Notices } from "../rows/notices.ts";
import { newState, ownedDots, type RowState, UNSTORED } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { rowsTable } from "../rows/table-store.ts";
import { keyText, packKey, valueText } from "../rows/values.ts";
import type { Table } from "../schema/catalog.ts";
import { rejoinNeeded } from "./floor.ts";
import { Needed } from "./needed.ts";
import { endOfKnown, endTogether, letHeldOnesLive } from "./united.ts";

/** What became of rows that the server does not hold. */
export interface Rejoined {
  /** Deleted and forgotten elsewhere: out of their table, their last values in _scoutsync_gone. */
  gone: number;
  /** Edited here meanwhile, or referred to by a row that stays: they live on as new rows. */
  reborn: number;
}

/** What a row is in its table, or what it is to be there. */
interface Shape {
  key: SqlValue[] | null;
  values: SqlValue[] | null;
  /** What it says itself. */
  cells: CellValue[];
  /** What rows that are one show together. */
  shown: CellValue[];
}

interface Dot {
  origin: number;
  sequence: number;
}

/**
 * Joins a replica again that was away for longer than others remember deletes. A stream from nothing names every row
 * that the server holds; rows that only this replica holds are then judged by what the server's vector covers.
 */
export class Rejoin {
  private readonly db: Database;
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  private readonly placement: Placement;
  active = false;
  /** What the server had forgotten when the stream began. */
  private floor: VersionVector | null = null;
  private run = "";
  private server: VersionVector = new Map();
  /** What the server's tables are made of. */
  private prints: ReadonlySet<string> = new Set();
  private nowUs = 0;
  /** Rows that live on under another name, by their old one. */
  private readonly renamed = new Map<string, Ref>();
  /** What rows refer to that are one, or wait, though no table shows it. */
  private unseen: Needed | null = null;
  /** Kept rows that renewed ones refer to. */
  private keptFor: Write[] = [];
  private readonly early: EarlyReferences;
  private readonly notices: Notices;

  constructor(options: { db: Database; rows: RowStore; knowledge: Knowledge; placement: Placement; early: EarlyReferences }) {
    this.db = options.db;
    this.early = options.early;
    this.notices = new Notices(options.db);
    this.rows = options.rows;
    this.knowledge = options.knowledge;
    this.placement = options.placement;
  }

  /** Throws where a mass delete is kept back: whether its rows are here is not decided. */
  refuseKeptBack(): void {
    if (this.rows.tables.every((table) => this.rows.of(table).keptBack === null)) return;
    throw new SyncError({
      code: "REJOIN_NEEDED",
      message: "this node was away for so long that it has to join again, and a mass delete is kept back here",
      action: "Decide it first: `scoutsync review list --kind quarantine` shows it, `review resolve` with --undo or --release ends it.",
    });
  }

  /** Forgets what an attempt before this one saw. */
  begin(): void {
    this.db.exec("DROP TABLE IF EXISTS temp.seen; CREATE TEMP TABLE seen(name BLOB PRIMARY KEY) WITHOUT ROWID");
    this.active = true;
    this.floor = null;
    this.run = "";
  }

  /** Throws REJOIN_NEEDED where the comparison has to begin again: a node was restarted, or the server forgot more meanwhile. */
  check(batch: { floor?: VersionVector; run: string }): void {
    const floor = batch.floor ?? new Map<string, number>();
    this.floor ??= floor;
    if (this.run === "") this.run = batch.run;
    if (this.active && this.run === batch.run && isCovered(floor, this.floor)) return;
    throw rejoinNeeded("comparing everything with the peer was interrupted");
  }

  end(): void {
    this.db.exec("DROP TABLE IF EXISTS temp.seen");
    this.active = false;
  }

  /** The server holds this row. */
  saw(table: Table, identity: Dot | null, key: Buffer | null): void {
    this.db.prepare("INSERT OR IGNORE INTO temp.seen(name) VALUES(?)").run(nameOf(table, identity, key));
  }

  /**
   * Judges every row that the server has not named; `vector` and `schema` are the server's. Inside the transaction that
   * takes the last batch, silently, once this replica's vector covers the server's: rows that live on get births that
   * know it. Throws SCHEMA_UNSUPPORTED where nobody can tell. Rows held for a table that is not here stay held.
   */
  judge({ vector, schema }: { vector: VersionVector; schema: SchemaPrint }, nowUs: number): Rejoined {
    this.server = vector;
    this.prints = new Set(schema.split(",").map((entry) => entry.replace("+", "")));
    this.nowUs = nowUs;
    this.renamed.clear();
    this.refuseKeptBack();
    const result: Rejoined = { gone: 0, reborn: 0 };
    this.keptFor = letHeldOnesLive(
      { rows: this.rows, knowledge: this.knowledge, placement: this.placement },
      { isUnknown: (state) => this.isUnknown(state), isNews: (dot) => !this.serverHas(dot) },
      nowUs,
    );
    const { reborn, gone } = this.verdicts();
    // Looked at before anything goes: a key made of references is found by the rows it names.
    for (const { state, key, values, cells } of gone.map((one) => ({ state: one, ...this.look(one) }))) {
      // What it refers to by the integer that people know, and which may be nobody's by then.
      const said = cells.map((cell, index) => (cell instanceof Ref ? (values?.[index] ?? cell) : cell));
      this.remember(state, key, said, result);
      this.rows.former.left(state);
      this.touchOthers(state);
      this.forgetInTable(state);
      if (key) this.rows.of(state.table).delete(key);
      this.placement.moves++;
    }
    for (const table of this.rows.tables) {
      for (const { birth } of reborn.filter((one) => one.table === table)) {
        const state = this.placement.related.again(birth);
        if (state?.place.kind === "table") this.rebear(state, result);
      }
    }
    for (const table of this.rows.tables) for (const slot of this.rows.out.slots(table.tid)) this.judgeOut(table, slot, result);
    this.followRenamed(result);
    this.placement.entities.arrangeTouched();
    this.placement.kept.revive(this.keptFor, nowUs);
    this.placement.finish();
    this.placement.forget();
    this.placement.begin();
    return result;
  }

  /**
   * True for a row that the server would hold if it had not been deleted there. Of a row that several may give birth to
   * nobody can tell: an earlier one of that name may have been deleted and forgotten.
   */
  private isUnknown(state: RowState): boolean {
    if (state.partial || (!this.isOthersToo(state) && !(this.serverHas(state.birth) && this.mayBeForgotten(state)))) return false;
    const name = nameOf(state.table, state.table.surrogate ? state.identity : null, state.key);
    if (this.db.prepare("SELECT 1 FROM temp.seen WHERE name = ?").get(name) !== undefined) return false;
    // Rows of a table that the server's application has dropped are not deleted.
    if (!this.prints.has(tablePrint(state.table))) throw notTheSameTable(state.table);
    return true;
  }

  /** True for a row that others may bear under the same name: by its key, or as copies of one file name what they had alike. */
  private isOthersToo({ table, identity, key }: RowState): boolean {
    if (table.keyless) return key !== null && isSharedName(keylessCell(key));
    return !table.surrogate || this.rows.shared.tableOf(identity.origin) !== undefined;
  }

  private serverHas(dot: Dot): boolean {
    return this.isBelow(this.server, dot);
  }

  /** A write that was issued again is known by every name that it has. */
  private isBelow(vector: VersionVector, { origin, sequence }: Dot): boolean {
    for (let named: number | undefined = origin; named !== undefined; named = this.knowledge.sourceOf(named))
      if ((vector.get(this.knowledge.nameOf(named)) ?? 0) >= sequence) return true;
    return false;
  }

  /** True when something of the row is news to the server. */
  private hasNews(state: RowState): boolean {
    return [...ownedDots(state).values()].some((dot) => !this.serverHas(dot));
  }

  /**
   * As `hasNews`, but for decisions about identity: which integer a row has, or that it and another are one, is nobody's edit,
   * and was decided here by whoever met both rows.
   */
  private hasEdits({ birth, twins, columns, deletes, closed }: RowState): boolean {
    const isNews = (dot: Dot) => !this.serverHas(dot);
    return [birth, ...twins, ...deletes, ...closed].some(isNews) || [...columns.values()].some((writes) => writes.some(isNews));
  }

  /**
   * What the server has forgotten is below its floor. A vector alone is no proof that it ever had a row: somebody may have
   * told it that it had everything.
   */
  private mayBeForgotten(state: RowState): boolean {
    const floor = this.floor ?? new Map<string, number>();
    return [...ownedDots(state).values()].some((dot) => this.isBelow(floor, dot));
  }

  /** As `hasEdits`, of whichever of the live rows that are one with it. What the server cannot have forgotten is news to it. */
  private entityHasNews(state: RowState): boolean {
    if (this.hasEdits(state) || !this.mayBeForgotten(state)) return true;
    return this.placement.entities.concerns(state) && this.placement.members.entityOf(state).some((member) => this.hasEdits(member.state));
  }

  /** Rows connected to one that goes: which of them is in the table is looked at again. */
  private touchOthers(state: RowState): void {
    if (!this.placement.entities.concerns(state)) return;
    for (const { birth } of this.placement.members.connected(state)) this.placement.entities.touch(birth);
  }

  /**
   * Rows in their table that the server does not hold though it knows their births: deleted elsewhere, but for those
   * with a write that the server does not know, and for what rows that stay refer to.
   */
  private verdicts(): { reborn: RowState[]; gone: RowState[] } {
    const reborn: RowState[] = [];
    const open = new Map<string, RowState>();
    for (const table of this.rows.tables) {
      this.rows.of(table).flush();
      const slots = this.db
        .prepare(`SELECT id FROM ${rowsTable(table.tid)}`)
        .safeIntegers(true)
        .pluck()
        .all() as bigint[];
      for (const slot of slots) {
        const state = this.rows.atLog(table.tid, slot);
        if (!state || !this.isUnknown(state)) continue;
        if (this.entityHasNews(state)) reborn.push(state);
        else open.set(placeOf(state), state);
      }
    }
    for (let moved = true; moved;) {
      moved = false;
      const unseen = (this.unseen = this.meantUnseen(open));
      for (const [place, state] of open) {
        const isNeeded = this.placement.related.referrers(state).some((child) => !open.has(placeOf(child)));
        if (!isNeeded && !unseen.has(state)) continue;
        open.delete(place);
        reborn.push(state);
        moved = true;
      }
    }
    return { reborn, gone: [...open.values()] };
  }

  /** What is referred to though no table shows it: by live rows that are one with others, those aside that go together, and by rows that wait. */
  private meantUnseen(open: ReadonlyMap<string, RowState>): Needed {
    const needed = new Needed(this.rows);
    for (const group of this.placement.members.groups()) {
      if (group.some((state) => state.place.kind === "table" && open.has(placeOf(state)))) continue;
      for (const state of group) if (isAlive(state, this.knowledge)) needed.note(state);
    }
    // One that another one needs stays with that one.
    let waiting = this.rows.waiting();
    for (let left = -1; left !== waiting.length;) {
      left = waiting.length;
      waiting = waiting.filter((state) => {
        const stays = !this.isUnknown(state) || this.entityHasNews(state) || needed.has(state);
        if (stays) needed.note(state);
        return !stays;
      });
    }
    return needed;
  }

  /** A row out of its table: what waits there and has news lives on, what was deleted here with news is told to everyone. */
  private judgeOut(table: Table, slot: bigint, result: Rejoined): void {
    const state = this.rows.atLog(-table.tid, slot);
    if (!state || !this.isUnknown(state)) return;
    if (state.place.kind === "waiting" ? this.entityHasNews(state) || this.unseen?.has(state) : this.hasNews(state)) {
      if (state.place.kind === "waiting") this.rebear(state, result);
      return;
    }
    if (!this.mayBeForgotten(state)) return;
    // What was deleted here as well is no news to anyone.
    if (state.place.kind !== "dead" && isAlive(state, this.knowledge))
      this.remember(state, this.rows.keys.keyValues(state), this.rows.cells(state), result);
    this.rows.erase(state);
  }

  private look(state: RowState): Shape {
    const inTable = state.place.kind === "table";
    return {
      key: this.rows.keys.keyValues(state),
      values: inTable ? this.rows.tableValues(state) : null,
      cells: this.rows.cells(state),
      shown: this.placement.entities.shown(state),
    };
  }

  /** Makes a row a new one: a birth of now, with the values it has. `shape` where what it refers to has got another name. */
  private rebear(state: RowState, result: Rejoined, shape: Shape = this.look(state)): void {
    const { table } = state;
    const inTable = state.place.kind === "table";
    const { key, values, cells, shown } = shape;
    // Gone without being captured: the comparison of tables that follows finds it.
    if (inTable && (!key || !values)) return;
    const isKnown = this.serverHas(state.birth);
    if (isKnown) result.reborn++;
    // As a new row, it would be there once more with every copy that comes and has it. Rows that are one go by the new one's name.
    const keepsName = this.isOthersToo(state) && !this.placement.entities.concerns(state);
    // While the table still tells whose they are. Under its name they go on referring to it.
    const children = (inTable && !keepsName ? this.placement.related.referring(state) : []).map(({ child, cid }) => ({
      child,
      cid,
      shape: this.look(child),
    }));
    const { slot } = state;
    const id = !table.surrogate ? null : inTable ? slot : this.rows.outId(state);
    const dots = ownedDots(state);
    const others = this.othersOf(state);
    const isNews = this.hasNews(state) || this.placement.entities.concerns(state) || this.unseen?.has(state) === true;
    const links = table.surrogate ? this.rows.same.of(state.identity) : [];
    if (inTable) this.forgetInTable(state);
    else this.rows.erase(state);
    const birth = localWrite(null, this.nowUs, [], this.knowledge);
    if (isKnown) this.notices.reborn(birth, this.nowUs);
    const packed = table.keyless
      ? keepsName
        ? state.key
        : keylessIdentity(table, birth)
      : table.surrogate
        ? null
        : key
          ? this.rows.keys.keyFromValues(table, key)
          : this.renamedKey(state);
    const staysItself = table.surrogate ? keepsName : packed !== null && state.key?.equals(packed) === true;
    const named = table.surrogate && staysItself ? { identity: state.identity, claim: state.claim } : { claim: id ?? 0n };
    const fresh = newState({ table, place: state.place, key: packed, birth, ...named });
    // Who has forgotten the row has forgotten that, too.
    if (staysItself && state.rekey) fresh.rekey = { generation: state.rekey.generation, origin: birth.origin, sequence: birth.sequence };
    // The new birth knows what lost in the row, and replaces it everywhere: it goes into the history, as it does with an edit.
    for (const [cid, writes] of state.columns) {
      closeLosers(fresh, cid, writes, birth, this.knowledge);
      // What is held for a column that this table lacks: no table shows it.
      const held = table.indexOf.has(cid) ? undefined : winnerOf(writes, this.knowledge);
      if (held?.value !== undefined) fresh.columns.set(cid, [{ ...birth, value: held.value, tally: held.tally }]);
    }
    // Who was away, too, has counted on from what was counted here before: that is no total of this birth's.
    if (staysItself && !table.keyless) {
      const had = (cid: number) => (values ?? cells)[table.indexOf.get(cid) ?? -1] ?? null;
      tellBirth(
        fresh,
        (cid) => ({ value: had(cid), found: had(cid) }),
        this.knowledge,
        (cid) => registerOf(state, cid),
      );
    }
    if (staysItself) for (const record of state.closed) fresh.closed.push({ ...record, origin: birth.origin, sequence: birth.sequence });
    if (inTable && values) {
      this.rows.saveInTable(fresh, id, values, new Map(), key);
      this.early.placed(fresh, cells);
      // What a row that was born apart from a delete keeps in its table lives from now on: the birth of now knows of the delete.
      this.keptFor.push(...this.placement.kept.keptParents(fresh));
    } else this.rows.saveOut(fresh, false, id, shown, new Map());
    if (table.surrogate && !staysItself)
      for (const { identity } of [state, ...others.map((other) => other.state)])
        this.renamed.set(`${identity.origin}:${identity.sequence}`, new Ref(birth.origin, birth.sequence));
    // An edit from here may have reached somebody who still held the row, and then it lives there under its old name.
    if (isNews && !staysItself) this.endFormer(state, id, cells, dots);
    for (const other of links) this.rows.same.set(state.identity, other, false);
    for (const other of others) endTogether({ rows: this.rows, knowledge: this.knowledge, placement: this.placement }, other);
    for (const { child, cid, shape: before } of children) {
      if (child.table === table && child.slot === slot) continue;
      const current = this.placement.related.again(child.birth);
      if (current?.place.kind !== "table") continue;
      // A key made of references is another key now.
      if (current.table.keyReferences.length > 0) this.rebear(current, result, before);
      else this.refer(current, cid, new Ref(birth.origin, birth.sequence));
    }
  }

  /** The row that has become another one is deleted under the name it had, by a write that everyone must get. */
  private endFormer(state: RowState, id: bigint | null, cells: readonly CellValue[], dots: ReturnType<typeof ownedDots>): void {
    const former: RowState = {
      ...state,
      place: { kind: "dead" },
      slot: UNSTORED,
      deletes: [endOfKnown(state, this.knowledge)],
      kept: false,
      hash: null,
    };
    this.rows.saveOut(former, false, id, cells, dots);
    if (this.placement.entities.concerns(former)) this.placement.entities.touch(former.birth);
  }

  /** The live rows that are one with this one. */
  private othersOf(state: RowState): Member[] {
    if (!this.placement.entities.concerns(state)) return [];
    return this.placement.members.entityOf(state).filter(({ state: other, alive }) => alive && !isSame(other, state));
  }

  /** Writes a reference anew: it means another row under the same integer, for all rows that are one with this one. */
  private refer(child: RowState, cid: number, ref: Ref): void {
    for (const { state, cells } of this.othersOf(child)) {
      const dots = ownedDots(state);
      replaceColumn(state, cid, localWrite(state, this.nowUs, registerOf(state, cid), this.knowledge), this.knowledge);
      this.rows.saveRegisters(
        state,
        cells.map((cell, at) => (state.table.indexOf.get(cid) === at ? ref : cell)),
        dots,
      );
      this.placement.entities.touch(child.birth);
    }
    const values = this.rows.tableValues(child);
    if (!values) return;
    const before = ownedDots(child);
    replaceColumn(child, cid, localWrite(child, this.nowUs, registerOf(child, cid), this.knowledge), this.knowledge);
    this.rows.saveInTable(child, child.table.surrogate ? child.slot : null, values, before);
  }

  private nameNow(cell: CellValue | undefined): Ref | undefined {
    return cell instanceof Ref ? this.renamed.get(`${cell.origin}:${cell.sequence}`) : undefined;
  }

  /** The natural key of a row out of its table, by the names that rows have now; null where it has none. */
  private renamedKey(state: RowState): Buffer | null {
    if (state.key === null || state.table.keyReferences.length === 0) return state.key;
    return packKey(
      state.table.key,
      this.rows.keys.keyCells(state).map((cell) => this.nameNow(cell) ?? cell),
    );
  }

  /** Rows that wait refer to rows by their names, also in their keys: there they become others. */
  private followRenamed(result: Rejoined): void {
    if (this.renamed.size === 0) return;
    for (const state of this.rows.waiting()) {
      const key = this.renamedKey(state);
      if (key !== null && !state.key?.equals(key)) this.rebear(state, result);
    }
    for (const state of this.rows.waiting()) {
      const cells = [...this.rows.cells(state)];
      const shown = this.placement.entities.shown(state);
      const moved = state.table.references.filter(({ index }) => {
        const now = this.nameNow(shown[index]);
        if (now) cells[index] = now;
        return now !== undefined;
      });
      if (moved.length === 0) continue;
      const before = ownedDots(state);
      for (const { index } of moved) {
        const { cid } = state.table.columns[index] as { cid: number };
        replaceColumn(state, cid, localWrite(state, this.nowUs, registerOf(state, cid), this.knowledge), this.knowledge);
      }
      if (state.place.kind === "waiting" && state.place.blocker) {
        const { origin, sequence } = state.place.blocker;
        state.place = { ...state.place, blocker: this.renamed.get(`${origin}:${sequence}`) ?? state.place.blocker };
      }
      this.rows.saveOut(state, false, this.placement.related.wanted(state), cells, before);
    }
  }

  private forgetInTable(state: RowState): void {
    if (state.hash) this.rows.digest.remove(state.table.tid, state.hash);
    this.rows.eraseFromTable(state);
  }

  /** Keeps the last values of a row that was deleted elsewhere, for a person. */
  private remember(state: RowState, key: SqlValue[] | null, cells: readonly CellValue[], result: Rejoined): void {
    result.gone++;
    const { table } = state;
    const image = Object.fromEntries(table.columns.map((column, i) => [column.name, valueText(cells[i] ?? null)]));
    this.db
      .prepare("INSERT INTO _scoutsync_gone(tid, key, image, at) VALUES(?, ?, ?, ?)")
      .run(table.tid, key ? keyText(key) : String(state.claim), JSON.stringify(image), this.nowUs);
  }
}

function notTheSameTable({ name }: Table): SyncError {
  return new SyncError({
    code: "SCHEMA_UNSUPPORTED",
    message: `the peer lacks rows of "${name}" that are here, and its table is another one, so nobody can tell whether they were deleted`,
    action:
      "Nothing was changed. Run the application's migrations so that both have the same tables and columns, or join again with another node.",
  });
}

const placeOf = (state: RowState): string => `${state.table.tid}:${state.slot}`;

function nameOf(table: Table, identity: Dot | null, key: Buffer | null): Buffer {
  const head = Buffer.from(`${table.tid}:${identity ? `${identity.origin}:${identity.sequence}` : ""}:`);
  return key === null ? head : Buffer.concat([head, key]);
}

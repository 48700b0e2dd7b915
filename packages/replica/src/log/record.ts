import {
  type Causality,
  type CellValue,
  PayloadWriter,
  putTally,
  RecordFlags,
  Ref,
  type SqlValue,
  SyncError,
  type Write,
} from "@scoutsync/core";
import type { Table } from "../schema/catalog.ts";
import { DeletedTargets, dependsOn } from "../rows/foreign-keys.ts";
import { type ColumnWrite, ownedDots, type RowState, type SameFact, valueOf, valuesIn } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { wireColumns } from "./wire-columns.ts";

/** Parents of parents are written first up to this many steps; what a longer chain lacks waits at the receiver. */
const DEEPEST_MENTION = 32;

interface Dot {
  origin: number;
  sequence: number;
}

/** True when the receiver has the dot. */
export type Covered = (origin: number, sequence: number) => boolean;

/** Writes row records into one payload. Remembers, for the length of a batch, which identities integers stand for. */
export class RecordWriter {
  readonly payload: PayloadWriter;
  private readonly rows: RowStore;
  private readonly covered: Covered;
  private readonly causality: Causality;
  private readonly forgotten: Covered;
  private readonly keeps: boolean;
  /** Deleted rows that rows of this batch refer to. */
  private readonly needed = new Set<string>();
  private readonly deletedTargets: DeletedTargets;
  /** By table, and by columns where a row's are not those of its table. */
  private readonly tableIndex = new Map<string | number, number>();
  private readonly mentioned = new Set<string>();
  private depth = 0;
  private readonly refs = new Map<number, Map<bigint, Ref | null>>();

  /** `forgotten` is true for dots that the receiver may have forgotten. `keeps`: deleted rows are kept here for what refers to them. */
  constructor(
    rows: RowStore,
    { covered, forgotten, keeps }: { covered: Covered; forgotten: Covered; keeps: boolean },
    causality: Causality,
    ...payload: ConstructorParameters<typeof PayloadWriter>
  ) {
    this.rows = rows;
    this.covered = covered;
    this.forgotten = forgotten;
    this.keeps = keeps;
    this.deletedTargets = new DeletedTargets(rows);
    this.causality = causality;
    this.payload = new PayloadWriter(...payload);
  }

  /** `cids` where the row's columns are not simply those of the table. */
  private begin(table: Table, flags: number, cids: readonly number[] | null = null): void {
    // A row of which only a part is held has no columns of its own, whatever its table has.
    const name = cids === null && table.absent === null ? table.tid : `${table.tid}:${cids?.join() ?? ""}`;
    let index = this.tableIndex.get(name);
    if (index === undefined) {
      const columns = cids === null ? table.columns.map((column) => column.name) : cids.map((cid) => columnName(table, cid));
      const { name: called, surrogate, keyless } = table;
      index = this.payload.table({ name: called, surrogate, keyless, keyParts: table.key.length, columns });
      this.tableIndex.set(name, index);
    }
    this.payload.body.varint(index);
    this.payload.flags(flags);
    this.payload.count++;
  }

  private refOf(parent: Table, id: bigint): Ref | null {
    let known = this.refs.get(parent.tid);
    if (!known) this.refs.set(parent.tid, (known = new Map()));
    let ref = known.get(id);
    if (ref === undefined) {
      known.set(id, (ref = this.rows.references.refOf(parent, id)));
      const state = ref && this.depth < DEEPEST_MENTION ? this.rows.byId(parent, id) : null;
      if (state) this.mention(state);
      else if (ref) this.mentionDeleted(this.rows.byIdentity(parent, ref.origin, ref.sequence));
    }
    return ref;
  }

  /** What rows in their table refer to by value and what is kept here for them. */
  private mentionKept(table: Table, id: bigint | null, values: readonly SqlValue[]): void {
    if (!this.keeps || this.depth >= DEEPEST_MENTION) return;
    this.depth++;
    for (const target of dependsOn(this.rows, table, id, values)) if (target.kept) this.mention(target);
    this.depth--;
  }

  /** Deleted rows to which one out of its table refers: they are kept for it, or are once it gets in. */
  private mentionMeant(state: RowState): void {
    if (this.depth >= DEEPEST_MENTION) return;
    const cells = this.rows.cells(state);
    this.depth++;
    for (const { index, parent } of state.table.references) {
      const ref = cells[index];
      if (ref instanceof Ref) this.mentionDeleted(this.rows.byIdentity(parent, ref.origin, ref.sequence));
    }
    const id = state.table.surrogate ? this.rows.outId(state) : null;
    for (const target of this.deletedTargets.of(state.table, id, cells)) this.mentionDeleted(target);
    this.depth--;
  }

  private mentionDeleted(state: RowState | null): void {
    if (!state || !this.covered(state.birth.origin, state.birth.sequence)) return;
    if (state.place.kind === "dead") this.needed.add(placeName(state));
    else if (!state.kept) return;
    this.mention(state);
  }

  /** True the first time a row is named in this batch. */
  private isFirst(state: RowState): boolean {
    const name = placeName(state);
    if (this.mentioned.has(name)) return false;
    this.mentioned.add(name);
    return true;
  }

  /**
   * Writes a row unless this batch has it: everything of it that the receiver lacks, and before it what it refers to.
   * A receiver that has no parent yet would have to keep every child aside until it comes. What is large in `state` and is not
   * in the batch may not be read afterwards.
   */
  mention(state: RowState): void {
    if (!this.isFirst(state)) return;
    const { payload } = this;
    const { table } = state;
    const refers = table.references.length > 0 || (this.keeps && table.dependsOn.length > 0);
    if (refers && state.place.kind === "table" && this.depth < DEEPEST_MENTION) {
      this.depth++;
      const values = this.rows.tableValues(state);
      for (const { index, parent } of table.references) {
        const id = values?.[index];
        // A number that is said to be nobody's asks for nobody.
        if (typeof id === "bigint" && state.own.get(table.columns[index]?.cid ?? -1) !== id) this.refOf(parent, id);
      }
      if (values) this.mentionKept(table, table.surrogate ? state.slot : null, values);
      this.depth--;
    }
    if (state.place.kind === "waiting" || this.needed.has(placeName(state))) this.mentionMeant(state);
    // What it is one entity with, too: the receiver need not put the row into its table only to take it out again.
    if (this.depth < DEEPEST_MENTION) {
      this.depth++;
      for (const { other, apart } of state.same) {
        const member = apart ? null : this.rows.byIdentity(state.table, other.origin, other.sequence);
        if (member) this.mention(member);
      }
      this.depth--;
    }
    let cells: readonly CellValue[] = [];
    this.row(state, () => {
      // NULLs would travel as if they were its values.
      if (state.table.keyless && state.place.kind === "table" && !this.rows.keys.keyValues(state)) throw vanished(state.table);
      return (cells = this.rows.cells(state));
    });
    for (const value of cells) payload.letGo(value);
    for (const value of valuesIn(state)) payload.letGo(value);
  }

  /** A row of a surrogate table that nothing but its birth has written. `values` start at `at`. */
  plain(
    table: Table,
    id: bigint,
    origin: number,
    sequence: number,
    time: number,
    context: number,
    values: readonly SqlValue[],
    at: number,
  ): void {
    const { payload } = this;
    const { references } = table;
    // Parents first: what is resolved here is remembered for the values below.
    for (const reference of references) {
      const parentId = values[at + reference.index];
      if (typeof parentId === "bigint") this.refOf(reference.parent, parentId);
    }
    if (this.keeps && table.dependsOn.length > 0) this.mentionKept(table, id, values.slice(at, at + table.columns.length));
    const linked = table.linked.length > 0 ? this.linkedCells(table, values, at) : null;
    this.begin(table, RecordFlags.birth);
    payload.origin(origin);
    payload.sequence(sequence);
    payload.stamp(time, context);
    payload.body.integer(id);
    let next = 0;
    for (let i = 0; i < table.columns.length; i++) {
      let value = values[at + i] as CellValue;
      if (next < references.length && (references[next] as { index: number }).index === i) {
        if (typeof value === "bigint") value = this.refOf((references[next] as { parent: Table }).parent, value) ?? value;
        next++;
      }
      payload.value(linked?.get(i) ?? value);
    }
  }

  /** By position, what integers mean that refer to rows of other databases. */
  private linkedCells(table: Table, values: readonly SqlValue[], at: number): Map<number, Ref> {
    const cells = new Map<number, Ref>();
    for (const { index, target } of table.linked) {
      const id = values[at + index];
      const ref = typeof id === "bigint" ? this.rows.linked.refOf(target, id) : null;
      if (ref) cells.set(index, ref);
    }
    return cells;
  }

  /**
   * True for a row that the receiver may have forgotten while it was deleted, and that there is news of: it travels with
   * everything there is to it. So does a deleted row that is kept for what refers to it, or is to be, and that is about to be
   * sent: what the receiver had forgotten when the stream was opened is not all by now.
   */
  private isWhole(state: RowState): boolean {
    if (state.partial || state.deletes.length === 0) return false;
    if (state.kept || this.needed.has(placeName(state))) return true;
    // Whoever knows of one of several deletes may have forgotten the row by it, also since the stream was opened.
    const knowsDelete = state.deletes.some(({ alive, origin, sequence }) => !alive && this.covered(origin, sequence));
    const mayBeGone = knowsDelete || this.forgotten(state.birth.origin, state.birth.sequence);
    const isDelete = ({ origin, sequence }: Dot) =>
      state.deletes.some((write) => !write.alive && write.origin === origin && write.sequence === sequence);
    return [...ownedDots(state).values()].some((dot) => !this.covered(dot.origin, dot.sequence) && (mayBeGone || !isDelete(dot)));
  }

  /** Every register of a row that the receiver lacks, each under its own dot. */
  private row(state: RowState, cells: () => readonly CellValue[]): void {
    const { payload } = this;
    const { table, birth } = state;
    const covered: Covered = this.isWhole(state) ? () => false : this.covered;
    const birthHere = !state.partial && !covered(birth.origin, birth.sequence);
    const byBirth = (write: Write) => write.origin === birth.origin && write.sequence === birth.sequence;
    const lacked = [...state.columns]
      .map(([cid, writes]) => [cid, writes.filter((write) => !covered(write.origin, write.sequence) && !byBirth(write))] as const)
      .filter(([, writes]) => writes.length > 0);
    // A value that went with its column has nothing to say any more. Its write still says, against a delete, that the row lives.
    const isGone = (cid: number, { value }: ColumnWrite) => value === undefined && !table.indexOf.has(cid);
    const gone = lacked.flatMap(([cid, writes]) => writes.filter((write) => isGone(cid, write)));
    const columns = lacked
      .map(([cid, writes]) => [cid, writes.filter((write) => !isGone(cid, write))] as const)
      .filter(([, writes]) => writes.length > 0);
    const deletes = [
      ...state.deletes.filter((write) => !covered(write.origin, write.sequence)),
      ...gone.map((write) => ({ ...write, alive: true })),
    ];
    const rekey = state.rekey && !covered(state.rekey.origin, state.rekey.sequence) ? state.rekey : null;
    const closed = state.closed.filter((record) => !covered(record.origin, record.sequence));
    const twins = state.twins.filter((write) => !covered(write.origin, write.sequence));
    // What the birth says of columns goes with it, what other writes say with them.
    const tallies = [...state.columns].flatMap(([cid, writes]) =>
      writes.flatMap((write) => (write.tally && !covered(write.origin, write.sequence) ? [{ cid, write, tally: write.tally }] : [])),
    );
    const same = state.same.filter((fact) => !covered(fact.origin, fact.sequence));
    const renamed = table.surrogate && (state.identity.origin !== birth.origin || state.identity.sequence !== birth.sequence);
    let flags = 0;
    if (birthHere) flags |= RecordFlags.birth;
    if (columns.length > 0) flags |= RecordFlags.columns;
    if (deletes.length > 0) flags |= RecordFlags.deletes;
    if (rekey) flags |= RecordFlags.rekey;
    if (closed.length > 0) flags |= RecordFlags.closed;
    if (twins.length > 0) flags |= RecordFlags.twins;
    if (birthHere && renamed) flags |= RecordFlags.renamedBirth;
    if (tallies.length > 0) flags |= RecordFlags.rules;
    if (same.length > 0) flags |= RecordFlags.same;
    if (flags === 0) return;
    const wire = wireColumns(state, birthHere, columns, this.causality);
    if (wire && birthHere && wire.unwritten.length > 0) flags |= RecordFlags.unwritten;
    this.begin(table, flags, wire?.cids);
    this.identity(state);
    // What lost has its value with it.
    const shows = columns.some(([, writes]) => writes.some(({ value }) => value === undefined));
    const values = birthHere || shows || twins.length > 0 ? cells() : [];
    const position = (cid: number) => (wire ? wire.indexOf.get(cid) : table.indexOf.get(cid));
    if (birthHere) {
      if (renamed || !table.surrogate) {
        payload.origin(birth.origin);
        payload.sequence(birth.sequence);
      }
      payload.stamp(birth.time, birth.context);
      if (table.surrogate) payload.body.integer(state.claim);
      // What the birth itself wrote: a column where it has been replaced travels as NULL, its writes follow.
      for (const cid of wire?.cids ?? table.columns.map((column) => column.cid)) {
        const value = values[table.indexOf.get(cid) ?? -1] ?? null;
        const writes = state.columns.get(cid);
        const own = writes?.find(byBirth);
        payload.value(writes === undefined ? value : own === undefined ? null : valueOf(own, value));
      }
    }
    if (flags & RecordFlags.unwritten && wire) {
      payload.body.varint(wire.unwritten.length);
      for (const cid of wire.unwritten) payload.body.varint(position(cid) as number);
    }
    if (columns.length > 0) {
      const known = columns.filter(([cid]) => position(cid) !== undefined);
      payload.body.varint(known.length);
      for (const [cid, writes] of known) {
        payload.body.varint(position(cid) as number);
        payload.body.varint(writes.length);
        for (const write of writes) {
          payload.write(write);
          payload.value(valueOf(write, values[table.indexOf.get(cid) ?? -1] ?? null));
        }
      }
    }
    if (deletes.length > 0) {
      payload.body.varint(deletes.length);
      for (const write of deletes) {
        payload.write(write);
        payload.body.byte(write.alive ? 1 : 0);
      }
    }
    if (rekey) {
      payload.body.varint(rekey.generation);
      payload.origin(rekey.origin);
      payload.sequence(rekey.sequence);
    }
    if (closed.length > 0) {
      const known = closed.filter(({ cid }) => position(cid) !== undefined);
      payload.body.varint(known.length);
      for (const record of known) {
        payload.body.varint(position(record.cid) as number);
        payload.write(record.loser);
        payload.value(record.value);
        payload.origin(record.origin);
        payload.sequence(record.sequence);
      }
    }
    if (twins.length > 0) this.twins(state, twins, values, position);
    if (tallies.length > 0) {
      const known = tallies.filter(({ cid }) => position(cid) !== undefined);
      payload.body.varint(known.length);
      for (const { cid, write, tally } of known) {
        payload.body.varint(position(cid) as number);
        payload.origin(write.origin);
        payload.sequence(write.sequence);
        putTally(tally, payload.body, payload);
      }
    }
    if (same.length > 0) this.same(same);
  }

  /** Decisions that the row and others are one, or are two. */
  private same(facts: readonly SameFact[]): void {
    const { payload } = this;
    payload.body.varint(facts.length);
    for (const { other, apart, origin, sequence } of facts) {
      payload.origin(other.origin);
      payload.body.varint(other.sequence);
      payload.body.byte(apart ? 1 : 0);
      payload.origin(origin);
      payload.sequence(sequence);
    }
  }

  /** Births beside the birth, and the values that all of them wrote. */
  private twins(
    state: RowState,
    twins: readonly Write[],
    values: readonly CellValue[],
    position: (cid: number) => number | undefined,
  ): void {
    const { payload } = this;
    payload.body.varint(twins.length);
    for (const twin of twins) payload.write(twin);
    const alike = state.table.columns.flatMap(({ cid }, index) => (state.columns.has(cid) ? [] : [{ cid, index }]));
    payload.body.varint(alike.length);
    for (const { cid, index } of alike) {
      payload.body.varint(position(cid) as number);
      payload.value(values[index] as CellValue);
    }
  }

  private identity(state: RowState): void {
    if (state.table.surrogate) {
      this.payload.origin(state.identity.origin);
      this.payload.sequence(state.identity.sequence);
    } else {
      const cells = this.rows.keys.keyCells(state);
      if (state.table.keyless && !(cells[0] instanceof Ref)) this.payload.needsNamesByContent();
      for (const cell of cells) this.payload.value(cell);
    }
  }
}

const placeName = ({ place, table, slot }: RowState): string => `${place.kind === "table" ? table.tid : -table.tid}:${slot}`;

/** A row that is known and is not in its table: somebody wrote past capture. */
export function vanished(table: Table): SyncError {
  return new SyncError({
    code: "DATABASE_FAILED",
    message: `a row of "${table.name}" went without being captured`,
    action:
      "Run `scoutsync verify` with this node, a peer and --repair: it compares the table with what is known and finds what changed behind its back.",
  });
}

function columnName(table: Table, cid: number): string {
  return table.columns[table.indexOf.get(cid) ?? -1]?.name ?? (table.lacking.get(cid) as string);
}

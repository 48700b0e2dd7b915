import {
  ByteReader,
  ByteWriter,
  type CellValue,
  losersAmong,
  memoryOf,
  putTally,
  releasePacked,
  takeTally,
  type Tally,
  type Write,
  asString,
} from "@scoutsync/core";
import type { Column, Table } from "../schema/catalog.ts";

/**
 * A write to a column with its value; the value of a winner is undefined while the row's own copy holds it. Where the
 * table lacks the column, or has not been given the value yet, the winner has it, too.
 */
export interface ColumnWrite extends Write {
  value: CellValue | undefined;
  /** What the write says beyond its value, under a rule that needs it. */
  tally?: Tally | undefined;
  /** The value of the latest of several writes that are combined: the row's own copy shows what they come to. */
  literal?: CellValue | undefined;
}

/** What a write wrote, where the row shows `shown`. */
export function valueOf({ value, literal }: ColumnWrite, shown: CellValue): CellValue {
  return value !== undefined ? value : literal !== undefined ? literal : shown;
}

/** A write to a row's existence: a delete, or a decision that the row lives after all. */
export interface ExistenceWrite extends Write {
  alive: boolean;
  /**
   * A delete by an application that put another row in this one's place: it changed the key, or wrote over it by an OR REPLACE. Known to
   * the node that wrote it alone.
   */
  replaced?: true;
}

/** A conflict that was settled: the losing write, and the dot of the write that knew it. */
export interface ClosedConflict {
  cid: number;
  loser: Write;
  value: CellValue;
  origin: number;
  sequence: number;
}

/**
 * A decision that this row and another are one entity, or (`apart`) are two for good: merged by maximum, without a
 * timestamp. Held by the one of the two whose identity is the greater.
 */
export interface SameFact {
  other: { origin: number; sequence: number };
  apart: boolean;
  origin: number;
  sequence: number;
}

/** The number of a row that is not stored yet: below every integer that SQLite can hold. */
export const UNSTORED = -(2n ** 64n);

/**
 * Where the row is: in its table, or in _scoutsync_out (deleted, waiting for a place, held as there is no such table, or one
 * of several rows that are one entity, which the row `rep` represents; null until that is decided, and where nothing can
 * refer to the row).
 */
export type Place =
  | { kind: "table" }
  | { kind: "dead" }
  /** `left`: the hash that the row had when its table stopped taking part, hexadecimal; "" for one that came from others since. */
  | { kind: "held"; left: string }
  | { kind: "joined"; rep: { origin: number; sequence: number } | null }
  | { kind: "waiting"; reason: WaitingReason; blocker: { origin: number; sequence: number } | null };

export type WaitingReason = "integer" | "unique" | "parent" | "constraint" | string;

/** Everything known of one row but its current values. */
export interface RowState {
  table: Table;
  place: Place;
  /** Number in _scoutsync_rows_<tid> (the row's integer where the key is surrogate) or in _scoutsync_out; UNSTORED when new. */
  slot: bigint;
  /** Surrogate keys: the dot that names the row. Natural keys: the first known birth, names nothing. */
  identity: { origin: number; sequence: number };
  /** Natural keys: the packed key values, references as identities. */
  key: Buffer | null;
  /** The write of the row's birth; columns that are here and have no entry in `columns` were written by it. */
  birth: Write;
  /**
   * Other births of the row, concurrent with `birth`: copies that moved apart before they were joined as shared. All of
   * them wrote the columns that have no writes of their own, each the same value.
   */
  twins: Write[];
  /** Surrogate keys: the integer its author gave it. */
  claim: bigint;
  /**
   * Writes by column. An empty list: nobody has written the column, which has its default; known only of rows
   * that are not named by their birth, as others may have written it before a birth that did not.
   */
  columns: Map<number, ColumnWrite[]>;
  /** The existence register: deletes and revivals that nobody who wrote later knew. */
  deletes: ExistenceWrite[];
  rekey: { generation: number; origin: number; sequence: number } | null;
  closed: ClosedConflict[];
  same: SameFact[];
  /**
   * By column, what this row itself says where its table shows something else: the value of another member of its
   * entity, or the integer of the row that represents the one referred to. Empty for rows out of their table.
   */
  own: Map<number, CellValue>;
  /** Deleted, but in the table because a concurrent write refers to it. */
  kept: boolean;
  /**
   * The birth is not here: only later writes have come, to a row that went with a dropped table. `birth` is no write then.
   * Held until somebody sends the row whole.
   */
  partial?: true;
  /**
   * Of a row that another stands for: columns that the table has now and whose values are still held. The table has not shown
   * them, so that nobody who writes to it knows of them.
   */
  late?: ReadonlySet<number>;
  /** 16 bytes; null when the row is not in its table. */
  hash: Buffer | null;
}

/** A row of which nothing is known but its birth, and which is not stored yet. */
export function newState({
  table,
  place,
  identity = null,
  key,
  birth,
  claim = 0n,
}: Pick<RowState, "table" | "place" | "key" | "birth"> & { identity?: RowState["identity"] | null; claim?: bigint }): RowState {
  return {
    table,
    place,
    slot: UNSTORED,
    identity: identity ?? { origin: birth.origin, sequence: birth.sequence },
    key,
    birth,
    claim,
    twins: [],
    columns: new Map(),
    deletes: [],
    rekey: null,
    closed: [],
    same: [],
    own: new Map(),
    kept: false,
    hash: null,
  };
}

const Extra = {
  identity: 1,
  claim: 2,
  columns: 4,
  deletes: 8,
  rekey: 16,
  closed: 32,
  kept: 64,
  rules: 512,
  entity: 256,
  partial: 1024,
  twins: 2048,
} as const;

/** What a write to a row's existence says, as it is stored. */
const Existence = { deleted: 0, alive: 1, replaced: 2 } as const;

function putWrite(out: ByteWriter, write: Write): void {
  out.varint(write.origin);
  out.varint(write.sequence);
  out.varint(write.time);
  out.varint(write.context);
}

function takeWrite(from: ByteReader): Write {
  return { origin: from.varint(), sequence: from.varint(), time: from.varint(), context: from.varint() };
}

/** Every write that has a tally. */
function talliesOf(state: RowState): { cid: number; write: ColumnWrite; tally: Tally }[] {
  const found: { cid: number; write: ColumnWrite; tally: Tally }[] = [];
  for (const [cid, writes] of state.columns) for (const write of writes) if (write.tally) found.push({ cid, write, tally: write.tally });
  return found;
}

/** False where the first byte of what `packExtra` gave says that the row has no settled conflicts. */
export const mayHoldSettled = (extra: Uint8Array): boolean => ((extra[0] ?? 0) & Extra.closed) !== 0;

/** Packs what a plain row does not have; null for a plain row, which is most of them. */
export function packExtra(state: RowState, id: bigint | null): Buffer | null {
  let flags = 0;
  const renamed =
    state.table.surrogate && (state.identity.origin !== state.birth.origin || state.identity.sequence !== state.birth.sequence);
  if (renamed) flags |= Extra.identity;
  if (state.table.surrogate && state.claim !== id) flags |= Extra.claim;
  if (state.columns.size > 0) flags |= Extra.columns;
  if (state.deletes.length > 0) flags |= Extra.deletes;
  if (state.rekey) flags |= Extra.rekey;
  if (state.closed.length > 0) flags |= Extra.closed;
  if (state.kept) flags |= Extra.kept;
  const tallies = talliesOf(state);
  if (tallies.length > 0) flags |= Extra.rules;
  if (state.twins.length > 0) flags |= Extra.twins;
  if (state.partial) flags |= Extra.partial;
  if (state.same.length > 0 || state.own.size > 0) flags |= Extra.entity;
  if (flags === 0) return null;
  const out = ByteWriter.withRoomFor(valuesIn(state));
  out.varint(flags);
  if (flags & Extra.identity) {
    out.varint(state.identity.origin);
    out.varint(state.identity.sequence);
  }
  if (flags & Extra.claim) out.integer(state.claim);
  if (flags & Extra.columns) {
    out.varint(state.columns.size);
    for (const [cid, writes] of state.columns) {
      out.varint(cid);
      out.varint(writes.length);
      for (const write of writes) {
        putWrite(out, write);
        out.byte(write.value === undefined ? 0 : 1);
        if (write.value !== undefined) out.value(write.value);
      }
    }
  }
  if (flags & Extra.deletes) {
    out.varint(state.deletes.length);
    for (const write of state.deletes) {
      putWrite(out, write);
      out.byte(write.alive ? Existence.alive : write.replaced ? Existence.replaced : Existence.deleted);
    }
  }
  if (state.rekey) {
    out.varint(state.rekey.generation);
    out.varint(state.rekey.origin);
    out.varint(state.rekey.sequence);
  }
  if (flags & Extra.closed) {
    out.varint(state.closed.length);
    for (const closed of state.closed) {
      out.varint(closed.cid);
      putWrite(out, closed.loser);
      out.value(closed.value);
      out.varint(closed.origin);
      out.varint(closed.sequence);
    }
  }
  if (flags & Extra.rules) {
    out.varint(tallies.length);
    for (const { cid, write, tally } of tallies) {
      out.varint(cid);
      out.varint(write.origin);
      out.varint(write.sequence);
      putTally(tally, out, {
        origin: (origin) => out.varint(origin),
        value: (value) => out.value(value),
      });
      out.byte(write.literal === undefined ? 0 : 1);
      if (write.literal !== undefined) out.value(write.literal);
    }
  }
  if (flags & Extra.twins) {
    out.varint(state.twins.length);
    for (const twin of state.twins) putWrite(out, twin);
  }
  if (flags & Extra.entity) {
    out.varint(state.same.length);
    for (const { other, apart, origin, sequence } of state.same)
      for (const number of [other.origin, other.sequence, apart ? 1 : 0, origin, sequence]) out.varint(number);
    out.varint(state.own.size);
    for (const [cid, value] of state.own) {
      out.varint(cid);
      out.value(value);
    }
  }
  return out.takeBytes();
}

/** Values that are known of a row besides those in its table or image. */
export function* valuesIn({ columns, closed, own }: RowState): Generator<CellValue> {
  for (const writes of columns.values()) for (const { value } of writes) if (value !== undefined) yield value;
  for (const { value } of closed) yield value;
  yield* own.values();
}

/** Gives back the memory of these values, but of what lies where one of those does that are `kept`. */
export function releaseBut(values: Iterable<CellValue>, kept: Iterable<CellValue>): void {
  const left = new Set([...kept].map(memoryOf));
  for (const value of values) if (!left.has(memoryOf(value))) releasePacked(value);
}

/** Gives back the memory of a row that was read, `cells` its values, and that nobody looks at again. */
export function releaseRead(state: RowState, cells: Iterable<CellValue>): void {
  for (const value of [...cells, ...valuesIn(state)]) releasePacked(value);
}

/** The inverse of `packExtra`, onto a state that holds a plain row. */
export function unpackExtra(state: RowState, extra: Buffer | null): void {
  if (extra === null) return;
  const from = new ByteReader(extra, state.table.utf8);
  const flags = from.varint();
  if (flags & Extra.identity) state.identity = { origin: from.varint(), sequence: from.varint() };
  if (flags & Extra.claim) state.claim = from.value() as bigint;
  if (flags & Extra.columns) {
    for (let columns = from.varint(); columns > 0; columns--) {
      const cid = from.varint();
      const writes: ColumnWrite[] = [];
      for (let left = from.varint(); left > 0; left--) {
        const write = takeWrite(from);
        writes.push({ ...write, value: from.byte() === 0 ? undefined : from.value() });
      }
      state.columns.set(cid, writes);
    }
  }
  if (flags & Extra.deletes)
    for (let left = from.varint(); left > 0; left--) {
      const write = takeWrite(from);
      const said = from.byte();
      state.deletes.push({ ...write, alive: said === Existence.alive, ...(said === Existence.replaced && { replaced: true }) });
    }
  if (flags & Extra.rekey) state.rekey = { generation: from.varint(), origin: from.varint(), sequence: from.varint() };
  if (flags & Extra.closed) {
    for (let left = from.varint(); left > 0; left--) {
      const cid = from.varint();
      const loser = takeWrite(from);
      const value = from.value();
      state.closed.push({ cid, loser, value, origin: from.varint(), sequence: from.varint() });
    }
  }
  state.kept = (flags & Extra.kept) !== 0;
  if (flags & Extra.rules) {
    for (let left = from.varint(); left > 0; left--) {
      const cid = from.varint();
      const [origin, sequence] = [from.varint(), from.varint()];
      const tally = takeTally(from, { origin: () => from.varint(), value: () => from.value() });
      const write = state.columns.get(cid)?.find((held) => held.origin === origin && held.sequence === sequence);
      const literal = from.byte() === 0 ? undefined : asString(from.value());
      if (write) Object.assign(write, { tally, literal });
    }
  }
  if (flags & Extra.twins) for (let left = from.varint(); left > 0; left--) state.twins.push(takeWrite(from));
  if (flags & Extra.partial) state.partial = true;
  if (flags & Extra.entity) {
    for (let left = from.varint(); left > 0; left--) {
      const other = { origin: from.varint(), sequence: from.varint() };
      state.same.push({ other, apart: from.varint() === 1, origin: from.varint(), sequence: from.varint() });
    }
    for (let left = from.varint(); left > 0; left--) state.own.set(from.varint(), from.value());
  }
}

/** All dots that own something in the row, as `origin:sequence` of local numbers. */
export function ownedDots(state: RowState): Map<string, { origin: number; sequence: number }> {
  const dots = new Map<string, { origin: number; sequence: number }>();
  const add = ({ origin, sequence }: { origin: number; sequence: number }) => dots.set(`${origin}:${sequence}`, { origin, sequence });
  if (!state.partial) add(state.birth);
  state.twins.forEach(add);
  for (const writes of state.columns.values()) writes.forEach(add);
  state.deletes.forEach(add);
  if (state.rekey) add(state.rekey);
  state.closed.forEach(add);
  state.same.forEach(add);
  return dots;
}

/** True where one of these columns has several writes: what lost in one that was gone counts as open once it is back. */
export const isContested = ({ columns }: RowState, cids: readonly number[]): boolean =>
  cids.some((cid) => (columns.get(cid)?.length ?? 0) > 1);

/** Writes that lost against a concurrent one and that nobody has settled. */
export function openConflicts(state: RowState): number {
  let open = 0;
  for (const [cid, writes] of state.columns) {
    const index = state.table.indexOf.get(cid);
    if (writes.length > 1 && index !== undefined)
      open += losersAmong(
        (state.table.columns[index] as Column).rule,
        writes.map((write) => ({ tally: write.tally, value: valueOf(write, null) })),
      );
  }
  return open;
}

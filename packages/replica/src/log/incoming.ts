import {
  type CellValue,
  keyKind,
  MalformedBytes,
  type PayloadReader,
  RecordFlags,
  SyncError,
  type TableHead,
  takeTally,
  type Tally,
  type Write,
} from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import { isAlive } from "../rows/registers.ts";
import { isKeylessName } from "../rows/content-names.ts";
import type { ClosedConflict, ColumnWrite, ExistenceWrite, SameFact } from "../rows/row-state.ts";
import { showKey } from "../rows/row-keys.ts";
import type { RowStore } from "../rows/row-store.ts";
import { addAbsentTable, lackedColumn } from "../schema/absent.ts";
import { tableFormerly } from "../schema/install.ts";
import type { Column, Table } from "../schema/catalog.ts";
import { cellIn } from "../schema/spelled.ts";

/** A table of the batch as this replica knows it. */
export interface IncomingTable {
  table: Table;
  /** Position in the local catalog of each column of the wire; -1 where the table lacks it. */
  positions: number[];
  /** Local number of each column of the wire. */
  cids: number[];
  /** The table lacks none of the wire's columns. */
  complete: boolean;
  /** Columns of ours that the wire's rows have not. */
  unwritten: ReadonlySet<number>;
  /** The wire's columns are exactly ours, in our order. */
  same: boolean;
}

/** One row record; writes carry local numbers, columns are local ones. */
export interface IncomingRow {
  table: Table;
  /** Surrogate keys. */
  identity: { origin: number; sequence: number } | null;
  /** Natural keys: the parts, references as identities. */
  key: CellValue[] | null;
  birth: Write | null;
  claim: bigint;
  /** With a birth: values in catalog order. */
  values: CellValue[];
  /** With a birth: its values of columns that this table lacks. */
  held: { cid: number; value: CellValue }[];
  /** Columns of this table that the birth has not written: it was made where they did not exist. */
  unwritten: ReadonlySet<number>;
  columns: { cid: number; writes: ColumnWrite[] }[];
  deletes: ExistenceWrite[];
  rekey: { generation: number; origin: number; sequence: number } | null;
  closed: ClosedConflict[];
  /** Births beside the birth, and what all births wrote; columns that are not among these have writes of their own. */
  twins: Write[];
  twinValues: { cid: number; value: CellValue }[];
  /** What the birth says of columns with a combining rule, by column. */
  tallies: ReadonlyMap<number, Tally>;
  same: SameFact[];
}

/** Finds the batch's tables here. Tables and columns that this database lacks are catalogued: what is written to them is held. */
export function incomingTables(reader: PayloadReader, rows: RowStore, nowUs: number): IncomingTable[] {
  return reader.head.tables.map((head) => {
    // No replica sends these: SQLite's own tables, and those in which sync itself remembers.
    if (/^(_scoutsync_|sqlite_)/i.test(head.name)) throw new MalformedBytes("rows for a table that is never synced");
    const table = tableOf(head, rows, nowUs);
    const byName = new Map(table.columns.map((column, index) => [column.name, index]));
    const positions = head.columns.map((name) => byName.get(name) ?? -1);
    const cids = head.columns.map((name, i) => {
      const position = positions[i] as number;
      return position >= 0 ? (table.columns[position] as Column).cid : lackedColumn(rows.db, table, name, nowUs);
    });
    const complete = table.absent === null && !positions.includes(-1);
    const here = new Set(cids);
    return {
      table,
      positions,
      cids,
      complete,
      same: complete && positions.length === table.columns.length && positions.every((position, i) => position === i),
      unwritten: new Set(table.columns.map(({ cid }) => cid).filter((cid) => !here.has(cid))),
    };
  });
}

function isKindOf(table: Table, head: TableHead): boolean {
  return (
    table.surrogate === head.surrogate &&
    table.keyless === (head.keyless ?? false) &&
    (head.surrogate || head.keyParts === 0 || head.keyParts === table.key.length)
  );
}

function tableOf(head: TableHead, rows: RowStore, nowUs: number): Table {
  const table = [...rows.tables, ...rows.absent].find((each) => each.name === head.name && isKindOf(each, head));
  if (table?.absent === null) return table;
  const formerly = tableFormerly(rows.db, head.name);
  const renamed = formerly === null ? undefined : rows.byTid(formerly);
  if (renamed?.absent === null && isKindOf(renamed, head)) return renamed;
  if (table) return table;
  if (!head.surrogate && head.keyParts === 0) {
    throw new SyncError({
      code: "SCHEMA_UNSUPPORTED",
      message: `the peer has changes for table "${head.name}", which this database does not have, and its version does not say how their keys are made`,
      action: "Upgrade the peer, or run the application's migration on this server; the changes stay with the peer until then.",
    });
  }
  const absent = addAbsentTable(rows.db, rows.tables, head.name, keyKind(head), nowUs);
  rows.addAbsent(absent);
  rows.shared.nameTables([absent]);
  return absent;
}

/** True for a record of a row whose delete has won: taking it can bring nothing back. */
export function isDeleted({ birth, columns, deletes }: IncomingRow, knowledge: Knowledge): boolean {
  return birth !== null && !isAlive({ birth, deletes, columns: new Map(columns.map(({ cid, writes }) => [cid, writes])) }, knowledge);
}

/** Gives the batch's origins and contexts their local numbers. */
export function resolveHead(reader: PayloadReader, knowledge: Knowledge): void {
  const origins = reader.head.origins.map(({ origin, author }) => {
    if (!/^[a-z2-7]{16}$/.test(origin)) throw new MalformedBytes("an origin has another form");
    return knowledge.origin(origin, author);
  });
  reader.head.origins.forEach(({ source }, i) => {
    if (source !== undefined) knowledge.noteSource(origins[i] as number, origins[source] as number);
  });
  const contexts = reader.head.contexts.map((entries) => {
    const vector = new Map<number, number>();
    for (const [index, sequence] of entries) {
      const origin = origins[index];
      if (origin === undefined) throw new MalformedBytes("unknown origin index");
      vector.set(origin, sequence);
    }
    return knowledge.contextOf(vector);
  });
  reader.resolve(origins, contexts);
}

/** Reads the rest of a record whose table and flags have been read. */
export function readRow(reader: PayloadReader, incoming: IncomingTable, flags: number): IncomingRow {
  const { body } = reader;
  const { table, positions, cids } = incoming;
  const row: IncomingRow = {
    table,
    identity: null,
    key: null,
    birth: null,
    claim: 0n,
    values: [],
    held: [],
    unwritten: incoming.unwritten,
    columns: [],
    deletes: [],
    rekey: null,
    closed: [],
    twins: [],
    twinValues: [],
    tallies: new Map(),
    same: [],
  };
  if (table.surrogate) row.identity = { origin: reader.origin(), sequence: reader.sequence() };
  else row.key = table.key.map(() => reader.value());
  if (table.keyless && !isKeylessName(row.key?.[0]))
    throw new MalformedBytes("a row without a key has neither a birth nor its content for a name");
  if (flags & RecordFlags.birth) {
    const own = !table.surrogate || (flags & RecordFlags.renamedBirth) !== 0;
    const dot = own ? { origin: reader.origin(), sequence: reader.sequence() } : (row.identity as { origin: number; sequence: number });
    const time = reader.time();
    row.birth = { ...dot, time, context: reader.context() };
    if (table.surrogate) {
      const claim = body.value();
      if (typeof claim !== "bigint") throw new MalformedBytes("a claimed key is not an integer");
      row.claim = claim;
    }
    row.values = table.columns.map((column) => column.fallback);
    positions.forEach((position, i) => {
      const value = reader.value();
      if (position >= 0) row.values[position] = cellIn(table.columns[position], value);
      else row.held.push({ cid: cids[i] as number, value });
    });
  }
  const valueOf = (cid: number) => cellIn(table.columns[table.indexOf.get(cid) ?? -1], reader.value());
  const column = () => {
    const cid = cids[body.varint()];
    if (cid === undefined) throw new MalformedBytes("unknown column index");
    return cid;
  };
  if (flags & RecordFlags.unwritten) {
    const unwritten = new Set(incoming.unwritten);
    for (let left = body.varint(); left > 0; left--) unwritten.add(column());
    row.unwritten = unwritten;
    for (const cid of unwritten) {
      const index = table.indexOf.get(cid);
      if (index !== undefined) row.values[index] = (table.columns[index] as Column).fallback;
    }
    row.held = row.held.filter(({ cid }) => !unwritten.has(cid));
  }
  if (row.birth) showKey(row);
  if (flags & RecordFlags.columns) {
    for (let left = body.varint(); left > 0; left--) {
      const cid = column();
      const writes: ColumnWrite[] = [];
      for (let more = body.varint(); more > 0; more--) {
        const write = reader.write();
        writes.push({ ...write, value: valueOf(cid) });
      }
      row.columns.push({ cid, writes });
    }
  }
  if (flags & RecordFlags.deletes)
    for (let left = body.varint(); left > 0; left--) row.deletes.push({ ...reader.write(), alive: body.byte() === 1 });
  if (flags & RecordFlags.rekey) row.rekey = { generation: body.varint(), origin: reader.origin(), sequence: reader.sequence() };
  if (flags & RecordFlags.closed) {
    for (let left = body.varint(); left > 0; left--) {
      const cid = column();
      const loser = reader.write();
      const value = valueOf(cid);
      row.closed.push({ cid, loser, value, origin: reader.origin(), sequence: reader.sequence() });
    }
  }
  if (flags & RecordFlags.twins) {
    for (let left = body.varint(); left > 0; left--) row.twins.push(reader.write());
    for (let left = body.varint(); left > 0; left--) {
      const cid = column();
      row.twinValues.push({ cid, value: valueOf(cid) });
    }
  }
  if (flags & RecordFlags.rules) {
    const tallies = new Map<number, Tally>();
    for (let left = body.varint(); left > 0; left--) {
      const cid = column();
      const dot = { origin: reader.origin(), sequence: reader.sequence() };
      const same = (write: Write) => write.origin === dot.origin && write.sequence === dot.sequence;
      const tally = takeTally(body, reader);
      const write = row.columns.find((held) => held.cid === cid)?.writes.find(same);
      if (write) write.tally = tally;
      else if (row.birth && same(row.birth)) tallies.set(cid, tally);
    }
    row.tallies = tallies;
  }
  if (flags & RecordFlags.same) {
    for (let left = body.varint(); left > 0; left--) {
      const other = { origin: reader.origin(), sequence: body.varint() };
      row.same.push({ other, apart: body.byte() === 1, origin: reader.origin(), sequence: reader.sequence() });
    }
  }
  return row;
}

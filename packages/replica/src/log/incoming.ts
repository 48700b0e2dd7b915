import { type CellValue, MalformedBytes, type PayloadReader, RecordFlags, Ref, SyncError, type Write } from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import type { ClosedConflict, ColumnWrite, ExistenceWrite } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import type { Table } from "../schema/catalog.ts";

/** A table of the batch as this replica knows it. */
export interface IncomingTable {
  table: Table;
  /** Position in the local catalog of each column of the wire. */
  positions: number[];
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
  columns: { cid: number; writes: ColumnWrite[] }[];
  deletes: ExistenceWrite[];
  rekey: { generation: number; origin: number; sequence: number } | null;
  closed: ClosedConflict[];
}

/** Finds the batch's tables here. A table or column that this database lacks stops the batch: nothing of it is lost, the peer keeps it. */
export function incomingTables(reader: PayloadReader, rows: RowStore): IncomingTable[] {
  return reader.head.tables.map((head) => {
    const table = rows.tableNamed(head.name);
    if (!table) throw missing(`the peer has changes for table "${head.name}", which this database does not have or does not sync`);
    if (table.surrogate !== head.surrogate || table.keyless !== (head.keyless ?? false))
      throw missing(`table "${head.name}" has another kind of primary key on the peer`);
    const byName = new Map(table.columns.map((column, index) => [column.name, index]));
    const positions = head.columns.map((name) => {
      const index = byName.get(name);
      if (index === undefined) throw missing(`the peer has values for column "${head.name}.${name}", which this database does not have`);
      return index;
    });
    return { table, positions, same: positions.length === table.columns.length && positions.every((position, i) => position === i) };
  });
}

function missing(message: string): SyncError {
  return new SyncError({
    code: "SCHEMA_UNSUPPORTED",
    message,
    action: "Run the application's migration on this server too; the changes stay with the peer until then.",
  });
}

/** Gives the batch's origins and contexts their local numbers. */
export function resolveHead(reader: PayloadReader, knowledge: Knowledge): void {
  const origins = reader.head.origins.map(({ origin, author }) => {
    if (!/^[a-z2-7]{16}$/.test(origin)) throw new MalformedBytes("an origin has another form");
    return knowledge.origin(origin, author);
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

/** The value of a column: a reference only where this schema has one too. */
export function columnValue(reader: PayloadReader, table: Table, position: number): CellValue {
  const value = reader.value();
  if (value instanceof Ref && !table.references.some(({ index }) => index === position)) {
    throw missing(
      `the peer has a reference in "${table.name}.${table.columns[position]?.name}", where this database declares no foreign key`,
    );
  }
  return value;
}

/** Reads the rest of a record whose table and flags have been read. */
export function readRow(reader: PayloadReader, { table, positions }: IncomingTable, flags: number): IncomingRow {
  const { body } = reader;
  const row: IncomingRow = {
    table,
    identity: null,
    key: null,
    birth: null,
    claim: 0n,
    values: [],
    columns: [],
    deletes: [],
    rekey: null,
    closed: [],
  };
  if (table.surrogate) row.identity = { origin: reader.origin(), sequence: reader.sequence() };
  else row.key = table.key.map(() => reader.value());
  if (table.keyless && !(row.key?.[0] instanceof Ref)) throw new MalformedBytes("a row without a key has no birth for a name");
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
    for (const position of positions) row.values[position] = columnValue(reader, table, position);
  }
  const column = () => {
    const position = positions[body.varint()];
    if (position === undefined) throw new MalformedBytes("unknown column index");
    return { position, cid: (table.columns[position] as { cid: number }).cid };
  };
  if (flags & RecordFlags.columns) {
    for (let left = body.varint(); left > 0; left--) {
      const { position, cid } = column();
      const writes: ColumnWrite[] = [];
      for (let more = body.varint(); more > 0; more--) {
        const write = reader.write();
        writes.push({ ...write, value: columnValue(reader, table, position) });
      }
      row.columns.push({ cid, writes });
    }
  }
  if (flags & RecordFlags.deletes)
    for (let left = body.varint(); left > 0; left--) row.deletes.push({ ...reader.write(), alive: body.byte() === 1 });
  if (flags & RecordFlags.rekey) row.rekey = { generation: body.varint(), origin: reader.origin(), sequence: reader.sequence() };
  if (flags & RecordFlags.closed) {
    for (let left = body.varint(); left > 0; left--) {
      const { position, cid } = column();
      const loser = reader.write();
      const value = columnValue(reader, table, position);
      row.closed.push({ cid, loser, value, origin: reader.origin(), sequence: reader.sequence() });
    }
  }
  return row;
}

import { formatVector } from "@scoutsync/core";
import type { Review, SqlValue } from "@scoutsync/core";
import { FleetLedger, takeSnapshot, textOf, type LedgerRow, type SeenRow, type Snapshot } from "./ledger.ts";
import type { SimulatedNode } from "./node.ts";
import type { FleetOptions } from "./options.ts";
import type { ModelTable } from "./schema.ts";

/** Everything one node holds in the end. */
interface Held {
  node: SimulatedNode;
  vector: string;
  tables: string;
  rows: Snapshot;
  reviews: Review[];
  /** Markers of parked rows. */
  parked: Set<string>;
  /** Every byte of what is kept outside of the tables. */
  kept: string;
}

/** Authors that wrote to a row, or to one that ever referred to it, or to one that referred to that. */
function authorsOf(row: LedgerRow): Set<number> {
  const met = new Set([row]);
  for (const one of met) for (const referrer of one.referrers) met.add(referrer);
  return new Set([...met].flatMap(({ touched }) => [...touched]));
}

/** Every row of every table as it stands in the file. */
export function shownTables({ connections }: SimulatedNode, tables: readonly ModelTable[]): string[] {
  return tables.map(({ name, key }) => {
    const order = key.kind === "none" ? "m" : key.columns.map((column) => column.name).join(", ");
    const rows = connections[0]?.db.prepare(`SELECT * FROM ${name} ORDER BY ${order}`).safeIntegers(true).raw(true).all() ?? [];
    return `${name}: ${(rows as SqlValue[][]).map((row) => row.map(textOf).join(" ")).join("; ")}`;
  });
}

/** What lost in a column that the table has not any more: the one conflict of a column in which nothing is known to have won. */
const isOfGoneColumn = ({ kind, column, winner }: Review): boolean => kind === "conflict" && column !== "" && winner === null;

/** Compares what the replicas hold in the end with each other and with what writers were told. */
export class FleetVerdict {
  private readonly ledger: FleetLedger;
  private readonly nodes: readonly SimulatedNode[];
  private readonly tables: readonly ModelTable[];
  private readonly options: FleetOptions;
  private readonly returned: ReadonlyMap<string, number>;
  private readonly failures: string[] = [];

  /** `returned`: tables that each node had dropped before it made them again, with the release in which they are back. */
  constructor(
    ledger: FleetLedger,
    nodes: readonly SimulatedNode[],
    tables: readonly ModelTable[],
    options: FleetOptions,
    returned: ReadonlyMap<string, number>,
  ) {
    this.ledger = ledger;
    this.nodes = nodes;
    this.tables = tables;
    this.options = options;
    this.returned = returned;
  }

  check(): string[] {
    const held = this.nodes.map((node) => this.look(node));
    const [first] = held as [Held, ...Held[]];
    for (const one of held) {
      this.compare(first, one);
      this.checkFile(one.node);
      for (const row of this.ledger.rows.values()) this.checkRow(one, row);
    }
    return this.failures;
  }

  private look(node: SimulatedNode): Held {
    const { replica, connections } = node;
    const db = connections[0]?.db;
    if (!replica || !db) throw new Error(`${node.name} is down`);
    const reviews = replica.reviews({ kind: "", id: "", limit: 100_000 });
    const parked = reviews
      .filter(({ kind }) => kind === "parked")
      .map(({ image }) => image?.find(({ name }) => name === "m")?.value as string);
    const outside = ["SELECT image FROM _scoutsync_out", "SELECT extra FROM _scoutsync_out"];
    const stores = db.prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE '\\_scoutsync\\_rows%' ESCAPE '\\'");
    outside.push(...(stores.pluck().all() as string[]).map((name) => `SELECT extra FROM ${name}`));
    const kept = outside.flatMap((sql) =>
      (db.prepare(sql).pluck().all() as (Buffer | null)[]).map((blob) => blob?.toString("latin1") ?? ""),
    );
    return {
      node,
      vector: formatVector(replica.state().vector),
      tables: shownTables(node, this.tables).join("\n"),
      rows: takeSnapshot(db, this.tables),
      reviews,
      parked: new Set(parked),
      kept: kept.join("\n"),
    };
  }

  private compare(a: Held, b: Held): void {
    const pair = `${a.node.name} and ${b.node.name}`;
    if (a.vector !== b.vector) this.failures.push(`R7 the vectors of ${pair} differ`);
    if (a.tables !== b.tables) this.failures.push(`R2 the tables of ${pair} differ\n${a.tables}\n--\n${b.tables}`);
    const audit = ({ reviews }: Held) =>
      reviews
        // What a node holds for columns that it does not have depends on when it dropped them.
        .filter(({ kind }) => kind !== "schema" && kind !== "identity")
        // So does whether it knows that a value lost there: the birth that won wrote the column as long as that was there.
        .filter((review) => !isOfGoneColumn(review))
        // What lost went with the table where that was dropped; whoever had it at another time has it.
        .filter(({ kind, table }) => kind !== "conflict" || !this.returned.has(table))
        .filter((review) => !this.waitedBefore(review))
        .map(({ id, kind, table, key, column, winner, loser }) =>
          [id, kind, table, key, column ?? "", textOf(winner?.value), textOf(loser?.value)].join(" "),
        )
        .join("\n");
    if (audit(a) !== audit(b)) this.failures.push(`R2 the audits of ${pair} differ\n${audit(a)}\n--\n${audit(b)}`);
  }

  /**
   * True for a row that waits for a place in a table and was written before that was dropped. Where it waited then it is kept, as its
   * application had not seen it; where it was in the table it went with that. It is in no digest before it has a place. Nor is a deleted
   * row that waits and is kept for such a one: it is so only where that is.
   */
  private waitedBefore({ kind, table, image }: Review): boolean {
    if (kind !== "parked") return false;
    const marker = image?.find(({ name }) => name === "m")?.value as string;
    return [...this.ledger.rows.values()].some((row) => row.table === table && row.markers.has(marker) && this.mayBeGone(row));
  }

  /** True for a row of before its table was dropped, and for a deleted one that such a row may keep, directly or not. */
  private mayBeGone(row: LedgerRow, met = new Set<LedgerRow>()): boolean {
    if (met.has(row)) return false;
    met.add(row);
    const returned = this.returned.get(row.table);
    if (returned !== undefined && row.born.level < returned) return true;
    return row.deletes.length > 0 && [...row.referrers].some((child) => this.mayBeGone(child, met));
  }

  private checkFile(node: SimulatedNode): void {
    const db = node.connections[0]?.db;
    if (!db || !node.replica) return;
    const integrity = db.pragma("integrity_check", { simple: true });
    if (integrity !== "ok") this.failures.push(`the file of ${node.name} is damaged: ${String(integrity)}`);
    const natural = new Set(this.tables.filter(({ key }) => key.kind !== "surrogate").map(({ name }) => name));
    const broken = (db.pragma("foreign_key_check") as { table: string; parent: string }[]).filter(
      // Parents with natural keys are not kept for children that their deleter could not know of.
      ({ parent }) => !this.options.naturalParents || !natural.has(parent),
    );
    if (broken.length > 0) this.failures.push(`foreign keys of ${node.name} are broken: ${JSON.stringify(broken)}`);
    const waiting = db.prepare("SELECT count(*) FROM _scoutsync_capture").pluck().get();
    if (waiting !== 0) this.failures.push(`${node.name} has not drained everything`);
    const deep = node.replica.digests({ table: "", buckets: [], deep: true }).entries;
    const stored = node.replica.digests({ table: "", buckets: [], deep: false }).entries;
    deep.forEach((entry, i) => {
      if (Buffer.compare(entry.digest, stored[i]?.digest ?? Buffer.alloc(0)) !== 0)
        this.failures.push(`stored hashes of ${entry.table} on ${node.name} are not those of its rows`);
    });
  }

  private checkRow(held: Held, row: LedgerRow): void {
    const { node, parked } = held;
    // What the last release has no table for.
    if (!this.tables.some(({ name }) => name === row.table)) return;
    const here = held.rows.get(row.label);
    const waits = [...row.markers].some((marker) => parked.has(marker));
    // What was there before its table was dropped is gone, which is no delete; it is there as long as anybody had it then.
    const returned = this.returned.get(row.table);
    if (returned !== undefined) {
      if (here) this.checkValues(node, row, here);
      else if (row.born.level >= returned && !waits && !row.born.uncertain && row.deletes.length === 0)
        this.failures.push(`R1 ${row.label}, written since its table is back, is lost on ${node.name}`);
      return;
    }
    if (!here) {
      if (waits || row.born.uncertain) return;
      if (row.deletes.length === 0) this.failures.push(`R1 ${row.label} is lost on ${node.name}`);
      else if (row.deletes.some(({ uncertain }) => !uncertain) && ![...row.markers].some((marker) => held.kept.includes(marker)))
        this.failures.push(`R1 nothing is left of the deleted ${row.label} on ${node.name}`);
      return;
    }
    const last = row.deletes.at(-1);
    // Who deleted a row without seeing one that waits for its place and refers to it has it back for that one.
    const isNeeded = [...row.referrers].some(({ deletes }) => deletes.length === 0);
    if (last && !last.uncertain && !row.again && !isNeeded && [...authorsOf(row)].every((author) => author === last.author))
      this.failures.push(`${row.label} came back on ${node.name} though only its deleter ever touched it`);
    this.checkValues(node, row, here);
    if (row.deletes.length > 0) return;
    this.checkCells(held, row, here);
  }

  private checkValues(node: SimulatedNode, row: LedgerRow, here: SeenRow): void {
    for (const [column, value] of here.cells) {
      const values = row.values.get(column);
      // Rows that go in one statement may set each other's references to NULL on the way.
      if (values && !values.has(value) && !value.startsWith("nothing") && value !== "NULL" && !this.hasFollowed(row, column, here))
        this.failures.push(`${row.label}.${column} on ${node.name} is ${value}, which nobody wrote`);
    }
  }

  /** True where the row follows the one that it refers to: the key of that was changed while this waited for its place. */
  private hasFollowed(row: LedgerRow, column: string, { cells }: SeenRow): boolean {
    const references = this.tables.find(({ name }) => name === row.table)?.references ?? [];
    return references.some(({ parent, columns }) => {
      if (!columns.includes(column)) return false;
      const now = this.ledger.rows.get(`${parent} ${columns.map((name) => cells.get(name)).join(" ")}`);
      return [...this.ledger.rows.values()].some(
        (former) => former.table === parent && former.referrers.has(row) && [...former.markers].some((marker) => now?.markers.has(marker)),
      );
    });
  }

  /** The table and the open conflicts hold exactly what no later write knew. */
  private checkCells({ node, reviews }: Held, row: LedgerRow, { cells, named }: SeenRow): void {
    for (const [column, writes] of row.cells) {
      if (!cells.has(column)) continue;
      const winner = cells.get(column) ?? "";
      const losers = reviews
        .filter(
          (one) => one.kind === "conflict" && one.table === row.table && one.column === column && textOf(one.winner?.value) === winner,
        )
        .map((one) => textOf(one.loser?.value));
      const heldValues = [...new Set([winner, ...losers])];
      const below = new Map(writes.map(({ value }) => [value, FleetLedger.below(writes, value)]));
      const knownBy = (value: string, later: string) => below.get(later)?.has(value) === true;
      for (const { value, event } of writes) {
        if (event.uncertain || heldValues.some((one) => one === value || knownBy(value, one))) continue;
        // A row that waits for its place is not seen by the application, which may write another one under its key.
        const settled = (named === "" ? [] : (node.replica?.history(row.table, named) ?? [])).filter(
          (entry) => entry.operation === "closed" && entry.column === column,
        );
        if (settled.some((entry) => textOf(entry.value) === value || knownBy(value, textOf(entry.value)))) continue;
        this.failures.push(`R1 ${row.label}.${column} = ${value} is lost on ${node.name}, which holds ${heldValues.join(", ")}`);
      }
      if (this.ledger.unclearTables.has(row.table)) continue;
      if ([...row.touched].some((author) => this.ledger.unclear.has(author))) continue;
      for (const value of heldValues) {
        const later = heldValues.find((one) => one !== value && knownBy(value, one));
        // NULL is written more than once, by writers apart from each other; so is a row's value that two of them give one key,
        // and who knew the one write of it did not know the other.
        if (later !== undefined && value !== "NULL" && writes.filter((write) => write.value === value).length < 2)
          this.failures.push(`${row.label}.${column} on ${node.name}: ${value} counts as lost against ${later}, whose writer knew it`);
      }
    }
  }
}

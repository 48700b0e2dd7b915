import {
  briefColumns,
  briefLarge,
  LONGEST_COMPARED,
  releaseLarge,
  releasePacked,
  type HistoryEntry,
  type ReadableChange,
  type Review,
  type SqlValue,
  SyncError,
  type VersionVector,
} from "@scoutsync/core";
import type { Placement } from "../apply/placement.ts";
import type { Quarantine } from "../quarantine/quarantine.ts";
import type { Resolution } from "../replica.ts";
import { keyNamed } from "../rows/named-rows.ts";
import type { Table } from "../schema/catalog.ts";
import { quote } from "../schema/quote.ts";
import type { Turns } from "../turns.ts";
import type { Audited } from "./context.ts";
import { formerHistory, rowHistory } from "./history.ts";
import { keepAlive, keptReviews } from "./kept.ts";
import { refuseParked, writeParked } from "./parked.ts";
import { decideQuarantine, quarantineReviews } from "./quarantine-reviews.ts";
import { readableChanges } from "./readable.ts";
import { restoreRow } from "./restore.ts";
import { findReviews, oldestFirst, resolveReview } from "./reviews.ts";

interface Parts {
  audited: Audited;
  placement: Placement;
  quarantine: Quarantine;
  turns: Turns;
  /** The clock that changes are stamped by. */
  nowUs: () => number;
  /** What the database is called in messages. */
  database: string;
}

/** What people ask about rows, and what they decide; sensitive values are veiled. */
export class Questions {
  private readonly audited: Parts["audited"];
  private readonly placement: Parts["placement"];
  private readonly quarantine: Parts["quarantine"];
  private readonly turns: Parts["turns"];
  private readonly nowUs: Parts["nowUs"];
  private readonly database: Parts["database"];

  constructor(parts: Parts) {
    this.audited = parts.audited;
    this.placement = parts.placement;
    this.quarantine = parts.quarantine;
    this.turns = parts.turns;
    this.nowUs = parts.nowUs;
    this.database = parts.database;
  }

  readable(since: VersionVector, limit: number): { changes: ReadableChange[]; next: VersionVector | null } {
    return this.turns.snapshot(() => {
      const { changes, next } = readableChanges(this.audited, since, limit);
      return { changes: changes.map((change) => this.audited.veil.change(change)), next };
    });
  }

  row(tableName: string, key: string): { name: string; value: SqlValue }[] | null {
    return this.turns.snapshot(() => {
      const table = this.table(tableName);
      const found = keyNamed(this.audited.rows, table, key);
      const values = found && this.audited.rows.of(table).read(found);
      const columns = values && table.columns.map((column, i) => ({ name: column.name, value: values[i] as SqlValue }));
      const told = columns && briefColumns(columns, LONGEST_COMPARED);
      values?.forEach(releaseLarge);
      return told;
    });
  }

  reviews(request: { kind: string; id: string; limit: number }): Review[] {
    return this.turns.snapshot(() => {
      const wants = (kind: string) => request.kind === "" || request.kind === kind;
      const others = [
        ...(wants("conflict") ? keptReviews(this.audited, this.placement.kept) : []),
        ...(wants("quarantine") ? quarantineReviews(this.quarantine) : []),
      ].filter(({ id }) => request.id === "" || request.id === id);
      const found = [...findReviews(this.audited, request, (one) => this.told(one)), ...others.map((one) => this.told(one))].toSorted(
        oldestFirst,
      );
      return found.slice(0, request.limit > 0 ? request.limit : found.length);
    });
  }

  /** As people may see it, and without values of which each thread on the way would have a copy. */
  private told(review: Review): Review {
    const { winner, loser, image, ...rest } = this.audited.veil.review(review);
    return {
      ...rest,
      winner: winner && { ...winner, value: briefLarge(winner.value) },
      loser: loser && { ...loser, value: briefLarge(loser.value) },
      image: image?.map(({ name, value }) => ({ name, value: briefLarge(value) })) ?? null,
    };
  }

  resolve(request: Resolution): Review {
    this.turns.drain();
    const { review, parked } = this.turns.write(() => {
      const kept = decideQuarantine(this.quarantine, request.id, request.decision ?? "");
      if (kept) return { review: kept, parked: [] };
      const alive = this.turns.silently(() => keepAlive(this.audited, this.placement.kept, request, this.nowUs()));
      if (alive) return { review: alive, parked: [] };
      const resolution = resolveReview(this.audited, request, (one) => this.told(one));
      for (const { state, set } of resolution.parked) {
        this.turns.silently(() => writeParked(this.audited, this.placement, state, set, this.nowUs()));
        if (resolution.review.kind === "parked") refuseParked(this.audited, state, request.id);
      }
      return resolution;
    });
    this.audited.rows.linked.tellAnswered();
    if (parked.length > 0) this.turns.decideWaiting();
    this.turns.drain();
    const left = parked.length > 0 ? this.reviews({ kind: "parked", id: request.id, limit: 1 })[0] : undefined;
    return left ?? { ...this.told(review), resolved: true };
  }

  history(tableName: string, key: string): HistoryEntry[] {
    return this.turns.snapshot(() => {
      const { rows, veil } = this.audited;
      const former = rows.absent.filter(({ name }) => name.split("\n", 1)[0]?.toLowerCase() === tableName.toLowerCase());
      const table = rows.tableNamed(tableName) ?? (former.length === 0 ? this.table(tableName) : null);
      const entries = [
        ...former.flatMap((gone) => formerHistory(this.audited, gone, key)),
        ...(table ? rowHistory(this.audited, table, key) : []),
      ];
      const told = veil.history(table?.name ?? tableName, entries).map((entry) => ({ ...entry, value: briefLarge(entry.value) }));
      for (const { value } of entries) releasePacked(value);
      return told;
    });
  }

  restore(tableName: string, key: string): { name: string; value: SqlValue }[] {
    this.turns.drain();
    return this.turns.write(() => {
      const table = this.table(tableName);
      const restored = this.audited.veil.about(table.name, key, () =>
        this.turns.silently(() =>
          restoreRow(this.audited, { placement: this.placement, veil: this.audited.veil }, table, key, this.nowUs()),
        ),
      );
      const told = this.audited.veil.columns(table.name, briefColumns(restored));
      for (const { value } of restored) releaseLarge(value);
      return told;
    });
  }

  /** As `Replica.textsIn`. */
  textsIn({ table, column, limit }: { table: string; column: string; limit: number }): string[] {
    const known = this.audited.db.prepare("SELECT 1 FROM pragma_table_info(?) WHERE name = ?").get(table, column);
    if (known === undefined) {
      throw new SyncError({
        code: "NOT_FOUND",
        message: `database "${this.database}" has no column ${table}.${column}`,
        action: "Check what was configured, and the application's migrations.",
      });
    }
    const sql = `SELECT DISTINCT ${quote(column)} FROM ${quote(table)} WHERE typeof(${quote(column)}) = 'text' AND ${quote(column)} <> '' LIMIT ?`;
    return this.audited.db
      .prepare(sql)
      .pluck()
      .all(limit)
      .filter((value) => typeof value === "string");
  }

  /** The synced table with this name; throws NOT_FOUND. */
  table(name: string): Table {
    const table = this.audited.rows.tableNamed(name);
    if (table) return table;
    throw new SyncError({
      code: "NOT_FOUND",
      message: `database "${this.database}" has no synced table "${name}"`,
      action: `Synced tables: ${this.audited.rows.tables.map((each) => each.name).join(", ") || "none"}.`,
    });
  }
}

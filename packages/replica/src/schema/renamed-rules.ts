import { isCombining, LWW, type Rule, type SqlValue, type Write } from "@scoutsync/core";
import type { Database } from "better-sqlite3";
import { CAPTURE, imageNumber, imageTable, Op } from "../capture/events.ts";
import { nameOf } from "../drain/captured.ts";
import type { Knowledge } from "../identity/knowledge.ts";
import type { ColumnWrite, RowState } from "../rows/row-state.ts";
import { putInAnew } from "../rows/local-writes.ts";
import { formerWrites } from "../rows/ruled-columns.ts";
import type { Table } from "./catalog.ts";
import { differs, type FormerShape, type Shape } from "./former-shape.ts";

/**
 * What a row has in a column that has come in the place of another one was made of `writes`, null where nobody can tell, until `at`, Unix
 * microseconds. 0: it is a default that everybody has from the births, and nobody has to be told.
 */
export interface CameFrom {
  cid: number;
  writes: readonly ColumnWrite[] | null;
  at: number;
}

/** Columns that count or collect and that have come in the place of others with the same rule: what they were made of under the other name. */
export class RenamedRules {
  private readonly db: Database;
  private readonly knowledge: Knowledge;
  private readonly rules: ReadonlyMap<string, Rule>;
  /** As of `noteFound`, by table, row and number of the column that went. */
  private readonly found = new Map<number, Map<string, ReadonlyMap<number, SqlValue>>>();

  /** `rules` as of `Terms`. */
  constructor(parts: { db: Database; knowledge: Knowledge; rules: ReadonlyMap<string, Rule> }) {
    this.db = parts.db;
    this.knowledge = parts.knowledge;
    this.rules = parts.rules;
  }

  /**
   * Before what was captured in columns that went is given up: what rows held, in those that count or collect, that were written since the
   * last drain. `captured`: the shape it was captured under. Of a row that has been born since nothing was held.
   */
  noteFound(table: Table, captured: Shape): void {
    const gone = [...table.lacking].flatMap(([cid, name]) => {
      const index = captured.columns.indexOf(name);
      return index >= 0 && isCombining(this.ruleOf(table, cid)) ? [{ cid, index }] : [];
    });
    if (gone.length === 0) return;
    const keys = table.key.map((_, i) => `k${i}`);
    const rows = this.db
      .prepare(
        `SELECT ${[...keys, "e.event & 7", ...gone.map(({ index }) => `i.c${index}`)].join(", ")} FROM ${CAPTURE} AS e LEFT JOIN ${imageTable(table.tid)} AS i ON i.${imageNumber(table)} = e.n WHERE e.event >> 3 = ${table.tid} ORDER BY e.n`,
      )
      .safeIntegers(true)
      .raw(true);
    const found = this.found.get(table.tid) ?? new Map<string, ReadonlyMap<number, SqlValue>>();
    this.found.set(table.tid, found);
    for (const values of rows.iterate() as IterableIterator<SqlValue[]>) {
      const name = nameOf(table, values.slice(0, keys.length));
      if (found.has(name)) continue;
      const op = Number(values[keys.length]);
      if (op === Op.update || op === Op.found)
        found.set(name, new Map(gone.map(({ cid }, i) => [cid, values[keys.length + 1 + i] ?? null])));
      else if (op === Op.insert) found.set(name, new Map());
    }
  }

  private ruleOf(table: Table, gone: number): Rule {
    return this.rules.get(`${table.name}.${table.lacking.get(gone)}`.toLowerCase()) ?? LWW;
  }

  /** A table has been compared. */
  forget(tid: number): void {
    this.found.delete(tid);
  }

  /** Columns of a row that count or collect, have come in the place of others, and are still to be told. */
  columns(
    state: RowState,
    shapes: readonly FormerShape[],
    {
      key,
      known,
      isInPlace,
      values,
    }: {
      key: SqlValue[];
      known: FormerShape | undefined;
      isInPlace: (shape: FormerShape) => boolean;
      values: readonly SqlValue[];
    },
  ): CameFrom[] {
    const { table } = state;
    const births = [state.birth, ...state.twins];
    return table.columns.flatMap(({ cid, rule, fallback }, index) => {
      if (!isCombining(rule) || !shapes.every((shape) => shape.added.includes(cid))) return [];
      const mayBe = new Set(shapes.flatMap((shape) => shape.mayHaveBeen(cid, isInPlace(shape))));
      if (mayBe.size === 0) return [];
      const time = Math.max(0, ...[...mayBe].flatMap((was) => state.columns.get(was) ?? births).map((write) => write.time));
      const isTold = state.columns.get(cid)?.some((write) => write.time > time && this.knowledge.isOwn(write.origin)) === true;
      // A default that the births had everybody has from these.
      const isBirth = (write: Write) => births.some(({ origin, sequence }) => origin === write.origin && sequence === write.sequence);
      if (isTold) return [];
      const isDefault = !differs(values[index] as SqlValue, fallback);
      if (isDefault && [...mayBe].every((was) => (state.columns.get(was) ?? []).every(isBirth))) return { cid, writes: null, at: 0 };
      const alike = [...mayBe].filter((was) => this.ruleOf(table, was).kind === rule.kind);
      const [was, ...others] = alike;
      if (was === undefined || others.length > 0) return { cid, writes: null, at: time + 1 };
      const isPlaced = shapes.every((shape) => shape.isPlaced(cid, was) || !shape.mayHaveBeen(cid, isInPlace(shape)).includes(was));
      const found = this.found.get(table.tid)?.get(nameOf(table, key));
      const value = values[index] ?? null;
      const isSame = isPlaced && known?.isPlaced(cid, was) === true;
      const row = { value, found: isPlaced ? found : undefined, isSame, isPlaced };
      const former = formerWrites(state, { cid, was }, row, this.knowledge);
      return { cid, writes: rule.kind === "set" && former ? putInAnew(state, cid, former, this.knowledge) : former, at: time + 1 };
    });
  }
}

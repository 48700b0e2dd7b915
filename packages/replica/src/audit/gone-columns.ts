import {
  type CellValue,
  decide,
  LWW,
  Ref,
  type Review,
  rootOf,
  type Rule,
  type SqlValue,
  SyncError,
  type Tally,
  winnerOf,
  type Write,
} from "@scoutsync/core";
import { closeStanding } from "../rows/local-writes.ts";
import { type ColumnWrite, ownedDots, type RowState, valueOf } from "../rows/row-state.ts";
import { sameValue } from "../rows/values.ts";
import type { Table } from "../schema/catalog.ts";
import { rowsLeftOpen } from "../schema/leaving.ts";
import { type Audited, columnName, identityText, keyOf, reviewId, shown } from "./context.ts";
import { statesIn } from "./held.ts";

/** A value that lost in a column that the table does not have any more, or in a table that is gone, and that nobody has decided about. */
interface Lost {
  state: RowState;
  cid: number;
  loser: Write;
  value: CellValue;
}

/** What lost in columns that the table had and that were renamed or dropped since. One that it never had keeps all of its values. */
export function lostWithColumn(audited: Audited, state: RowState): Lost[] {
  const { knowledge } = audited;
  return [...state.columns].flatMap(([cid, writes]) => {
    if (!state.table.lacking.has(cid) || writes.length < 2) return [];
    const rule = ruleOfGone(audited, state.table, cid, writes);
    // Of what was combined the table had the value, and that could be.
    const valued = writes.map((write) => ({ ...write, value: valueOf(write, write.tally ? COMBINED[write.tally.kind] : null) }));
    const { winner, lost } = decide(rule, valued, knowledge);
    if (writes[valued.indexOf(winner)]?.value !== undefined) return [];
    return lost.flatMap((write) => {
      const { value } = writes[valued.indexOf(write)] as ColumnWrite;
      const loser = { ...write, origin: rootOf(write.origin, knowledge) };
      return value === undefined || isClosed(state, cid, loser) ? [] : [{ state, cid, loser, value }];
    });
  });
}

/** Stands for a value that is gone with its column. */
const COMBINED: Record<Tally["kind"], CellValue> = { counter: 0n, set: "[]" };

const isClosed = ({ closed }: RowState, cid: number, loser: Write): boolean =>
  closed.some((held) => held.cid === cid && held.loser.origin === loser.origin && held.loser.sequence === loser.sequence);

/** The column's rule is that of its name; a tally says which one it was written under, whatever is configured now. */
function ruleOfGone(audited: Audited, table: Table, cid: number, writes: readonly ColumnWrite[]): Rule {
  const kind = writes.find(({ tally }) => tally)?.tally?.kind;
  return kind ? { kind } : (audited.rules.get(`${table.name}.${columnName(table, cid)}`.toLowerCase()) ?? LWW);
}

function* allLost(audited: Audited): Generator<Lost> {
  for (const table of audited.rows.tables) {
    for (const state of statesIn(audited, table))
      for (const lost of lostWithColumn(audited, state)) if (!isShown(audited, lost)) yield lost;
  }
  yield* lostWithTables(audited);
}

/** What lost in rows of tables that are gone: a migration that made others of them could not take it along. */
function* lostWithTables(audited: Audited): Generator<Lost> {
  // What is excluded is held with all that lost.
  for (const table of audited.rows.absent) if (table.absent !== "excluded") yield* lostWithTable(audited, table);
}

/** How many are listed of tables that are gone: nothing but a change of the schema or a decision makes them others. */
export function countLostWithTables(audited: Audited): number {
  const { rows, left } = audited;
  if (left.catalogs === rows.catalogs) return left.count;
  let count = 0;
  for (const _ of lostWithTables(audited)) count++;
  Object.assign(left, { catalogs: rows.catalogs, count });
  return count;
}

function* lostWithTable(audited: Audited, table: Table): Generator<Lost> {
  const { db, rows } = audited;
  for (const state of rowsLeftOpen(db, rows, table)) {
    // A key is no value that loses.
    const key = table.surrogate ? [] : rows.keys.keyCells(state);
    const lost = lostWithColumn(audited, state).filter(({ cid, loser }) => !isOfMigration(state, cid, loser));
    for (const one of [...lost, ...notShown(audited, state)]) if (!key.some((part) => sameValue(part, one.value))) yield one;
  }
}

/** Nodes that run one migration date what they write by it alike, and write the same: without the table nobody can compare that any more. */
function isOfMigration({ columns }: RowState, cid: number, { time }: Write): boolean {
  return time > 0 && (columns.get(cid) ?? []).some((write) => write.value === undefined && write.time === time);
}

/** What a row said itself that its table showed with the values of another one that it is one with. */
function notShown({ knowledge }: Audited, state: RowState): Lost[] {
  return [...state.own].flatMap(([cid, value]) => {
    const write = winnerOf(state.columns.get(cid) ?? [], knowledge) ?? state.birth;
    const loser = { ...write, origin: rootOf(write.origin, knowledge) };
    return value instanceof Ref || isClosed(state, cid, loser) ? [] : [{ state, cid, loser, value }];
  });
}

/**
 * True for a value that the row was given since, in a column that came since, as one that was renamed has it where both sides had
 * written the same: what won went with the old name. Columns are numbered as they come, and their values then told after all others.
 */
function isShown({ rows }: Audited, { state, cid, loser, value }: Lost): boolean {
  const cells = rows.cells(state);
  const cameSince = (column: number) => {
    const writes = state.columns.get(column) ?? [];
    return column > cid && writes.length > 0 && writes.every(({ time }) => time > loser.time);
  };
  return state.table.columns.some((column, i) => sameValue(cells[i] ?? null, value) && cameSince(column.cid));
}

/** As the conflict was listed while the column had its name: under the same id. */
function reviewOf(audited: Audited, { state, cid, loser, value }: Lost): Review {
  const { knowledge, rows } = audited;
  const { table } = state;
  const column = columnName(table, cid);
  const dot = knowledge.dotText(loser.origin, loser.sequence);
  const isGone = table.absent !== null;
  const cells = isGone ? [] : rows.cells(state);
  // One whose rows are those of another now has a label of its own.
  const [tableName = ""] = table.name.split("\n");
  return {
    id: reviewId("conflict", tableName, identityText(audited, state), column, dot),
    kind: "conflict",
    table: tableName,
    key: isGone ? audited.veil.formerKey(tableName, keyOf(audited, state)) : keyOf(audited, state),
    column,
    winner: null,
    loser: { value: asShown(audited, value), author: knowledge.authorOf(loser.origin), timeUs: loser.time, dot },
    image: isGone ? null : table.columns.map(({ name }, i) => ({ name, value: shown(audited, table, i, cells[i] ?? null) })),
    reason: isGone
      ? `lost against a concurrent write ${table.absent === "key" ? "while the table had another kind of primary key" : "in a table that was dropped since"}; where it is wanted the application has to write it, --keep winner takes it off this server's list`
      : `lost against a concurrent write in column "${column}", which the table had then and has not now; --keep winner leaves the row as it is, --set COLUMN=VALUE writes to a column that it has`,
    sinceUs: loser.time,
    resolved: false,
  };
}

/** As people are shown a value of a column of which nothing else is known. */
export function asShown({ knowledge }: Audited, value: CellValue): SqlValue {
  return value instanceof Ref ? knowledge.dotText(value.origin, value.sequence) : value;
}

/** One entry per value that lost in a column that was renamed or dropped since. */
export function goneColumnReviews(audited: Audited): Review[] {
  return [...allLost(audited)].map((lost) => reviewOf(audited, lost));
}

/**
 * Takes such a value off the list, for all nodes on which the column is gone, for this one where the table is; what is to be written to
 * the row is for the caller to write. Null where there is none of this id. Throws INVALID_ARGUMENT where nobody says which column is to
 * have the value, or where the row is to have it that has another key now.
 */
export function settleGoneColumn(audited: Audited, { id, keep }: { id: string; keep: string }): { review: Review; row: RowState } | null {
  for (const lost of allLost(audited)) {
    const review = reviewOf(audited, lost);
    if (review.id !== id) continue;
    if (lost.state.table.absent !== null && keep !== "winner") {
      throw new SyncError({
        code: "INVALID_ARGUMENT",
        message:
          lost.state.table.absent === "key"
            ? `table "${review.table}" has another kind of primary key now, and nobody knows which of its rows this is`
            : `table "${review.table}" was dropped since, and nobody knows where its rows are now`,
        action: "Write the value with the application where it belongs, and take this off the list with --keep winner.",
      });
    }
    if (keep === "loser") {
      throw new SyncError({
        code: "INVALID_ARGUMENT",
        message: `table "${review.table}" has no column "${review.column ?? ""}" any more`,
        action: "Say which column is to have the value: --set COLUMN=VALUE. --keep winner leaves the row as it is.",
      });
    }
    const { state, cid, loser, value } = lost;
    const before = ownedDots(state);
    closeStanding(state, [{ cid, loser, value }], audited.knowledge);
    if (state.table.absent === null) audited.rows.saveRegisters(state, audited.rows.cells(state), before);
    else audited.rows.saveLeft(state, before);
    audited.left.catalogs = -1;
    return { review, row: state };
  }
  return null;
}

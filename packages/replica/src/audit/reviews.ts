import type { Database } from "better-sqlite3";
import { Ref, rootOf, type Review, type ReviewVersion, type Rule, type SqlValue, SyncError } from "@scoutsync/core";
import type { RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { judge, ruleOf } from "../rows/ruled-columns.ts";
import { bindable, rowsTable } from "../rows/table-store.ts";
import { sameValue, valueText } from "../rows/values.ts";
import { heldReviews } from "./held.ts";
import { type Audited, columnName, keyOf, shown, reviewId } from "./context.ts";

const LATER_WINS = "written on two nodes that did not know of each other; the later one is in the table";
const REASON_OF: Readonly<Record<Rule["kind"], string>> = {
  lww: LATER_WINS,
  max: LATER_WINS,
  min: LATER_WINS,
  counter:
    "written on two nodes that did not know of each other, and one of the values is no number to add up; the later one is in the table",
  set: "written on two nodes that did not know of each other, and one of the values is no JSON array; the later one is in the table",
  prefer: "written on two nodes that did not know of each other; the one of the node that the column's rule prefers is in the table",
};

/** Conflicts in which both sides wrote the same value are no question to anyone. */
function* conflictsOf(audited: Audited, state: RowState): Generator<Review> {
  const { knowledge, rows } = audited;
  const cells = rows.cells(state);
  for (const [cid, writes] of state.columns) {
    const index = state.table.indexOf.get(cid);
    if (writes.length < 2 || index === undefined) continue;
    const value = cells[index] ?? null;
    const { winner, lost } = judge(state.table, cid, writes, knowledge, value);
    for (const loser of lost) {
      if (sameValue(loser.value, value)) continue;
      const version = (write: typeof loser, cell: typeof value): ReviewVersion => ({
        value: shown(audited, state.table, index, cell),
        author: knowledge.authorOf(write.origin),
        timeUs: write.time,
        dot: knowledge.dotText(write.origin, write.sequence),
      });
      yield {
        id: reviewId(
          "conflict",
          state.table.name,
          identityText(audited, state),
          columnName(state.table, cid),
          knowledge.dotText(rootOf(loser.origin, knowledge), loser.sequence),
        ),
        kind: "conflict",
        table: state.table.name,
        key: keyOf(audited, state),
        column: columnName(state.table, cid),
        winner: version(winner, value),
        loser: version(loser, loser.value),
        image: null,
        reason: REASON_OF[ruleOf(state.table, cid).kind],
        sinceUs: Math.max(winner.time, loser.time),
        resolved: false,
      };
    }
  }
}

const REASONS: Record<string, string> = {
  integer: "waits for its integer id, which another row has until the stream ends",
  unique: "a row that was created earlier has the same value in a UNIQUE column; changing either value frees it",
  parent: "the row it refers to is not in its table; it follows as soon as that row does",
};

function parkedReview(audited: Audited, state: RowState): Review {
  const cells = audited.rows.cells(state);
  const reason = state.place.kind === "waiting" ? state.place.reason : "";
  return {
    id: reviewId("parked", state.table.name, identityText(audited, state), "", ""),
    kind: "parked",
    table: state.table.name,
    key: keyOf(audited, state),
    column: null,
    winner: null,
    loser: null,
    image: state.table.columns.map((column, i) => ({ name: column.name, value: shown(audited, state.table, i, cells[i] ?? null) })),
    reason: REASONS[reason] ?? reason,
    sinceUs: state.birth.time,
    resolved: false,
  };
}

function identityText({ knowledge, rows }: Audited, state: RowState): string {
  if (state.table.surrogate) return knowledge.dotText(state.identity.origin, state.identity.sequence);
  return rows
    .keyCells(state)
    .map((cell) => (cell instanceof Ref ? knowledge.dotText(cell.origin, cell.sequence) : valueText(cell)))
    .join(",");
}

/** Rows with unsettled losers, in their table or out of it. */
function* openRows({ db, rows }: Audited): Generator<RowState> {
  for (const table of rows.tables) {
    const slots = db
      .prepare(`SELECT id FROM ${rowsTable(table.tid)} WHERE open IS NOT NULL`)
      .safeIntegers(true)
      .pluck()
      .all() as bigint[];
    for (const slot of slots) {
      const state = rows.atLog(table.tid, slot);
      if (state) yield state;
    }
  }
}

/** Everything that may want a person, newest last. */
export function findReviews(audited: Audited, request: { kind: string; id: string; limit: number }): Review[] {
  const found: Review[] = [];
  const limit = request.limit > 0 ? request.limit : 1000;
  const take = (review: Review) => {
    if (request.id === "" || request.id === review.id) found.push(review);
  };
  if (request.kind === "" || request.kind === "conflict")
    for (const state of openRows(audited)) for (const review of conflictsOf(audited, state)) take(review);
  if (request.kind === "" || request.kind === "parked") for (const state of audited.rows.waiting()) take(parkedReview(audited, state));
  if (request.kind === "" || request.kind === "schema") for (const review of heldReviews(audited)) take(review);
  return found.sort((a, b) => a.sinceUs - b.sinceUs || (a.id < b.id ? -1 : 1)).slice(0, limit);
}

/** Number of open conflict records, those with equal values left out of the list included. */
export function countReviews(db: Database, rows: RowStore): number {
  let open = 0;
  for (const table of rows.tables)
    open +=
      (db
        .prepare(`SELECT coalesce(sum(open), 0) FROM ${rowsTable(table.tid)} WHERE open IS NOT NULL`)
        .pluck()
        .get() as number) ?? 0;
  return open;
}

/** Decides a conflict by an ordinary write to the row: it is captured and travels like any other. */
export function resolveReview(
  audited: Audited,
  request: { id: string; keep: "winner" | "loser" | ""; set: { name: string; value: SqlValue }[] },
): Review {
  const { rows } = audited;
  for (const state of openRows(audited)) {
    for (const review of conflictsOf(audited, state)) {
      if (review.id !== request.id) continue;
      const key = rows.keyValues(state);
      if (!key) break;
      const values =
        request.set.length > 0
          ? request.set
          : [{ name: review.column as string, value: (request.keep === "winner" ? review.winner : review.loser)?.value ?? null }];
      writeColumns(audited, state, key, values);
      return review;
    }
  }
  if (audited.rows.waiting().some((state) => parkedReview(audited, state).id === request.id)) {
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `review ${request.id} is a parked row`,
      action: "Change the row that stands in its way in the application; the parked row then takes its place by itself.",
    });
  }
  if (heldReviews(audited).some(({ id }) => id === request.id)) {
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `review ${request.id} is about a table or column that this database does not have`,
      action: "Run the application's migration on this server; what is held is then put in by itself.",
    });
  }
  throw new SyncError({
    code: "NOT_FOUND",
    message: `there is no open review ${request.id}`,
    action: "`scoutsync review list` shows the open ones.",
  });
}

/** Writes past the application's own triggers but not past capture: the update trigger logs it, marked as touching the column. */
function writeColumns({ rows, db }: Audited, state: RowState, key: SqlValue[], values: { name: string; value: SqlValue }[]): void {
  const { table } = state;
  const indexes = values.map(({ name }) => {
    const index = table.columns.findIndex((column) => column.name === name);
    if (index < 0) {
      throw new SyncError({
        code: "INVALID_ARGUMENT",
        message: `table "${table.name}" has no synced column "${name}"`,
        action: "Name a column of the row.",
      });
    }
    return index;
  });
  const bound = bindable(values.map(({ value }) => value));
  rows.former.wasSeen(state, state.slot);
  rows.of(table).update(key, indexes, bound.values, bound.raw);
  // Keeping the value that is there changes nothing for the trigger, but it is a decision: the mask says so.
  rows.touch(db, table, key, indexes);
}

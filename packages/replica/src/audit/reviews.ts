import {
  type CellValue,
  compareWrites,
  memoryOf,
  releasePacked,
  type Review,
  type ReviewVersion,
  rootOf,
  type Rule,
  type SqlValue,
  SyncError,
  type Write,
} from "@scoutsync/core";
import type { Member } from "../rows/members.ts";
import { isOneWrite, registerOf } from "../rows/registers.ts";
import { releaseRead, type RowState } from "../rows/row-state.ts";
import { judge, ruleOf } from "../rows/ruled-columns.ts";
import { bindable, rowsTable } from "../rows/table-store.ts";
import { asHeld, sameValue } from "../rows/values.ts";
import { countLostWithTables, goneColumnReviews, settleGoneColumn } from "./gone-columns.ts";
import { heldReviews } from "./held.ts";
import { noticeReviews, settleNotice } from "./notices.ts";
import { constraintRefused, parkedReview, refuseNobody } from "./parked.ts";
import { type Audited, columnName, identityText, keyOf, shown, reviewId } from "./context.ts";
import { valueStatement } from "../kept-statements.ts";
import { touchColumns } from "../capture/touch.ts";

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

const BEFORE_SYNCING =
  "both sides had a value before they were synced, and nobody knows which is newer; every node has the same one in its table";

/** A write to a column with its value and the row it was to: one of several where these are one entity. */
interface Version {
  write: Write;
  value: SqlValue;
  row: RowState;
}

/** Of each row, what it says itself in a column, then what lost against that. */
function versionsOf(audited: Audited, members: readonly Member[], index: number, cid: number): { said: Version; lost: Version[] }[] {
  return members.flatMap(({ state, cells }) => {
    const writes = registerOf(state, cid);
    if (writes.length === 0) return [];
    const { winner, lost } = judge(state.table, cid, writes, audited.knowledge, cells[index] ?? null);
    const version = (write: Write, value: CellValue): Version => ({ write, value: shown(audited, state.table, index, value), row: state });
    return { said: version(winner, cells[index] ?? null), lost: lost.map((write) => version(write, write.value)) };
  });
}

const withCells = ({ rows }: Audited, state: RowState, standing: readonly Member[]): Member[] =>
  standing.map((member) => (member.state === state ? { ...member, cells: rows.cells(state) } : member));

/** Rows from before syncing were written at time 0: neither of two is the later one. */
function reasonOf(winner: Version, loser: Version, rule: Rule["kind"]): string {
  if (rule !== "prefer" && winner.write.time === 0 && loser.write.time === 0) return BEFORE_SYNCING;
  return loser.row === winner.row
    ? REASON_OF[rule]
    : "two nodes created this row without knowing of each other: it is one row now, with the later value; review resolve keeps either, or sets another";
}

/**
 * Conflicts in which both sides wrote the same value are no question to anyone. After the last one the memory of the row's large values is
 * given back.
 */
function* conflictsOf(audited: Audited, state: RowState): Generator<Review> {
  const { knowledge } = audited;
  const standing = audited.members.standing(state);
  const members = withCells(audited, state, standing.length > 0 ? standing : [{ state, cells: [], alive: true }]);
  for (const [index, { cid, affinity }] of state.table.columns.entries()) {
    if (members.length === 1 && !state.columns.has(cid)) continue;
    const versions = versionsOf(audited, members, index, cid);
    const [first] = versions;
    if (!first) continue;
    const winner = versions.reduce((best, { said }) => (compareWrites(said.write, best.write, knowledge) > 0 ? said : best), first.said);
    const listed: Version[] = [winner];
    for (const loser of versions.flatMap(({ said, lost }) => [...(said === winner ? [] : [said]), ...lost])) {
      // One write to several rows that are one is listed once.
      if (listed.some(({ write, value }) => isOneWrite(write, loser.write, knowledge) && sameValue(value, loser.value))) continue;
      // What lost may have been written where the column had another type.
      if (sameValue(asHeld(affinity, loser.value), asHeld(affinity, winner.value))) continue;
      listed.push(loser);
      const version = ({ write, value }: Version): ReviewVersion => ({
        value,
        author: knowledge.authorOf(write.origin),
        timeUs: write.time,
        dot: knowledge.dotText(write.origin, write.sequence),
      });
      yield {
        id: reviewId(
          "conflict",
          state.table.name,
          identityText(audited, loser.row),
          columnName(state.table, cid),
          knowledge.dotText(rootOf(loser.write.origin, knowledge), loser.write.sequence),
        ),
        kind: "conflict",
        table: state.table.name,
        key: keyOf(audited, state),
        column: columnName(state.table, cid),
        winner: version(winner),
        loser: version(loser),
        image: null,
        reason: reasonOf(winner, loser, ruleOf(state.table, cid).kind),
        sinceUs: Math.max(winner.write.time, loser.write.time),
        resolved: false,
      };
    }
  }
  for (const member of members) releaseRead(member.state, member.cells);
}

const parkedId = (audited: Audited, state: RowState): string => reviewId("parked", state.table.name, identityText(audited, state), "", "");

/** Live rows with unsettled losers, their own or of rows that they stand for. */
function* openRows({ db, rows, members }: Audited): Generator<RowState> {
  const parked = new Map(rows.waiting({ open: true }).map((state) => [state.slot, state]));
  for (const table of rows.tables) {
    const slots = db
      .prepare(`SELECT id FROM ${rowsTable(table.tid)} WHERE open IS NOT NULL`)
      .safeIntegers(true)
      .pluck()
      .all() as bigint[];
    const found = new Set(slots);
    for (const joined of rows.same.exist ? rows.joined(table) : []) {
      const stands = members.connected(joined).find((state) => members.stands(state, joined));
      if (stands?.place.kind === "table") found.add(stands.slot);
      if (stands?.place.kind === "waiting") parked.set(stands.slot, stands);
    }
    for (const slot of found) {
      const state = rows.atLog(table.tid, slot);
      if (state) yield state;
    }
  }
  yield* parked.values();
}

/** The order of a list, the same on every node. */
export const oldestFirst = (a: Review, b: Review): number => a.sinceUs - b.sinceUs || (a.id < b.id ? -1 : 1);

/** Everything that may want a person, newest last, each as it is `told`. */
export function findReviews(
  audited: Audited,
  request: { kind: string; id: string; limit: number },
  told: (review: Review) => Review,
): Review[] {
  const found: Review[] = [];
  const limit = request.limit > 0 ? request.limit : 1000;
  const take = (review: Review) => {
    if (request.id === "" || request.id === review.id) found.push(told(review));
  };
  if (request.kind === "" || request.kind === "conflict") {
    for (const state of openRows(audited)) for (const review of conflictsOf(audited, state)) take(review);
    for (const review of goneColumnReviews(audited)) take(review);
  }
  if (request.kind === "" || request.kind === "parked")
    for (const state of audited.rows.waiting()) {
      const review = parkedReview(audited, state, parkedId(audited, state));
      take(review);
      for (const { value } of review.image ?? []) releasePacked(value);
    }
  if (request.kind === "" || request.kind === "schema") for (const review of heldReviews(audited)) take(review);
  if (request.kind === "" || request.kind === "identity") for (const review of noticeReviews(audited)) take(review);
  return found.toSorted(oldestFirst).slice(0, limit);
}

/** Number of open conflict records, those with equal values left out of the list included, and of deleted rows that are kept in their tables. */
export function countReviews(audited: Audited): number {
  const { db, rows } = audited;
  let open = valueStatement(
    db,
    // In this order: there are few of the one, and as many of the other as there are rows.
    "SELECT count(*) FROM _scoutsync_kept AS k CROSS JOIN _scoutsync_log AS l USING(oid, sequence) WHERE l.tid > 0",
  ).get() as number;
  for (const table of rows.tables)
    open += (valueStatement(db, `SELECT coalesce(sum(open), 0) FROM ${rowsTable(table.tid)} WHERE open IS NOT NULL`).get() as number) ?? 0;
  open +=
    (valueStatement(
      db,
      "SELECT coalesce(sum(open), 0) FROM _scoutsync_out INDEXED BY _scoutsync_out_joined WHERE state = 3",
    ).get() as number) ?? 0;
  return open + countLostWithTables(audited);
}

/** What was decided about; parked rows have no place in their table where a write could be captured: `writeParked` gives them `set`. */
export interface Resolution {
  review: Review;
  parked: { state: RowState; set: Values }[];
}

type Values = readonly { name: string; value: SqlValue }[];

/** Decides a conflict by an ordinary write to the row: it is captured and travels like any other. */
export function resolveReview(
  audited: Audited,
  request: { id: string; keep: "winner" | "loser" | ""; set: { name: string; value: SqlValue }[] },
  told: (review: Review) => Review,
): Resolution {
  const { rows } = audited;
  for (const state of openRows(audited)) {
    for (const review of conflictsOf(audited, state)) {
      if (review.id !== request.id) continue;
      const asTold = told(review);
      if (state.place.kind !== "table") {
        const kept = request.keep === "winner" ? review.winner : review.loser;
        const set = request.set.length > 0 ? request.set : [{ name: review.column as string, value: kept?.value ?? null }];
        return { review: asTold, parked: [{ state, set }] };
      }
      const key = rows.keys.keyValues(state);
      if (!key) break;
      if (request.set.length > 0) {
        refuseNobody(audited, state, request.set, () => rows.of(state.table).read(key) ?? []);
        writeColumns(audited, state, key, request.set);
      } else {
        const [kept, other] = request.keep === "winner" ? [review.winner, review.loser] : [review.loser, review.winner];
        if (memoryOf(other?.value) !== memoryOf(kept?.value)) releasePacked(other?.value);
        writeColumns(audited, state, key, [{ name: review.column as string, value: kept?.value ?? null }]);
        releasePacked(kept?.value);
      }
      return { review: asTold, parked: [] };
    }
  }
  const gone = settleGoneColumn(audited, request);
  if (gone) {
    return { review: gone.review, parked: request.set.length > 0 ? writeOrPark(audited, [gone.row], request.set) : [] };
  }
  const parked = audited.rows.waiting().find((state) => parkedId(audited, state) === request.id);
  if (parked) return resolveParked(audited, parked, request);
  const noticed = settleNotice(audited, request);
  if (noticed) return { review: noticed.review, parked: writeOrPark(audited, noticed.rows, noticed.values) };
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

function resolveParked(
  audited: Audited,
  state: RowState,
  { id, set }: { id: string; set: { name: string; value: SqlValue }[] },
): Resolution {
  const review = parkedReview(audited, state, id);
  if (set.length === 0) {
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `review ${id} is a parked row: ${audited.veil.review(review).reason}`,
      action: "Give it another value with --set COLUMN=VALUE, or change the row that stands in its way in the application.",
    });
  }
  return { review, parked: [{ state, set }] };
}

/** Gives rows these values; what is not in its table is the caller's matter. */
function writeOrPark(audited: Audited, states: readonly RowState[], set: Values): Resolution["parked"] {
  return states.flatMap((state) => {
    if (state.place.kind === "waiting") return [{ state, set }];
    const key = state.place.kind === "table" ? audited.rows.keys.keyValues(state) : null;
    if (key) writeColumns(audited, state, key, set);
    return [];
  });
}

/** Writes past the application's own triggers but not past capture: the update trigger logs it, marked as touching the column. */
function writeColumns(audited: Audited, state: RowState, key: SqlValue[], values: Values): void {
  const { rows, db } = audited;
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
  try {
    rows.of(table).update(key, indexes, bound.values, bound.raw);
  } catch (error) {
    if (!((error as { code?: string }).code ?? "").startsWith("SQLITE_CONSTRAINT")) throw error;
    throw constraintRefused(`table "${table.name}" does not take that: ${(error as Error).message}`, error);
  }
  // Keeping the value that is there changes nothing for the trigger, but it is a decision: the mask says so.
  touchColumns(db, table, { key, slot: state.slot }, indexes);
}

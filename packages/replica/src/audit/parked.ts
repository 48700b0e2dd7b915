import { type CellValue, Ref, type Review, type SqlValue, SyncError } from "@scoutsync/core";
import type { Placement } from "../apply/placement.ts";
import { pick, stateAt } from "../rows/foreign-keys.ts";
import { localWrite, replaceColumn } from "../rows/local-writes.ts";
import { latestTime, registerOf } from "../rows/registers.ts";
import { ownedDots, type RowState } from "../rows/row-state.ts";
import { bindable } from "../rows/table-store.ts";
import type { Table } from "../schema/catalog.ts";
import { quote } from "../schema/quote.ts";
import { cellIn } from "../schema/spelled.ts";
import { foreignKeys, primaryKey } from "../schema/tables.ts";
import { type Audited, keyOf, shown } from "./context.ts";

/** A live row that a constraint keeps out of its table, with what would let it in. `id` as `reviewId` makes it. */
export function parkedReview(audited: Audited, state: RowState, id: string): Review {
  const cells = cellsShown(audited, state);
  return {
    id,
    kind: "parked",
    table: state.table.name,
    key: keyOf(audited, state),
    column: null,
    winner: null,
    loser: null,
    image: state.table.columns.map((column, i) => ({ name: column.name, value: shown(audited, state.table, i, cells[i] ?? null) })),
    reason: reasonOf(audited, state, cells),
    sinceUs: state.birth.time,
    resolved: false,
  };
}

/** The values with which it would be in its table: those of all rows it stands for. */
function cellsShown({ rows, members }: Audited, state: RowState): CellValue[] {
  const standing = members.standing(state);
  if (standing.length < 2) return rows.cells(state);
  return members.shown({ members: standing.map((member) => (member.state === state ? { ...member, cells: rows.cells(state) } : member)) });
}

function reasonOf(audited: Audited, state: RowState, cells: readonly CellValue[]): string {
  const reason = state.place.kind === "waiting" ? state.place.reason : "";
  if (reason === "integer") return "waits for its integer id, which another row has until the stream ends";
  if (reason === "unique") return uniqueReason(audited, state, cells);
  if (reason === "parent") return parentReason(audited, state, cells);
  return `${reason}; another value lets it in: review resolve with --set COLUMN=VALUE`;
}

function uniqueReason(audited: Audited, state: RowState, cells: readonly CellValue[]): string {
  const { table } = state;
  const found = holders(audited, table, cells).map(
    ({ holder, columns }) =>
      `${columns.join(", ")}: row ${keyNamed(audited, holder)} of "${table.name}", which was created earlier, has the same value`,
  );
  const first = holders(audited, table, cells)[0]?.columns[0] ?? "COLUMN";
  if (found.length === 0) {
    return "a row that was created earlier has the same value under a UNIQUE constraint; another value in either row, or the end of that one, lets it in";
  }
  const why = table.surrogate
    ? "one was given the value later or by somebody who knew of the other, or the table is left to people"
    : "rows with a key of their own are never made one";
  return `${found.join("; ")}. This row enters its table when either gets another value (here: review resolve with --set ${first}=VALUE) or that one is deleted. They are not made one row: ${why}`;
}

/** Which rows have the UNIQUE values of one that its table does not take, as "label: row 8"; empty where nothing tells. */
export function rowsInTheWay(audited: Audited, state: RowState): string {
  const found = holders(audited, state.table, audited.rows.cells(state));
  return found.map(({ holder, columns }) => `${columns.join(", ")}: row ${keyNamed(audited, holder)} has the same value`).join("; ");
}

/** Rows in the table that have what these values want under a UNIQUE constraint. */
function holders({ rows }: Audited, table: Table, cells: readonly CellValue[]): { holder: RowState; columns: string[] }[] {
  const { values } = rows.references.concrete(table, cells);
  return table.uniques.flatMap((unique, number) => {
    const columns = unique.parts.map(({ name }) => name ?? "");
    const wanted = columns.map((name) => values[table.columns.findIndex((column) => column.name === name)]);
    if (wanted.some((value) => value === undefined || value === null || (value as CellValue) instanceof Ref)) return [];
    const exact = wanted as SqlValue[];
    return rows
      .of(table)
      .keysClashing(number, bindable(exact))
      .flatMap((key) => stateAt(rows, table, key) ?? [])
      .filter((holder) => unique.where === null || rows.of(table).satisfies(unique.where, rows.tableValues(holder) ?? []))
      .map((holder) => ({ holder, columns }));
  });
}

function parentReason(audited: Audited, state: RowState, cells: readonly CellValue[]): string {
  const { rows } = audited;
  for (const { index, parent } of state.table.references) {
    const ref = cells[index];
    if (!(ref instanceof Ref) || rows.references.shownId(parent, ref) !== null) continue;
    const stands = rows.references.representative(parent, ref);
    const target = rows.byIdentity(parent, stands.origin, stands.sequence);
    const column = state.table.columns[index]?.name ?? "";
    if (!target) return `${column} refers to a row of "${parent.name}" that has not come yet; it gets in with that one`;
    if (target.place.kind !== "waiting") continue;
    return `${column} refers to row ${keyNamed(audited, target)} of "${parent.name}", which is parked itself; it gets in with that one, or when ${column} refers to another`;
  }
  return "the row it refers to is not in its table; it gets in with that one";
}

const keyNamed = (audited: Audited, state: RowState): string => audited.veil.key(state.table.name, keyOf(audited, state));

/**
 * Gives a parked row other values by an ordinary write to it, as the application would if it saw the row. Inside the
 * caller's write transaction, drained and silent; whether it gets in is decided like for any row.
 * Throws INVALID_ARGUMENT for a column that the table does not have, or one of a natural key.
 */
export function writeParked(
  audited: Audited,
  placement: Placement,
  state: RowState,
  set: readonly { name: string; value: SqlValue }[],
  wall: number,
): void {
  const { rows, knowledge, members } = audited;
  const { table } = state;
  const written = new Map<number, CellValue>();
  for (const { name, value } of set) {
    const index = table.columns.findIndex((column) => column.name === name);
    const isKey = !table.surrogate && !table.keyless && table.key.some((column) => column.name === name);
    if (index < 0 || isKey) {
      throw new SyncError({
        code: "INVALID_ARGUMENT",
        message: isKey ? `"${name}" is part of the key of table "${table.name}"` : `table "${table.name}" has no synced column "${name}"`,
        action: isKey ? "Add the row under another key in the application." : "Name a column of the row.",
      });
    }
    const cell = cellIn(table.columns[index], value);
    written.set(index, (typeof cell === "bigint" ? rows.references.refAt(table, index, cell) : null) ?? cell);
  }
  refuseNobody(audited, state, set, () => rows.references.concrete(table, rows.cells(state)).values);
  const standing = members.standing(state);
  const states = standing.length > 1 ? standing.map((member) => member.state) : [state];
  const at = Math.max(wall, ...states.map((each) => latestTime(each) + 1));
  const cids = [...written.keys()].map((index) => (table.columns[index] as { cid: number }).cid);
  // Where several are one, what lost among them is closed by the write, too.
  const was = new Map(
    cids.map((cid) => {
      const own = standing.map((member) => (member.state === state ? { ...member, cells: rows.cells(state) } : member));
      const lost = own.length > 1 ? members.shownWrite(own, cid).write : null;
      const index = table.indexOf.get(cid) as number;
      const valueOf = (each: RowState) => own.find((member) => member.state === each)?.cells[index] ?? null;
      return [cid, (each: RowState) => lost && { shown: lost, value: valueOf(each) }] as const;
    }),
  );
  for (const each of states) {
    const [before, cells] = [ownedDots(each), rows.cells(each)];
    const found = [...cells];
    for (const [index, value] of written) cells[index] = value;
    const write = localWrite(
      each,
      at,
      cids.flatMap((cid) => [...registerOf(each, cid)]),
      knowledge,
    );
    for (const cid of cids) {
      const index = table.indexOf.get(cid) as number;
      const edit = { value: cells[index] ?? null, found: found[index] ?? null };
      replaceColumn(each, cid, write, knowledge, edit, was.get(cid)?.(each) ?? null);
    }
    if (each === state) placement.settle(each, cells, [...written.keys()], before);
    else placement.entities.settle(each, cells, before);
  }
  placement.entities.arrangeTouched();
}

/** Throws CONSTRAINT_REFUSED where a row that `writeParked` has given other values is not one that its table would ever take. */
export function refuseParked(audited: Audited, { birth }: RowState, id: string): void {
  const state = audited.rows.byDot(birth.origin, birth.sequence);
  if (state?.place.kind !== "waiting" || !state.place.reason.startsWith("constraint")) return;
  const { reason } = audited.veil.review(parkedReview(audited, state, id));
  throw constraintRefused(`review ${id} stays a parked row: ${reason.replace(/; another value.*/s, "")}`);
}

/**
 * Throws CONSTRAINT_REFUSED where a value that a person gives names nobody by a declared foreign key: none is enforced on this
 * connection. `current`: what the row holds.
 */
export function refuseNobody(
  { db }: Audited,
  { table, slot }: RowState,
  set: readonly { name: string; value: SqlValue }[],
  current: () => readonly SqlValue[],
): void {
  for (const parts of Map.groupBy(foreignKeys(db, table.source), ({ id }) => id).values()) {
    if (!parts.some(({ from }) => set.some(({ name }) => name === from))) continue;
    const values = [...current()];
    for (const { name, value } of set) values[table.columns.findIndex((column) => column.name === name)] = value;
    const parent = parts[0]?.table as string;
    const key = primaryKey(db, parent);
    const wanted = pick(
      table,
      parts.map(({ from }) => from),
      table.surrogate ? slot : null,
      values,
    );
    const targets = parts.map(({ to, seq }) => to ?? key[seq]);
    if (!wanted || targets.includes(undefined)) continue;
    const bound = bindable(wanted);
    const found = `SELECT 1 FROM main.${quote(parent)} WHERE ${targets.map((target) => `${quote(target as string)} = ?`).join(" AND ")}`;
    if (bound.raw.length > 0 || db.prepare(found).get(...bound.values) !== undefined) continue;
    const columns = parts.map(({ from }) => from).join(", ");
    throw constraintRefused(
      `table "${table.name}" does not take that: "${parent}" has no row that ${columns} would refer to; \`scoutsync restore\` brings back a deleted one`,
    );
  }
}

/** A decision that the table does not take; nothing of it stays. */
export function constraintRefused(message: string, cause?: unknown): SyncError {
  return new SyncError({
    code: "CONSTRAINT_REFUSED",
    message,
    action:
      "Nothing was changed: give a value that the table takes, with --set COLUMN=VALUE, for several columns at once where it takes that.",
    cause,
  });
}

import { type CellValue, releasePacked, type SqlValue, SyncError } from "@scoutsync/core";
import type { Placement } from "../apply/placement.ts";
import { ownedDots, type RowState } from "../rows/row-state.ts";
import { lacks } from "../rows/foreign-keys.ts";
import { keyText } from "../rows/values.ts";
import type { ForeignKey, Table } from "../schema/catalog.ts";
import { type Audited, keyOf as shownKeyOf } from "./context.ts";
import type { Veil } from "./veil.ts";
import { rowsInTheWay } from "./parked.ts";
import { bornNamed, keyNamed, keylessNamed } from "../rows/named-rows.ts";

/**
 * Brings a deleted row back from its image, as the row it was: an ordinary write to its existence and, where others may insert its key
 * again, of what it held, so that whoever restores it elsewhere too ends with the same one row, and rows that refer to it go on meaning it. `text` is the key as
 * `keyText` writes it, or the birth of a row whose integer others have had since. Inside the caller's transaction, drained and silent. Returns the columns it has now.
 * Throws NOT_FOUND when no deleted row had that key, INVALID_ARGUMENT when its key is in use or a constraint refuses it.
 */
export function restoreRow(
  audited: Audited,
  { placement, veil }: { placement: Placement; veil: Veil },
  table: Table,
  text: string,
  wall: number,
): { name: string; value: SqlValue }[] {
  const { rows } = audited;
  const state = deletedRow(audited, table, text);
  // A row with another key may be written the same.
  if (keyNamed(rows, table, text) && (table.surrogate || !state)) {
    const action = state
      ? `If it is not the one that was deleted, give it another key in the application, then restore that one by its birth: scoutsync restore … ${table.name} ${birthOf(audited, state)}`
      : "Nothing has to be restored.";
    throw refused(`"${table.name}" has a row ${text}`, action);
  }
  if (!state) {
    throw new SyncError({
      code: "NOT_FOUND",
      message: `no deleted row of "${table.name}" had the key ${text}`,
      action: "Give the key as `scoutsync history` and `scoutsync changes` show it, parts joined by commas.",
    });
  }
  const cells = rows.cells(state);
  const gone = rows.references.concrete(table, cells).dead[0]?.state ?? goneByValue(audited, placement, state, cells);
  if (gone) {
    const parent = gone.table;
    const key = keyText(keyOf(audited, gone));
    const isTaken = parent.surrogate && keyNamed(rows, parent, key) !== null;
    // Several rows may have had the integer, one after the other.
    const named = !parent.surrogate || (!isTaken && isSame(deletedRow(audited, parent, key), gone));
    const shown = named ? veil.key(parent.name, key) : birthOf(audited, gone);
    throw refused(
      `row ${text} of "${table.name}" refers to a row of "${parent.name}" that is deleted too`,
      `${isTaken ? `Another row has its key ${key} now: give it another one in the application. Then restore` : "Restore"} that one first: scoutsync restore … ${parent.name} ${shown}`,
    );
  }
  const placed = placeAlive(placement, state, cells, wall);
  if (!placed && state.place.kind === "waiting") {
    const { reason } = state.place;
    const why = reason === "unique" ? `${reason}, ${rowsInTheWay(audited, state)}` : reason;
    throw refused(
      `row ${text} of "${table.name}" has no place in its table: ${why.replace(/, $/, "")}`,
      "Change the row that stands in its way in the application, then restore it again.",
    );
  }
  const values = rows.tableValues(state) ?? [];
  const lost = lostByValue(audited, placement, state, values);
  if (lost) {
    const columns = lost.targets.map((name) => `"${name}"`).join(", ");
    throw refused(
      `row ${text} of "${table.name}" refers to ${columns} of "${lost.parent.name}" by values that no row has any more`,
      "Give a row of that table these values in the application, then restore this one again; `scoutsync history` shows what it held.",
    );
  }
  placement.kept.revive(placement.kept.keptParents(state), wall);
  return table.columns.map((column, i) => ({ name: column.name, value: values[i] ?? null }));
}

/** A deleted row that this one refers to by its value; null where that one refers back to it: of a circle one has to be the first. */
function goneByValue({ rows }: Audited, { kept }: Placement, state: RowState, cells: readonly CellValue[]): RowState | null {
  const leadsBack = (to: RowState, seen: readonly RowState[] = []): boolean =>
    isSame(to, state) ||
    (!seen.some((one) => isSame(one, to)) && kept.deadReferred(to, rows.cells(to)).some((next) => leadsBack(next.state, [...seen, to])));
  return kept.deadByValue(state, cells).find((gone) => !leadsBack(gone)) ?? null;
}

/**
 * A foreign key by which the row refers to values that no row has, nor a deleted one: the row that had them may have others now, and nothing
 * says which one that is. Where deletes are kept back such a row may be among those.
 */
function lostByValue({ rows }: Audited, { kept }: Placement, state: RowState, values: readonly SqlValue[]): ForeignKey | null {
  if (state.table.dependsOn.length === 0 || kept.deadByValue(state, rows.cells(state)).length > 0) return null;
  const id = state.table.surrogate ? state.slot : null;
  return state.table.dependsOn.find((foreign) => rows.of(foreign.parent).keptBack === null && lacks(rows, foreign, id, values)) ?? null;
}

/** Writes that it lives, and puts it into its table. False where it waits for a place. */
function placeAlive(placement: Placement, state: RowState, cells: readonly CellValue[], wall: number): boolean {
  if (placement.entities.concerns(state)) {
    placement.kept.live(state, wall, true);
    const placed = placement.place(state, cells, ownedDots(state));
    placement.entities.arrangeTouched();
    return placed;
  }
  const before = ownedDots(state);
  placement.kept.decideToLive(state, wall, cells);
  const placed = placement.place(state, cells, before);
  cells.forEach(releasePacked);
  return placed;
}

/** The row that was deleted last of those that had this key. */
export function deletedRow(audited: Audited, table: Table, text: string): RowState | null {
  if (table.keyless) {
    const state = keylessNamed(audited.rows, table, text);
    return state?.place.kind === "dead" ? state : null;
  }
  const byId = table.surrogate && /^-?\d{1,19}$/.test(text);
  if (table.surrogate && !byId) {
    const born = bornNamed(audited.rows, table, text);
    return born?.place.kind === "dead" ? born : null;
  }
  const slots = audited.db
    .prepare(`SELECT slot FROM _scoutsync_out WHERE tid = ? AND state = 1 ${byId ? "AND id = ?" : ""} ORDER BY slot DESC`)
    .safeIntegers(true)
    .pluck()
    .all(table.tid, ...(byId ? [BigInt(text)] : [])) as bigint[];
  for (const slot of slots) {
    const state = audited.rows.atLog(-table.tid, slot);
    if (state && (byId || keyText(keyOf(audited, state)) === text)) return state;
  }
  return null;
}

const birthOf = ({ knowledge }: Audited, { birth }: RowState): string => knowledge.dotText(birth.origin, birth.sequence);

const isSame = (one: RowState | null, other: RowState): boolean =>
  one?.birth.origin === other.birth.origin && one.birth.sequence === other.birth.sequence;

/** The key that a deleted row had in its table. */
function keyOf(audited: Audited, state: RowState): SqlValue[] {
  const { rows } = audited;
  if (state.table.keyless) return [shownKeyOf(audited, state)];
  if (state.table.surrogate) return [rows.outId(state) ?? state.claim];
  return rows.keys.keyValues(state) ?? (rows.keys.keyCells(state) as SqlValue[]);
}

const refused = (message: string, action: string) => new SyncError({ code: "INVALID_ARGUMENT", message, action });

import { type Review, SyncError, winnerOf } from "@scoutsync/core";
import type { KeptRows } from "../apply/kept-rows.ts";
import type { RowState } from "../rows/row-state.ts";
import { type Audited, identityText, keyOf, reviewId } from "./context.ts";

/** Rows that an entry names. */
const ROWS_SHOWN = 3;

/** Deleted rows that are in their tables all the same: rows that their deleter could not know of refer to them. */
export function keptReviews(audited: Audited, kept: KeptRows): Review[] {
  const states = keptStates(audited);
  const referringTo = kept.referring(states);
  return states.flatMap((state) => {
    const referring = referringTo(state);
    return referring.length === 0 ? [] : [keptReview(audited, state, referring)];
  });
}

function keptStates({ db, rows }: Audited): RowState[] {
  const births = db.prepare("SELECT oid, sequence FROM _scoutsync_kept").raw().all() as [number, number][];
  return births.flatMap(([origin, sequence]) => {
    const state = rows.byDot(origin, sequence);
    return state?.kept && state.place.kind === "table" ? [state] : [];
  });
}

function keptReview(audited: Audited, state: RowState, referring: readonly RowState[]): Review {
  const { knowledge, veil } = audited;
  const deleted = winnerOf(state.deletes, knowledge) ?? state.birth;
  const named = referring
    .slice(0, ROWS_SHOWN)
    .map((child) => `row ${veil.key(child.table.name, keyOf(audited, child))} of "${child.table.name}"`);
  const more = referring.length - named.length;
  const those = `${named.join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
  const values = audited.rows.tableValues(state) ?? [];
  return {
    id: reviewId("kept", state.table.name, identityText(audited, state)),
    kind: "conflict",
    table: state.table.name,
    key: keyOf(audited, state),
    column: null,
    winner: null,
    loser: {
      value: null,
      author: knowledge.authorOf(deleted.origin),
      timeUs: deleted.time,
      dot: knowledge.dotText(deleted.origin, deleted.sequence),
    },
    image: state.table.columns.map((column, i) => ({ name: column.name, value: values[i] ?? null })),
    reason:
      `deleted on one node while another, which did not know, had ${those} refer to it: it stays for as long as something does. ` +
      "--keep winner has it live on; to have it go, delete what refers to it, or have that refer to another row, in the application",
    sinceUs: deleted.time,
    resolved: false,
  };
}

/**
 * Decides such an entry: the row lives again, by an ordinary write to its existence. Null when the id is not one of these.
 * Inside the caller's transaction, drained and silent. Throws INVALID_ARGUMENT for another decision.
 */
export function keepAlive(
  audited: Audited,
  kept: KeptRows,
  { id, keep, set }: { id: string; keep: "winner" | "loser" | ""; set: readonly unknown[] },
  wall: number,
): Review | null {
  for (const state of keptStates(audited)) {
    if (reviewId("kept", state.table.name, identityText(audited, state)) !== id) continue;
    const review = keptReview(audited, state, kept.referring([state])(state));
    if (keep !== "winner" || set.length > 0) {
      throw new SyncError({
        code: "INVALID_ARGUMENT",
        message: `review ${id} is a row that was deleted, and that others refer to`,
        action:
          "Say --keep winner to have it live on. To have it go, delete the rows that refer to it, or have them refer to another one, in the application.",
      });
    }
    kept.revive([state.birth], wall, true);
    return review;
  }
  return null;
}

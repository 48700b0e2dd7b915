import { type Review, SyncError } from "@scoutsync/core";
import type { KeptBackDelete, Quarantine, QuarantineDecision } from "../quarantine/quarantine.ts";
import { keyText } from "../rows/values.ts";
import { reviewId } from "./context.ts";

/** Mass deletes that are kept back and not decided. */
export function quarantineReviews(quarantine: Quarantine): Review[] {
  return quarantine
    .list()
    .filter(({ decision }) => decision === null)
    .map(quarantineReview);
}

function quarantineReview({ id, sinceUs, rows, counts }: KeptBackDelete): Review {
  const [most] = rows;
  const share = ({ table, rows: number }: (typeof rows)[number]) => {
    const live = counts[table.tid]?.live ?? 0;
    return `${number} of ${live} rows of "${table.name}"${live > 0 ? ` (${Math.floor((number / live) * 100)} %)` : ""}`;
  };
  return {
    id: reviewId("quarantine", String(id), String(sinceUs)),
    kind: "quarantine",
    table: most?.table.name ?? "",
    key: `${(most?.sample ?? []).map(keyText).join(" ")}${(most?.rows ?? 0) > (most?.sample.length ?? 0) ? " …" : ""}`,
    column: null,
    winner: null,
    loser: null,
    image: null,
    reason:
      `deleted here at once: ${rows.map(share).join(", ")}. Kept back: every other node still has them. ` +
      "--undo puts them back into the table, --release deletes them everywhere",
    sinceUs,
    resolved: false,
  };
}

/**
 * Notes what is to become of a mass delete, which the next drain carries out; null when the id is not one of a mass delete. Of anything
 * else nothing can be released or undone: a conflict took the loser.
 */
export function decideQuarantine(quarantine: Quarantine, id: string, decision: QuarantineDecision | ""): Review | null {
  const found = quarantine.list().find((held) => held.decision === null && quarantineReview(held).id === id);
  if (!found) {
    if (decision === "") return null;
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `review ${id} is no mass delete that is kept back`,
      action: "Give --keep winner, --keep loser or --set COLUMN=VALUE; `scoutsync review show` says what it is about.",
    });
  }
  if (decision === "") {
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `review ${id} is a mass delete that is kept back`,
      action: "Give --release to delete the rows everywhere, or --undo to put them back.",
    });
  }
  quarantine.decide(found.id, decision);
  return quarantineReview(found);
}

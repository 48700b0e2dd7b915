import { SyncError, type Review, type SqlValue } from "@scoutsync/core";
import type { Scope } from "./scopes.ts";

/** How the database of an entry is called that is about a scope's copy. */
const nameOf = (scope: Scope, database: string) => `${database}@${scope.name}`;

/** What is open in the copies of scopes, for people at the server: conflicts between their nodes, and what was not taken from them. */
export async function scopeReviews(
  scopes: readonly Scope[],
  { kind, id, limit }: { kind: string; id: string; limit: number },
): Promise<{ database: string; review: Review }[]> {
  const found: { database: string; review: Review }[] = [];
  for (const scope of scopes) {
    for (const { copy } of scope.parts) {
      const left = limit - found.length;
      if (left <= 0) return found;
      const kept = kind === "" || kind === "parked" ? await copy.keptOfScope({ id, limit: left }) : [];
      const open = await copy.reviews({ kind, id, limit: left });
      found.push(...[...kept, ...open].map((review) => ({ database: nameOf(scope, copy.name), review })));
    }
  }
  return found.slice(0, limit);
}

/**
 * Decides about what was not taken from a node: `winner` takes it off the list, `loser` does in the database what the node had
 * wanted, `set` does it with other values. Null where the entry is none of these. Throws INVALID_ARGUMENT.
 */
export async function decideOfScope(
  scopes: readonly Scope[],
  { id, keep, set, decision }: { id: string; keep: string; set: { name: string; value: SqlValue }[]; decision: string },
): Promise<{ database: string; review: Review } | null> {
  for (const scope of scopes) {
    for (const { copy } of scope.parts) {
      const [review] = id === "" ? [] : await copy.keptOfScope({ id, limit: 0 });
      if (!review) continue;
      if (decision !== "") {
        throw new SyncError({
          code: "INVALID_ARGUMENT",
          message: "what was not taken from a node of a scope can be done here after all, or taken off the list",
          action: "Resolve it with --keep loser or --set COLUMN=VALUE, or with --keep winner.",
        });
      }
      if (keep === "winner") await copy.dismissKept(id);
      else await copy.applyKept(id, set);
      return { database: nameOf(scope, copy.name), review: { ...review, resolved: true } };
    }
  }
  return null;
}

import { parseTerms, referenceTarget, SyncError } from "@scoutsync/core";
import type { ReplicaOptions } from "@scoutsync/replica";
import type { SyncNodeConfig } from "./config.ts";

type Named = SyncNodeConfig["databases"][number];

/**
 * Databases of which some refer to rows of others: in the order in which they are to be opened, those referred to first, and
 * what each is told about it. `terms` as `termsByDatabase` gives them. Throws INVALID_ARGUMENT where databases refer to each
 * other in a circle.
 */
export function linkedDatabases(
  databases: readonly Named[],
  terms: ReadonlyMap<string, readonly string[]>,
): { inOrder: Named[]; optionsOf: (name: string) => Pick<ReplicaOptions, "isReferredTo" | "together"> } {
  const parents = new Map(databases.map(({ name }) => [name, parentsOf(databases, terms.get(name) ?? [])]));
  const inOrder: Named[] = [];
  for (const left = [...databases]; left.length > 0;) {
    const at = left.findIndex(({ name }) => (parents.get(name) ?? []).every((parent) => inOrder.some((open) => open.name === parent)));
    if (at < 0) {
      throw new SyncError({
        code: "INVALID_ARGUMENT",
        message: `databases refer to each other in a circle: ${left.map(({ name }) => `"${name}"`).join(", ")}`,
        action: "Leave out one of these references, and use keys there that two servers do not hand out twice.",
      });
    }
    inOrder.push(...left.splice(at, 1));
  }
  const group = groups(parents);
  const referredTo = new Set([...parents.values()].flat());
  return {
    inOrder,
    optionsOf: (name) => {
      const together = group.get(name);
      return { ...(together !== undefined && { together }), ...(referredTo.has(name) && { isReferredTo: true }) };
    },
  };
}

function parentsOf(databases: readonly Named[], terms: readonly string[]): string[] {
  const named = [...parseTerms(terms).references.values()].map((to) => referenceTarget(to).database);
  return databases.map(({ name }) => name).filter((name) => named.includes(name.toLowerCase()));
}

/** The same name for all databases that refer to each other, however many are between them; none for the others. */
function groups(parents: ReadonlyMap<string, readonly string[]>): Map<string, string> {
  const group = new Map<string, string>();
  for (const [name, referred] of parents) {
    for (const parent of referred) {
      const [from, to] = [group.get(name) ?? name, group.get(parent) ?? parent];
      group.set(name, to).set(parent, to);
      for (const [other, its] of group) if (its === from) group.set(other, to);
    }
  }
  return group;
}

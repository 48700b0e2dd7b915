import { SyncError } from "@scoutsync/core";
import type { KeyRow } from "../registry/access-store.ts";

/** Roles of people and keys, each may do what those before it may. */
export const PERSON_ROLES = ["viewer", "operator", "superadmin"] as const;
export type PersonRole = (typeof PERSON_ROLES)[number];

/** What a key may be limited to. */
export const SCOPES = ["fleet", "sync", "jobs", "review", "logs", "config", "data", "metrics", "access"] as const;
export type Scope = (typeof SCOPES)[number];

/** What a route or call needs of whoever asks. */
export interface Need {
  readonly role: PersonRole;
  readonly scope: Scope;
}

/** Somebody who asks, as far as rights go. */
export interface Holder {
  readonly role: PersonRole;
  /** Null: everything the role may do. */
  readonly scopes: readonly string[] | null;
}

/** Throws FORBIDDEN, saying what is missing. */
export function checkNeed(holder: Holder, need: Need, what: string): void {
  const { role, scopes } = holder;
  if (PERSON_ROLES.indexOf(role) < PERSON_ROLES.indexOf(need.role)) {
    throw new SyncError({
      code: "FORBIDDEN",
      message: `a ${role} may not use ${what}`,
      action: `It needs the role ${need.role}.`,
    });
  }
  if (scopes !== null && !scopes.includes(need.scope)) {
    throw new SyncError({
      code: "FORBIDDEN",
      message: `this key may not use ${what}: it is for ${scopes.join(", ")} only`,
      action: `Use a key with the scope ${need.scope}.`,
    });
  }
}

/** What a key may do. */
export function holderOf({ role, scopes }: KeyRow): Holder {
  return { role, scopes: scopes.length === 0 ? null : scopes };
}

export function isPersonRole(text: string): text is PersonRole {
  return (PERSON_ROLES as readonly string[]).includes(text);
}

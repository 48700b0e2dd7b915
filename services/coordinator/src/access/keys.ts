import { createHash, randomBytes } from "node:crypto";
import { SyncError } from "@scoutsync/core";
import { checkMemberName } from "@scoutsync/trust";
import type { AccessStore, KeyRow } from "../registry/access-store.ts";
import { isPersonRole, PERSON_ROLES, SCOPES } from "./needs.ts";

const PREFIX = "scout_key_";
const KEY_BYTES = 32;
const DEFAULT_DAYS = 90;
const DAY_S = 86_400;
const LONGEST_S = 10 * 365 * DAY_S;
/** When a key was used last is written at most this often. */
const USED_INTERVAL_MS = 60_000;

/** Keys of programs: random, kept as hashes, limited in time and in what they may do. */
export class ApiKeys {
  readonly #store: AccessStore;

  constructor(store: AccessStore) {
    this.#store = store;
  }

  /** Makes one and returns it, once. Throws INVALID_ARGUMENT. */
  create(asked: { name: string; role: string; scopes: readonly string[]; validForS: number }): { key: string; entry: KeyRow } {
    const name = checkMemberName(asked.name, "the name of a key");
    const { role } = asked;
    if (!isPersonRole(role)) throw wrong(`"${role.slice(0, 40)}" is no role of a key`, `Use one of: ${PERSON_ROLES.join(", ")}.`);
    const foreign = asked.scopes.find((scope) => !(SCOPES as readonly string[]).includes(scope));
    if (foreign !== undefined) throw wrong(`"${foreign.slice(0, 40)}" is no scope`, `Use any of: ${SCOPES.join(", ")}.`);
    if (this.#store.keys().some((known) => known.name === name)) {
      throw wrong(`there is or was a key "${name}" already`, "Give it another name, so that the audit log tells them apart.");
    }
    const validForS = Math.min(asked.validForS > 0 ? asked.validForS : DEFAULT_DAYS * DAY_S, LONGEST_S);
    const created_at = new Date().toISOString();
    const expires_at = new Date(Date.now() + validForS * 1_000).toISOString();
    const key = PREFIX + randomBytes(KEY_BYTES).toString("base64url");
    this.#store.addKey({ name, role, scopes: [...asked.scopes], created_at, expires_at }, hashOf(key));
    const entry = this.#store.keys().find((known) => known.name === name) as KeyRow;
    return { key, entry };
  }

  /** Whose key this is. Throws UNAUTHENTICATED for one that is unknown, revoked or expired. */
  holder(key: string): KeyRow {
    // Found by its hash: how long that takes says nothing about the key.
    const found = this.#store.keyByHash(hashOf(key));
    if (found === null) throw refused("this key is unknown");
    if (found.revoked_at !== null) throw refused(`the key "${found.name}" was revoked`);
    if (Date.parse(found.expires_at) <= Date.now()) throw refused(`the key "${found.name}" expired at ${found.expires_at}`);
    const usedMs = found.last_used_at === null ? 0 : Date.parse(found.last_used_at);
    if (Date.now() - usedMs > USED_INTERVAL_MS) this.#store.keyUsed(found.name, new Date().toISOString());
    return found;
  }

  list(): KeyRow[] {
    return this.#store.keys();
  }

  /** Throws NOT_FOUND. */
  revoke(name: string): void {
    if (this.#store.revokeKey(name, new Date().toISOString())) return;
    throw new SyncError({
      code: "NOT_FOUND",
      message: `there is no key "${name.slice(0, 80)}" that could be used`,
      action: "See `scoutsync keys list`.",
    });
  }
}

function hashOf(key: string): Buffer {
  return createHash("sha256").update(key).digest();
}

function refused(message: string): SyncError {
  return new SyncError({ code: "UNAUTHENTICATED", message, action: "Make a new one with `scoutsync keys create`." });
}

function wrong(message: string, action: string): SyncError {
  return new SyncError({ code: "INVALID_ARGUMENT", message, action });
}

import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { SyncError } from "@scoutsync/core";
import { checkMemberName } from "@scoutsync/trust";
import type { AccessStore, UserRow } from "../registry/access-store.ts";
import { LockOut } from "./lock-out.ts";
import { isPersonRole, PERSON_ROLES, type PersonRole } from "./needs.ts";
import { hashPassword, isPassword } from "./passwords.ts";

const TOKEN_BYTES = 32;
const LONGEST_MS = 12 * 3_600_000;
const IDLE_MS = 2 * 3_600_000;
const MOST_SESSIONS = 1_000;
/** When a session was used last is written at most this often. */
const USED_INTERVAL_MS = 60_000;
const FREE_PER_NAME = 5;
/** A venue shares one address. */
const FREE_PER_ADDRESS = 20;
/** Checking a password costs 32 MiB while it lasts. */
const MOST_CHECKED_AT_ONCE = 4;

/** Somebody who has logged in. */
export interface Session {
  readonly name: string;
  readonly role: PersonRole;
  /** Hash of what has to come with whatever changes something. */
  readonly csrfHash: string;
}

/** People who may log in, and those who have: a restart logs nobody out. */
export class Logins {
  readonly #store: AccessStore;
  readonly #byName = new LockOut({ free: FREE_PER_NAME });
  readonly #byAddress = new LockOut({ free: FREE_PER_ADDRESS });
  #checking = 0;

  constructor(store: AccessStore) {
    this.#store = store;
  }

  /** A new session with its secrets: its token, and `csrf`, which is to come with whatever changes something. Throws UNAUTHENTICATED, or LIMIT_EXCEEDED while name or address are locked out. */
  async login(name: string, password: string, address: string): Promise<{ token: string; csrf: string; session: Session }> {
    this.#byAddress.check(address);
    this.#byName.check(name);
    if (this.#checking >= MOST_CHECKED_AT_ONCE) {
      throw new SyncError({ code: "LIMIT_EXCEEDED", message: "too many logins at once", action: "Try again in a moment." });
    }
    const user = this.#store.user(name);
    // Counted before it is known, so that many guesses at once are no way around.
    this.#byName.failed(name);
    this.#byAddress.failed(address);
    this.#checking += 1;
    const right = await isPassword(password, user?.password ?? null).finally(() => (this.#checking -= 1));
    if (!right || user === null) {
      throw new SyncError({ code: "UNAUTHENTICATED", message: "name or password is wrong", action: "Try again." });
    }
    this.#byName.succeeded(name);
    this.#byAddress.succeeded(address);
    const token = randomBytes(TOKEN_BYTES).toString("base64url");
    const now = Date.now();
    const csrf = randomBytes(TOKEN_BYTES).toString("base64url");
    const login = { hash: hashOf(token), csrf_hash: hashOf(csrf), name, ends_ms: now + LONGEST_MS, idle_ms: now + IDLE_MS };
    this.#store.addLogin(login, MOST_SESSIONS, now);
    return { token, csrf, session: { name, role: user.role, csrfHash: login.csrf_hash } };
  }

  /** The session of a token; null when there is none any more. */
  session(token: string): Session | null {
    const found = this.#store.login(hashOf(token));
    const now = Date.now();
    if (found === null || now > found.ends_ms || now > found.idle_ms) return null;
    if (now + IDLE_MS - found.idle_ms > USED_INTERVAL_MS) this.#store.loginUsed(found.hash, now + IDLE_MS);
    return { name: found.name, role: found.role, csrfHash: found.csrf_hash };
  }

  /** Whether a session was neither ended nor lasted too long, however long ago it was used: somebody may be looking on. */
  isOpen(token: string): boolean {
    const found = this.#store.login(hashOf(token));
    return found !== null && Date.now() <= found.ends_ms;
  }

  logout(token: string): void {
    this.#store.removeLogin(hashOf(token));
  }

  /** Adds or changes a person. Whoever is logged in under that name is logged out. Throws INVALID_ARGUMENT. */
  async setUser(asked: { name: string; role: string; password: string }): Promise<UserRow> {
    const name = checkMemberName(asked.name, "the name of a user");
    const { role } = asked;
    if (!isPersonRole(role)) {
      throw new SyncError({
        code: "INVALID_ARGUMENT",
        message: `"${role.slice(0, 40)}" is no role of a person`,
        action: `Use one of: ${PERSON_ROLES.join(", ")}.`,
      });
    }
    const password = await hashPassword(asked.password);
    const user: UserRow = { name, role, password, created_at: new Date().toISOString() };
    this.#store.setUser(user);
    this.#store.removeLoginsOf(name);
    return this.#store.user(name) ?? user;
  }

  users(): UserRow[] {
    return this.#store.users();
  }

  /** Throws NOT_FOUND. */
  removeUser(name: string): void {
    if (this.#store.removeUser(name)) return;
    throw new SyncError({
      code: "NOT_FOUND",
      message: `there is no user "${name.slice(0, 80)}"`,
      action: "See `scoutsync users list`.",
    });
  }
}

/** Whether a text is the one with that hash, in the time that it takes for any. */
export function isToken(given: string, hash: string): boolean {
  return timingSafeEqual(Buffer.from(hashOf(given)), Buffer.from(hash));
}

function hashOf(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}

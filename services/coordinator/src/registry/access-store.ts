import type { Database } from "better-sqlite3";

/** A row of `api_keys`, without its hash. Times are ISO 8601 UTC. */
export interface KeyRow {
  readonly name: string;
  readonly role: "viewer" | "operator" | "superadmin";
  readonly scopes: string[];
  readonly created_at: string;
  readonly expires_at: string;
  readonly last_used_at: string | null;
  readonly revoked_at: string | null;
}

/** A row of `users`. */
export interface UserRow {
  readonly name: string;
  /** As `passwords.ts` writes it. */
  readonly password: string;
  readonly role: "viewer" | "operator" | "superadmin";
  readonly created_at: string;
}

/** A row of `logins`, with the role of its user. */
export interface LoginRow {
  /** SHA-256, hexadecimal. */
  readonly hash: string;
  readonly csrf_hash: string;
  readonly name: string;
  readonly role: "viewer" | "operator" | "superadmin";
  /** Unix milliseconds. */
  readonly ends_ms: number;
  readonly idle_ms: number;
}

type StoredKey = Omit<KeyRow, "scopes"> & { scopes: string };

const KEY_COLUMNS = "name, role, scopes, created_at, expires_at, last_used_at, revoked_at";

/** Keys and users in the registry. */
export class AccessStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  addKey(key: Omit<KeyRow, "last_used_at" | "revoked_at">, hash: Uint8Array): void {
    this.#database
      .prepare("INSERT INTO api_keys (name, hash, role, scopes, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)")
      .run(key.name, hash, key.role, JSON.stringify(key.scopes), key.created_at, key.expires_at);
  }

  keys(): KeyRow[] {
    return this.#database.prepare<[], StoredKey>(`SELECT ${KEY_COLUMNS} FROM api_keys ORDER BY created_at, name`).all().map(parsed);
  }

  keyByHash(hash: Uint8Array): KeyRow | null {
    const row = this.#database.prepare<[Uint8Array], StoredKey>(`SELECT ${KEY_COLUMNS} FROM api_keys WHERE hash = ?`).get(hash);
    return row === undefined ? null : parsed(row);
  }

  keyUsed(name: string, at: string): void {
    this.#database.prepare("UPDATE api_keys SET last_used_at = ? WHERE name = ?").run(at, name);
  }

  /** False when there is none of that name that could be used. */
  revokeKey(name: string, at: string): boolean {
    return this.#database.prepare("UPDATE api_keys SET revoked_at = ? WHERE name = ? AND revoked_at IS NULL").run(at, name).changes > 0;
  }

  setUser(user: UserRow): void {
    this.#database
      .prepare(
        `INSERT INTO users (name, password, role, created_at) VALUES (?, ?, ?, ?)
         ON CONFLICT (name) DO UPDATE SET password = excluded.password, role = excluded.role`,
      )
      .run(user.name, user.password, user.role, user.created_at);
  }

  users(): UserRow[] {
    return this.#database.prepare<[], UserRow>("SELECT * FROM users ORDER BY name").all();
  }

  user(name: string): UserRow | null {
    return this.#database.prepare<[string], UserRow>("SELECT * FROM users WHERE name = ?").get(name) ?? null;
  }

  /** Keeps a login, and no more than `most`: those that end first go. */
  addLogin({ hash, csrf_hash, name, ends_ms, idle_ms }: Omit<LoginRow, "role">, most: number, nowMs: number): void {
    this.#database.prepare("DELETE FROM logins WHERE ends_ms < ? OR idle_ms < ?").run(nowMs, nowMs);
    this.#database
      .prepare("INSERT INTO logins (hash, csrf_hash, name, ends_ms, idle_ms) VALUES (?, ?, ?, ?, ?)")
      .run(hash, csrf_hash, name, ends_ms, idle_ms);
    this.#database.prepare("DELETE FROM logins WHERE hash IN (SELECT hash FROM logins ORDER BY ends_ms DESC LIMIT -1 OFFSET ?)").run(most);
  }

  login(hash: string): LoginRow | null {
    return (
      this.#database
        .prepare<[string], LoginRow>("SELECT logins.*, users.role FROM logins JOIN users ON users.name = logins.name WHERE hash = ?")
        .get(hash) ?? null
    );
  }

  loginUsed(hash: string, idleMs: number): void {
    this.#database.prepare("UPDATE logins SET idle_ms = ? WHERE hash = ?").run(idleMs, hash);
  }

  removeLogin(hash: string): void {
    this.#database.prepare("DELETE FROM logins WHERE hash = ?").run(hash);
  }

  removeLoginsOf(name: string): void {
    this.#database.prepare("DELETE FROM logins WHERE name = ?").run(name);
  }

  removeUser(name: string): boolean {
    return this.#database.prepare("DELETE FROM users WHERE name = ?").run(name).changes > 0;
  }
}

function parsed(row: StoredKey): KeyRow {
  return { ...row, scopes: JSON.parse(row.scopes) as string[] };
}

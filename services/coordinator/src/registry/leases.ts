import type { Database } from "better-sqlite3";

/** The right of one worker to run one session between two nodes. */
export interface LeaseRow {
  lease_id: string;
  /** The node that runs the session, and the one it runs it with. */
  server_id: number;
  source_id: number;
  epoch: number;
  worker: string;
  log_id: number;
  acquired_at: string;
  expires_at: string;
}

/** The tables `leases` and `lease_members`. */
export class Leases {
  readonly #insert;
  readonly #member;
  readonly #get;
  readonly #renew;
  readonly #remove;
  readonly #members;
  readonly #expired;
  readonly #all;

  constructor(database: Database) {
    this.#insert = database.prepare(
      `INSERT INTO leases (lease_id, server_id, source_id, epoch, worker, log_id, acquired_at, expires_at)
       VALUES (@lease_id, @server_id, @source_id, @epoch, @worker, @log_id, @acquired_at, @expires_at)`,
    );
    this.#member = database.prepare<[number, string]>("INSERT INTO lease_members (server_id, lease_id) VALUES (?, ?)");
    this.#get = database.prepare<[string], LeaseRow>("SELECT * FROM leases WHERE lease_id = ?");
    this.#renew = database.prepare<[string, string, string]>("UPDATE leases SET expires_at = ? WHERE lease_id = ? AND expires_at > ?");
    this.#remove = database.prepare<[string]>("DELETE FROM leases WHERE lease_id = ?");
    this.#members = database.prepare<[], { server_id: number }>("SELECT server_id FROM lease_members");
    this.#all = database.prepare<[], LeaseRow>("SELECT * FROM leases");
    this.#expired = database.prepare<[string], LeaseRow>("SELECT * FROM leases WHERE expires_at <= ?");
  }

  /** Stores a lease. Throws a constraint error when either node is in a session already. */
  insert(lease: LeaseRow): void {
    this.#insert.run(lease);
    this.#member.run(lease.server_id, lease.lease_id);
    this.#member.run(lease.source_id, lease.lease_id);
  }

  get(leaseId: string): LeaseRow | null {
    return this.#get.get(leaseId) ?? null;
  }

  /** Moves the end of a lease that has not expired; false when it has. */
  renew(leaseId: string, expiresAt: Date, now: Date): boolean {
    return this.#renew.run(expiresAt.toISOString(), leaseId, now.toISOString()).changes === 1;
  }

  remove(leaseId: string): void {
    this.#remove.run(leaseId);
  }

  /** Ids of the nodes that are in a session now, on either end. */
  busy(): Set<number> {
    return new Set(this.#members.all().map((row) => row.server_id));
  }

  all(): LeaseRow[] {
    return this.#all.all();
  }

  expired(now: Date): LeaseRow[] {
    return this.#expired.all(now.toISOString());
  }
}

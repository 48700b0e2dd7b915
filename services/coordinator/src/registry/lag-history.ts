import type { Database } from "better-sqlite3";

export interface LagPoint {
  time: string;
  missing_changes: number;
  oldest_missing_age_s: number;
}

/** Two points of a chart are at least this far apart. */
const POINT_DISTANCE_MS = 60_000;

/** The table `lag_history`: what each node lacked, for charts. */
export class LagHistory {
  readonly #add;
  readonly #list;
  readonly #drop;
  readonly #last = new Map<number, { atMs: number; missing: number }>();

  constructor(database: Database) {
    this.#add = database.prepare(
      `INSERT OR REPLACE INTO lag_history (server_id, time, missing_changes, oldest_missing_age_s)
       SELECT @serverId, @time, @missing, @age WHERE EXISTS (SELECT 1 FROM sync_servers WHERE id = @serverId)`,
    );
    this.#list = database.prepare<[number, string], LagPoint>(
      "SELECT time, missing_changes, oldest_missing_age_s FROM lag_history WHERE server_id = ? AND time > ? ORDER BY time",
    );
    this.#drop = database.prepare<[string]>("DELETE FROM lag_history WHERE time < ?");
  }

  /** Notes what a node lacks, unless it lacked as much before or was noted within the minute. */
  note(serverId: number, missing: number, age: number, now: Date): void {
    const last = this.#last.get(serverId);
    // The first point of a fall to zero is what a chart must not miss.
    const soon = last !== undefined && now.getTime() - last.atMs < POINT_DISTANCE_MS && missing > 0 === last.missing > 0;
    if (soon || (last !== undefined && last.missing === missing && missing === 0)) return;
    this.#last.set(serverId, { atMs: now.getTime(), missing });
    this.#add.run({ serverId, time: now.toISOString(), missing, age });
  }

  since(serverId: number, since: Date): LagPoint[] {
    return this.#list.all(serverId, since.toISOString());
  }

  dropOlderThan(before: Date): void {
    this.#drop.run(before.toISOString());
  }
}

import type { Database } from "better-sqlite3";
import type { OperationName } from "../operations/shapes.ts";

/** Distinct error patterns kept per node: more than this is noise, the oldest go. */
const PATTERNS_PER_SERVER = 50;
const PATTERN_LENGTH = 200;
const MESSAGE_LENGTH = 500;

/** One attempt at one step of syncing. */
export interface Attempt {
  serverId: number;
  operation: OperationName;
  durationS: number;
  /** Null when it went well. */
  error: { code: string; message: string } | null;
}

export interface ReliabilityBucket {
  operation: OperationName;
  /** `2026-03-01T14` for an hour, `2026-03-01` for a day. */
  bucket: string;
  total: number;
  failed: number;
  duration_s: number;
  max_duration_s: number;
}

export interface ErrorPatternRow {
  operation: OperationName;
  code: string;
  message: string;
  count: number;
  first_seen: string;
  last_seen: string;
}

/** The tables `reliability` and `error_patterns`. */
export class ReliabilityStore {
  readonly #add;
  readonly #note;
  readonly #forgetOldest;
  readonly #totals;
  readonly #buckets;
  readonly #patterns;
  readonly #rollUp;
  readonly #dropHours;
  readonly #drop;
  readonly #countOld;
  readonly #dropPatterns;

  constructor(database: Database) {
    this.#add = database.prepare(
      `INSERT INTO reliability (server_id, operation, bucket, total, failed, duration_s, max_duration_s)
       SELECT @serverId, @operation, @bucket, 1, @failed, @durationS, @durationS
       WHERE EXISTS (SELECT 1 FROM sync_servers WHERE id = @serverId)
       ON CONFLICT DO UPDATE SET total = total + 1, failed = failed + excluded.failed,
         duration_s = duration_s + excluded.duration_s, max_duration_s = max(max_duration_s, excluded.max_duration_s)`,
    );
    this.#note = database.prepare(
      `INSERT INTO error_patterns (server_id, operation, code, pattern, message, count, first_seen, last_seen)
       SELECT @serverId, @operation, @code, @pattern, @message, 1, @now, @now
       WHERE EXISTS (SELECT 1 FROM sync_servers WHERE id = @serverId)
       ON CONFLICT DO UPDATE SET count = count + 1, message = excluded.message, last_seen = excluded.last_seen`,
    );
    this.#forgetOldest = database.prepare<[number, number, number]>(
      `DELETE FROM error_patterns WHERE server_id = ? AND last_seen < (
         SELECT last_seen FROM error_patterns WHERE server_id = ? ORDER BY last_seen DESC LIMIT 1 OFFSET ?)`,
    );
    this.#totals = database.prepare<[number], { total: number; failed: number }>(
      "SELECT sum(total) AS total, sum(failed) AS failed FROM reliability WHERE server_id = ? GROUP BY operation",
    );
    this.#buckets = database.prepare<[number], ReliabilityBucket>(
      "SELECT operation, bucket, total, failed, duration_s, max_duration_s FROM reliability WHERE server_id = ? ORDER BY bucket",
    );
    this.#patterns = database.prepare<[number], ErrorPatternRow>(
      `SELECT operation, code, message, count, first_seen, last_seen FROM error_patterns WHERE server_id = ?
       ORDER BY count DESC, last_seen DESC`,
    );
    this.#rollUp = database.prepare<[string]>(
      `INSERT INTO reliability (server_id, operation, bucket, total, failed, duration_s, max_duration_s)
       SELECT server_id, operation, substr(bucket, 1, 10), sum(total), sum(failed), sum(duration_s), max(max_duration_s)
       FROM reliability WHERE length(bucket) = 13 AND bucket < ? GROUP BY 1, 2, 3
       ON CONFLICT DO UPDATE SET total = total + excluded.total, failed = failed + excluded.failed,
         duration_s = duration_s + excluded.duration_s, max_duration_s = max(max_duration_s, excluded.max_duration_s)`,
    );
    this.#dropHours = database.prepare<[string]>("DELETE FROM reliability WHERE length(bucket) = 13 AND bucket < ?");
    this.#drop = database.prepare<[string]>("DELETE FROM reliability WHERE bucket < ?");
    this.#countOld = database.prepare<[string, string], { figures: number; patterns: number }>(
      `SELECT (SELECT count(*) FROM reliability WHERE bucket < ?) AS figures,
              (SELECT count(*) FROM error_patterns WHERE last_seen < ?) AS patterns`,
    );
    this.#dropPatterns = database.prepare<[string]>("DELETE FROM error_patterns WHERE last_seen < ?");
  }

  /** Counts one attempt. One with a node that is gone is not counted. */
  add({ serverId, operation, durationS, error }: Attempt, now: Date): void {
    const bucket = now.toISOString().slice(0, 13);
    this.#add.run({ serverId, operation, bucket, failed: error === null ? 0 : 1, durationS });
    if (error === null) return;
    const pattern = patternOf(error.message);
    const message = error.message.slice(0, MESSAGE_LENGTH);
    const noted = this.#note.run({ serverId, operation, code: error.code, pattern, message, now: now.toISOString() });
    if (noted.changes > 0) this.#forgetOldest.run(serverId, serverId, PATTERNS_PER_SERVER - 1);
  }

  /** How often each step was tried with one node, and failed. */
  totals(serverId: number): { total: number; failed: number }[] {
    return this.#totals.all(serverId);
  }

  /** Hours and days of one node, oldest first. */
  buckets(serverId: number): ReliabilityBucket[] {
    return this.#buckets.all(serverId);
  }

  /** What went wrong with one node, the most frequent first. */
  patterns(serverId: number): ErrorPatternRow[] {
    return this.#patterns.all(serverId);
  }

  /** Adds up hours that began before `before` into their days. Inside a transaction. */
  rollUp(before: Date): void {
    const day = before.toISOString().slice(0, 10);
    this.#rollUp.run(day);
    this.#dropHours.run(day);
  }

  countOlderThan(before: Date): { figures: number; patterns: number } {
    return this.#countOld.get(before.toISOString().slice(0, 10), before.toISOString()) ?? { figures: 0, patterns: 0 };
  }

  dropOlderThan(before: Date): void {
    this.#drop.run(before.toISOString().slice(0, 10));
    this.#dropPatterns.run(before.toISOString());
  }
}

/** A message without what differs from one time to the next: numbers, addresses, quoted names, paths, identities. */
export function patternOf(message: string): string {
  return message
    .replace(/"[^"]*"/g, '"…"')
    .replace(/\b[0-9a-f]{8,}(-[0-9a-f]{4,})*\b/gi, "#")
    .replace(/\/[\w./-]+/g, "/…")
    .replace(/\d+(\.\d+)*/g, "#")
    .slice(0, PATTERN_LENGTH);
}

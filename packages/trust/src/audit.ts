import { createHash } from "node:crypto";
import { appendFileSync, closeSync, fstatSync, mkdirSync, openSync, readSync, rmSync } from "node:fs";
import { dirname } from "node:path";

/** One line of the audit log. */
export interface AuditEntry {
  /** Who did it: `role/id (name)`, `key:NAME`, `user:NAME`, or the address of somebody unknown. */
  who: string;
  /** The call or route, or what was done: `/scoutsync.v1.Fleet/Revoke`, `POST /api/keys`. */
  what: string;
  outcome: "done" | "refused" | "failed";
  /** Why it was refused, or what it was about. No secrets and no values of rows. */
  details?: string;
}

/** The same refusal is written once in this time; the next line says how many there were. */
const QUIET_MS = 10_000;
const MOST_QUIETED = 1_000;
/** Refusals of one source that are written at once, and one more in each such time, milliseconds. */
const MOST_OF_ONE = 2_000;
const ONE_MORE_MS = 10_000;
/** The same of all sources together: addresses are cheap. */
const MOST_OF_ALL = 20_000;
const ONE_MORE_OF_ALL_MS = 1_000;
const MOST_SOURCES = 1_000;
const TAIL_BYTES = 64 * 1024;
/** Nobody holds the log for so long, milliseconds. */
const LONGEST_LOCK_MS = 1_000;

/** How many lines may be written: so many at once, and one more in each period. */
class Allowance {
  readonly #most: number;
  readonly #periodMs: number;
  #left: number;
  #atMs: number;

  constructor({ most, periodMs, nowMs }: { most: number; periodMs: number; nowMs: number }) {
    this.#most = most;
    this.#periodMs = periodMs;
    this.#left = most;
    this.#atMs = nowMs;
  }

  take(nowMs: number): boolean {
    const earned = Math.max(0, Math.floor((nowMs - this.#atMs) / this.#periodMs));
    this.#left = Math.min(this.#most, this.#left + earned);
    this.#atMs += earned * this.#periodMs;
    if (this.#left === 0) return false;
    this.#left -= 1;
    return true;
  }
}

/**
 * Refusals and administrative acts, one JSON object a line, only ever appended. Each line carries the hash of the one
 * before it, so that a line that was changed or taken out is noticed.
 */
export class AuditLog {
  readonly path: string;
  readonly #quieted = new Map<string, { untilMs: number; more: number }>();
  readonly #sources = new Map<string, Allowance>();
  #all: Allowance | null = null;
  /** Refusals since the last line that was written of one, beyond what may be. */
  #unwritten = 0;

  constructor(path: string) {
    this.path = path;
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  }

  /**
   * Appends an entry. A refusal that repeats is counted rather than written, and so are those beyond some thousands of one
   * source or of all, which the next line gives the number of: nobody fills the disk, and who does it is in the log.
   */
  write(entry: AuditEntry, nowMs = Date.now()): void {
    if (entry.outcome !== "refused") return this.#append(entry, nowMs, 0);
    // A port changes with every attempt; the host does not.
    const source = entry.who.replace(/:\d+$/, "");
    const key = JSON.stringify([source, entry.what, entry.details]);
    const quiet = this.#quieted.get(key);
    if (quiet && nowMs < quiet.untilMs) {
      quiet.more += 1;
      return;
    }
    if (this.#quieted.size >= MOST_QUIETED) this.#quieted.clear();
    this.#quieted.set(key, { untilMs: nowMs + QUIET_MS, more: 0 });
    if (!this.#mayWrite(source, nowMs)) {
      this.#unwritten += 1;
      return;
    }
    this.#append(entry, nowMs, quiet?.more ?? 0, this.#unwritten);
    this.#unwritten = 0;
  }

  #mayWrite(source: string, nowMs: number): boolean {
    this.#all ??= new Allowance({ most: MOST_OF_ALL, periodMs: ONE_MORE_OF_ALL_MS, nowMs });
    let own = this.#sources.get(source);
    if (own === undefined) {
      if (this.#sources.size >= MOST_SOURCES) this.#sources.clear();
      own = new Allowance({ most: MOST_OF_ONE, periodMs: ONE_MORE_MS, nowMs });
      this.#sources.set(source, own);
    }
    return own.take(nowMs) && this.#all.take(nowMs);
  }

  #append(entry: AuditEntry, nowMs: number, more: number, unwritten = 0): void {
    const time = new Date(nowMs).toISOString();
    const unlock = lock(`${this.path}.lock`);
    try {
      // Read again: the command line writes here, too.
      const previous = hashOf(lastLine(this.path));
      const line = JSON.stringify({ time, ...entry, ...(more > 0 && { repeated: more }), ...(unwritten > 0 && { unwritten }), previous });
      appendFileSync(this.path, `${line}\n`, { mode: 0o600 });
    } finally {
      unlock();
    }
  }
}

/**
 * Keeps other processes from appending between our look at the last line and ours; returns how to let them. Whoever
 * cannot get the lock in its time writes all the same: a line out of order is better than none.
 */
function lock(path: string): () => void {
  const end = Date.now() + LONGEST_LOCK_MS;
  for (;;) {
    try {
      closeSync(openSync(path, "wx", 0o600));
      return () => rmSync(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    if (Date.now() >= end) {
      // Left by a process that was killed.
      rmSync(path, { force: true });
      return () => undefined;
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
  }
}

/** The first line (from 1) that does not follow the one before it; null when the log is as it was written. */
export function brokenLine(text: string): number | null {
  const lines = text.split("\n").filter((line) => line !== "");
  for (const [at, line] of lines.entries()) {
    const { previous } = JSON.parse(line) as { previous?: string };
    if (previous !== hashOf(lines[at - 1] ?? "")) return at + 1;
  }
  return null;
}

function hashOf(line: string): string {
  return line === "" ? "" : createHash("sha256").update(line).digest("hex");
}

function lastLine(path: string): string {
  let file: number;
  try {
    file = openSync(path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw error;
  }
  try {
    const { size } = fstatSync(file);
    const tail = Buffer.alloc(Math.min(size, TAIL_BYTES));
    readSync(file, tail, 0, tail.length, size - tail.length);
    return tail.toString("utf8").trimEnd().split("\n").at(-1) ?? "";
  } finally {
    closeSync(file);
  }
}

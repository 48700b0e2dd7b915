import type { Database } from "better-sqlite3";

/** How long SQLite itself waits for a lock between two tries, milliseconds. */
const WAITS_MS = [1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50];
const LONGEST_WAIT_MS = 100;
/** While this thread sleeps it looks so often at what others commit, milliseconds. */
const LOOK_EVERY_MS = 5;
/**
 * A writer that waits for the lock looks again after at most 100 ms. After this much time under locks of ours without
 * a pause of that length one is made, so that no writer with an ordinary busy timeout goes away empty, milliseconds.
 */
const LONGEST_WITHOUT_PAUSE_MS = 2_000;
const PAUSE_MS = 105;

/** Sees to it that turns under the lock that follow each other leave others a moment for theirs. */
export class LockTurns {
  private readonly longestMs: number;
  private heldMs = 0;
  private takenAtMs = 0;
  private releasedAtMs = 0;

  /** `longestMs`: for how long locks of ours may follow each other without a pause. */
  constructor(longestMs = LONGEST_WITHOUT_PAUSE_MS) {
    this.longestMs = longestMs;
  }

  /** Before the lock is asked for; `look` is called while this thread sleeps, which serves nothing else meanwhile. */
  take(look: () => void = () => {}): void {
    if (performance.now() - this.releasedAtMs >= PAUSE_MS) this.heldMs = 0;
    else if (this.heldMs >= this.longestMs) {
      pauseLooking(PAUSE_MS, look);
      this.heldMs = 0;
    }
    this.takenAtMs = performance.now();
  }

  /** After the lock was given back. */
  release(): void {
    this.releasedAtMs = performance.now();
    this.heldMs += this.releasedAtMs - this.takenAtMs;
  }
}

/**
 * Begins a write transaction, waiting for the lock for as long as the connection's busy timeout says: as SQLite does it, but
 * with `look` called meanwhile. Throws SQLite's error when the time is over.
 */
export function beginWriting(db: Database, look: () => void): void {
  const timeoutMs = db.pragma("busy_timeout", { simple: true }) as number;
  const end = performance.now() + timeoutMs;
  for (let tries = 0; ; tries++) {
    const busy = tryToBegin(db, timeoutMs);
    if (busy === null) return;
    const leftMs = end - performance.now();
    if (leftMs <= 0) throw busy;
    pauseLooking(Math.min(leftMs, WAITS_MS[tries] ?? LONGEST_WAIT_MS), look);
  }
}

/** Null when it has the lock; what SQLite said when somebody else has it. */
function tryToBegin(db: Database, timeoutMs: number): Error | null {
  db.pragma("busy_timeout = 0");
  try {
    db.exec("BEGIN IMMEDIATE");
    return null;
  } catch (error) {
    if ((error as { code?: string }).code?.startsWith("SQLITE_BUSY")) return error as Error;
    throw error;
  } finally {
    db.pragma(`busy_timeout = ${timeoutMs}`);
  }
}

/** Puts this thread to sleep, but for `look` every few milliseconds. */
export function pauseLooking(ms: number, look: () => void): void {
  for (let left = ms; left > 0; left -= LOOK_EVERY_MS) {
    pauseThread(Math.min(left, LOOK_EVERY_MS));
    look();
  }
}

/** Puts this thread to sleep. */
export function pauseThread(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

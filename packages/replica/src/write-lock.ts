import type { Database } from "better-sqlite3";
import { valueStatement } from "./kept-statements.ts";

/** How long SQLite itself waits for a lock between two tries, milliseconds. */
const WAITS_MS = [1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50];
const LONGEST_WAIT_MS = 100;
/** For how long it is asked for without a pause, where others commit one transaction after another: longer than most take, milliseconds. */
const LONGEST_ASKING_MS = 2_000;
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

/** How a lock is waited for that others have. */
interface Patience {
  /** Called every few milliseconds meanwhile. */
  look?: () => void;
  /** The busy timeout is for one transaction: while others go on committing it begins again, so there may be no end to it. */
  inTurns?: boolean;
}

/** Begins a write transaction, as `whenFree`. */
export const beginWriting = (db: Database, patience: Patience = {}): void => void whenFree(db, () => db.exec("BEGIN IMMEDIATE"), patience);

/** Runs `work` in a write transaction for which it waits in turns, or in the one that is open. Throws as `whenFree`, and what `work` throws. */
export function writing<T>(db: Database, work: () => T): T {
  if (db.inTransaction) return work();
  beginWriting(db, { inTurns: true });
  try {
    const result = work();
    db.exec("COMMIT");
    return result;
  } catch (error) {
    if (db.inTransaction) db.exec("ROLLBACK");
    throw error;
  }
}

/**
 * What `attempt` returns once no lock of another connection keeps it from doing so. It is waited for as SQLite does it, for as long as the
 * connection's busy timeout says, until another commits: then the lock was free, but for shorter than a look now and then would see,
 * and it is asked for without pause. Throws SQLite's error when the time is over. For statements that take nothing when they fail.
 */
export function whenFree<T>(db: Database, attempt: () => T, { look = () => {}, inTurns = false }: Patience = {}): T {
  const timeoutMs = db.pragma("busy_timeout", { simple: true }) as number;
  const ask = (forMs: number) => withoutWaiting(db, timeoutMs, () => askFor(forMs, attempt));
  const foreignCommits = () => withoutWaiting(db, timeoutMs, () => commitsOfOthers(db));
  let since = performance.now();
  let answer = ask(0);
  if (answer.got) return answer.result;
  let seen = foreignCommits();
  let withoutPauseUntil = 0;
  for (let tries = 0; ;) {
    const nowMs = performance.now();
    const leftMs = since + timeoutMs - nowMs;
    if (leftMs <= 0) throw answer.busy;
    if (nowMs < withoutPauseUntil) {
      look();
      answer = ask(Math.min(leftMs, LOOK_EVERY_MS));
    } else {
      pauseLooking(Math.min(leftMs, WAITS_MS[tries++] ?? LONGEST_WAIT_MS), look);
      answer = ask(0);
    }
    if (answer.got) return answer.result;
    const commits = foreignCommits();
    if (commits !== null && commits === seen) continue;
    tries = 0;
    withoutPauseUntil = performance.now() + LONGEST_ASKING_MS;
    if (inTurns && commits !== null) since = performance.now();
    seen = commits ?? seen;
  }
}

type Answer<T> = { got: true; result: T } | { got: false; busy: Error };

/** Tries again without a pause, at least once, for so long, milliseconds. */
function askFor<T>(forMs: number, attempt: () => T): Answer<T> {
  for (const end = performance.now() + forMs; ;) {
    try {
      return { got: true, result: attempt() };
    } catch (error) {
      if (!isBusy(error)) throw error;
      if (performance.now() >= end) return { got: false, busy: error };
    }
  }
}

/** A number that changes with every commit of another connection; null while one keeps readers out, too, to commit without a write-ahead log. */
function commitsOfOthers(db: Database): number | null {
  try {
    return valueStatement(db, "PRAGMA data_version").get() as number;
  } catch (error) {
    if (isBusy(error)) return null;
    throw error;
  }
}

/** True for what SQLite says when another connection has a lock, or has committed since a transaction's first look. */
export const isBusy = (error: unknown): error is Error => (error as { code?: string }).code?.startsWith("SQLITE_BUSY") === true;

/** Has SQLite itself say at once that another has a lock. */
function withoutWaiting<T>(db: Database, timeoutMs: number, work: () => T): T {
  db.pragma("busy_timeout = 0");
  try {
    return work();
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

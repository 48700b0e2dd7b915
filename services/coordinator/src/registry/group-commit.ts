import type { Database } from "better-sqlite3";

/** Who comes while this passes is in the same commit, milliseconds. */
const SHORTEST_GATHER_MS = 2;
/** Commits take at most about a third of the time, however slow the disk is. */
const GATHER_PER_COMMIT = 2;
const LONGEST_GATHER_MS = 200;

interface Waiting {
  work: () => void;
  done: () => void;
  failed: (error: unknown) => void;
}

/**
 * Commits what several ask for at the same moment in one transaction, because waiting for the disk is what a commit
 * costs. Nobody hears of a success before it is on disk.
 */
export class GroupCommit {
  readonly #database: Database;
  readonly #undone: () => void;
  readonly #waiting: Waiting[] = [];
  #timer: NodeJS.Timeout | null = null;
  #lastMs = 0;

  /** `undone` is called whenever something that was written has been rolled back. */
  constructor(database: Database, undone: () => void) {
    this.#database = database;
    this.#undone = undone;
  }

  /** Resolves with what `work` returned once it is on disk; rejects with what it threw, and then it alone is undone. */
  run<T>(work: () => T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      let result: T;
      this.#waiting.push({ work: () => void (result = work()), done: () => resolve(result), failed: reject });
      const gatherMs = Math.min(LONGEST_GATHER_MS, Math.max(SHORTEST_GATHER_MS, this.#lastMs * GATHER_PER_COMMIT));
      this.#timer ??= setTimeout(() => this.flush(), gatherMs);
    });
  }

  /** Commits now what is waiting. */
  flush(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const group = this.#waiting.splice(0);
    if (group.length === 0) return;
    const startedAt = performance.now();
    const good: Waiting[] = [];
    const bad: { waiting: Waiting; error: unknown }[] = [];
    try {
      const each = this.#database.transaction((work: () => void) => work());
      this.#database
        .transaction(() => {
          for (const waiting of group) {
            try {
              each(waiting.work);
              good.push(waiting);
            } catch (error) {
              // A full disk ends the whole transaction, not only this part of it.
              if (!this.#database.inTransaction) throw error;
              bad.push({ waiting, error });
            }
          }
        })
        .immediate();
    } catch (error) {
      // Nothing of it is on disk: not what went well either.
      this.#undone();
      for (const waiting of group) waiting.failed(error);
      return;
    }
    this.#lastMs = performance.now() - startedAt;
    if (bad.length > 0) this.#undone();
    for (const waiting of good) waiting.done();
    for (const { waiting, error } of bad) waiting.failed(error);
  }
}

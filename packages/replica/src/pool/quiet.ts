/** Looks that a drain waits for at most. */
const MOST_WAITS = 2;

/**
 * When what was captured is due to be drained: once a look has found nothing new, which is when the application has been quiet
 * for that long. An application that has just written often goes on at once, and where a transaction of it has read and is
 * about to write (BEGIN without IMMEDIATE), SQLite refuses that write as "locked" if anybody committed in between, whatever
 * its timeout.
 */
export class Quiet {
  #waited = 0;

  /** `news`: somebody committed since the last look. `urgent`: there is too much, or a drain is under way. */
  isDue({ news, urgent }: { news: boolean; urgent: boolean }): boolean {
    if (!news || urgent || this.#waited === MOST_WAITS) {
      this.#waited = 0;
      return true;
    }
    this.#waited++;
    return false;
  }

  /** True when something was seen that is not drained yet. */
  get isWaiting(): boolean {
    return this.#waited > 0;
  }
}

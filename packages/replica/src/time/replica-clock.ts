/** What is off by no more is left as it is, microseconds. */
export const TOLERANCE_US = 5_000_000;
/** A step of the wall clock; what is slower is a clock being slewed, microseconds. */
const STEP_US = 1_000_000;
/** So long may a transaction take that notes honest times; what is dated further back was written by a clock of its own, microseconds. */
const LONGEST_TRANSACTION_US = 60_000_000;

/** Changes of this run that were stamped by the wall clock as it was between two steps of it. */
interface Stretch {
  /** The last sequence before it. */
  after: number;
  /** What was added to the wall clock. */
  correctionUs: number;
  /** By how much the clock was set since, in all. */
  stepsUs: number;
  /** The clock was compared with others meanwhile: what is not yet seen is right. */
  compared: boolean;
}

/** Sequences `after` < s <= `to` of this run's origin whose stamps are off by `shiftUs`. */
export interface Misstamped {
  after: number;
  to: number;
  shiftUs: number;
}

/**
 * The clock that changes are stamped by: the machine's, plus what contacts with others showed to be wrong with it. Knows
 * which changes of this run nobody else has seen; only those may be stamped again.
 */
export class ReplicaClock {
  correctionUs: number;
  private readonly wallUs: () => number;
  private readonly uptimeUs: () => number;
  private baseUs: number;
  private stretches: Stretch[];
  private shared = 0;
  /** Nothing has been captured since this that is not drained, by the time since the machine's start; null while that is not known. */
  private drainedUs: number | null = null;
  private isDrained = false;
  /** Both when the transaction began. */
  private atBegin: { drainedUs: number | null; isDrained: boolean } = { drainedUs: null, isDrained: false };

  constructor(options: { nowUs: () => number; uptimeUs: () => number; correctionUs: number }) {
    this.wallUs = options.nowUs;
    this.uptimeUs = options.uptimeUs;
    this.correctionUs = options.correctionUs;
    this.baseUs = this.wallUs() - this.uptimeUs();
    // A correction that was kept over a restart is the result of a comparison.
    this.stretches = [{ after: 0, correctionUs: this.correctionUs, stepsUs: 0, compared: this.correctionUs !== 0 }];
  }

  /** Now, corrected. Unix microseconds. */
  nowUs(): number {
    return this.stamp(Number.POSITIVE_INFINITY);
  }

  /** The corrected time of what was captured at `capturedUs`, which a writer with a clock of its own may have noted: it counts as now, then. */
  stamp(capturedUs: number): number {
    const wallUs = this.wallUs();
    return Math.max(0, (this.isPossible(capturedUs, wallUs) ? capturedUs : wallUs) + this.correctionUs);
  }

  /** False for a time after now, or long before the last time when nothing waited. What no clock has dated (`EARLIEST`) is left as it is. */
  private isPossible(capturedUs: number, wallUs: number): boolean {
    if (capturedUs > wallUs) return false;
    if (capturedUs <= 0 || this.drainedUs === null) return true;
    return capturedUs >= wallUs - (this.uptimeUs() - this.drainedUs) - LONGEST_TRANSACTION_US;
  }

  /** A transaction begins that may be undone. */
  remember(): void {
    this.atBegin = { drainedUs: this.drainedUs, isDrained: this.isDrained };
  }

  /** It was undone: what it drained waits, with the times that were noted. */
  undo(): void {
    ({ drainedUs: this.drainedUs, isDrained: this.isDrained } = this.atBegin);
  }

  /** All that is captured has been drained. Call under the write lock: nobody is in the middle of writing. */
  drained(): void {
    this.isDrained = true;
    this.drainedUs = this.uptimeUs();
  }

  /** Somebody has committed, or nobody since this was last called. */
  looked(isNews: boolean): void {
    if (isNews) this.isDrained = false;
    else if (this.isDrained) this.drainedUs = this.uptimeUs();
  }

  /**
   * Looks whether the machine's clock was set. A correction does not hold for the clock as it is now. Call before dots
   * are made; `last` is the last sequence of this run.
   */
  look(last: number): void {
    const baseUs = this.wallUs() - this.uptimeUs();
    const stepUs = baseUs - this.baseUs;
    this.baseUs = baseUs;
    if (Math.abs(stepUs) <= STEP_US) return;
    for (const stretch of this.stretches) stretch.stepsUs += stepUs;
    this.correctionUs = 0;
    this.stretches.push({ after: last, correctionUs: 0, stepsUs: 0, compared: false });
  }

  /** Everything up to here has left this replica: it is never stamped again. */
  share(last: number): void {
    this.shared = Math.max(this.shared, last);
  }

  /** The last sequence of this run that has left this replica. */
  get sharedTo(): number {
    return this.shared;
  }

  /** A new origin counts its sequences anew. */
  restart(): void {
    this.shared = 0;
    const compared = this.stretches.at(-1)?.compared === true;
    this.stretches = [{ after: 0, correctionUs: this.correctionUs, stepsUs: 0, compared }];
  }

  /**
   * By the outcome of a comparison with other clocks: what nobody has seen yet and is stamped wrongly.
   * What was stamped before the clock was set was compared then, or was off by what it was set by.
   */
  misstamped(correctionUs: number, last: number): Misstamped[] {
    this.look(last);
    const found: Misstamped[] = [];
    this.stretches.forEach((stretch, i) => {
      const next = this.stretches[i + 1];
      const to = next?.after ?? last;
      const after = Math.max(stretch.after, this.shared);
      const shiftUs = next && stretch.compared ? 0 : stretch.stepsUs + correctionUs - stretch.correctionUs;
      if (after < to && Math.abs(shiftUs) > TOLERANCE_US) found.push({ after, to, shiftUs: Math.round(shiftUs) });
    });
    return found;
  }

  /** True where the comparison says nothing new: everything of this run was stamped by a clock that it found right. */
  isRight(correctionUs: number, last: number): boolean {
    this.look(last);
    return this.foundRightUs === correctionUs;
  }

  /** The correction that a comparison has found to be that of everything stamped since; null where one is due. Microseconds. */
  get foundRightUs(): number | null {
    const [stretch, ...more] = this.stretches;
    return more.length === 0 && stretch?.compared === true && stretch.stepsUs === 0 ? stretch.correctionUs : null;
  }

  /** Goes by the comparison from now on; what was stamped wrongly has been stamped again. */
  correct(correctionUs: number): void {
    this.correctionUs = correctionUs;
    this.stretches = [{ after: this.stretches[0]?.after ?? 0, correctionUs, stepsUs: 0, compared: true }];
  }
}

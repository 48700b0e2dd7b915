import type { BigIntStats } from "node:fs";

/** What a kernel has had for so long is on the disk: it writes everything back within half of it, µs. */
const WRITTEN_BACK_US = 60_000_000;
/** A clock that moves less than this against the one that only counts is being adjusted, not set, ms. */
const ADJUSTED_MS = 1_000;

/**
 * The clock that the kernel stamps files with: the machine's own, set as it may be. A process's idea of the time goes on from
 * when it began, and would call a file that was written this moment an old one after the clock was set back.
 */
export class DiskClock {
  private readonly wallMs: () => number;
  private readonly countedMs: () => number;
  private offsetMs: number;
  private setAtMs = -Infinity;
  private metOffsetMs: number;

  /** `wallMs` may be set, `countedMs` only ever counts; both in milliseconds. */
  constructor(wallMs: () => number = Date.now, countedMs: () => number = () => performance.now()) {
    this.wallMs = wallMs;
    this.countedMs = countedMs;
    this.offsetMs = wallMs() - countedMs();
    this.metOffsetMs = this.offsetMs;
  }

  /** Unix microseconds. */
  nowUs(): number {
    return this.wallMs() * 1000;
  }

  /** True once for each time that it was set ahead: by a person, after sleep, or because all of the machine is an earlier state of it. */
  wasSetAhead(): boolean {
    const offset = this.wallMs() - this.countedMs();
    const byMs = offset - this.metOffsetMs;
    this.metOffsetMs = offset;
    return byMs > ADJUSTED_MS;
  }

  /** True for a file whose last change may not be on the disk yet. Just after the clock was set no time of a file says anything. */
  mayBeUnwritten({ mtimeNs, ctimeNs }: BigIntStats): boolean {
    const counted = this.countedMs();
    const offset = this.wallMs() - counted;
    if (Math.abs(offset - this.offsetMs) > ADJUSTED_MS) {
      this.offsetMs = offset;
      this.setAtMs = counted;
    }
    if ((counted - this.setAtMs) * 1000 < WRITTEN_BACK_US) return true;
    const since = BigInt(Math.round(this.nowUs() - WRITTEN_BACK_US)) * 1000n;
    return mtimeNs > since || ctimeNs > since;
  }
}

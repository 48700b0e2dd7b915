import { pause } from "@scoutsync/runtime";

/** Bytes that may pass at once after a pause, as time at the full rate. */
const BURST_MS = 250;

/** A limit on how fast files travel, shared by all sessions of a node. */
export class Rate {
  private readonly bytesPerMs: number;
  private readonly now: () => number;
  private freeAtMs = 0;

  /** Bytes per second; 0 = no limit. */
  constructor(bytesPerSecond: number, now: () => number = () => performance.now()) {
    this.bytesPerMs = bytesPerSecond / 1000;
    this.now = now;
  }

  /** Resolves when these bytes may pass. */
  async pass(bytes: number, signal?: AbortSignal): Promise<void> {
    if (this.bytesPerMs === 0) return;
    const now = this.now();
    this.freeAtMs = Math.max(this.freeAtMs, now - BURST_MS) + bytes / this.bytesPerMs;
    const waitMs = this.freeAtMs - now;
    if (waitMs > 0) await pause(waitMs, signal);
  }
}

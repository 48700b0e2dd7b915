import type { CaptureCheck, CaptureFault } from "../replica.ts";

/** So many are remembered: whoever asks less often hears of the latest. */
const REMEMBERED = 1_000;

/** What was found wrong with capture since this run began, for those who ask now and then and want to hear of each once. */
export class CaptureFaults {
  private readonly run: string;
  private readonly faults: CaptureFault[] = [];
  /** Found inside a transaction that has not committed. */
  private found: CaptureFault[] = [];
  private forgotten = 0;

  constructor(run: string) {
    this.run = run;
  }

  note(fault: CaptureFault): void {
    this.found.push(fault);
  }

  /** What was done about them is on disk. */
  keep(): void {
    this.faults.push(...this.found);
    this.found = [];
    this.forgotten += this.faults.splice(0, Math.max(0, this.faults.length - REMEMBERED)).length;
  }

  /** It was rolled back, and will be found again. */
  drop(): void {
    this.found = [];
  }

  /** What was found after `seen`, the `cursor` of an earlier answer; everything when that was another run's. */
  since(seen: string): CaptureCheck {
    const [run, count] = seen.split(":");
    const known = run === this.run ? Number(count) : 0;
    const from = Number.isSafeInteger(known) ? Math.max(0, known - this.forgotten) : 0;
    return { faults: this.faults.slice(from), cursor: `${this.run}:${this.forgotten + this.faults.length}` };
  }
}

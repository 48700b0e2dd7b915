import { type ClockSample, decides } from "@scoutsync/protocol";

/** Clocks that differ by no more are taken for equal, microseconds. */
export const TOLERANCE_US = 5_000_000;
/** A step of the wall clock; what is slower is a clock being slewed, microseconds. */
export const STEP_US = 1_000_000;
/** Only contacts of about the same time are compared: older ones may be of nodes that are gone, microseconds. */
const MEMORY_US = 3_600_000_000;
/** A better measurement is preferred to a newer one for this long, microseconds. */
const PREFERRED_US = 600_000_000;

export interface Measured {
  offsetUs: number;
  uncertaintyUs: number;
  /** What that node adds to its clock, where three or more decided it. */
  correctionUs: number | undefined;
  atUs: number;
}

export interface Surroundings {
  /** The wall clock, Unix microseconds. */
  nowUs(): number;
  /** Time since the machine was started, microseconds: never steps, counts while it sleeps. */
  uptimeUs(): number;
}

/**
 * How far the clock of this machine is off, from what contacts with others show.
 *
 * The lower median of all clocks counts, the one here among them. With three or more, one that is wrong is outvoted and
 * the others stay as they are. Of two nobody can know which is right; both must come to the same, and the earlier one does
 * less harm: a stamp that is too early loses, visibly, against what it did not know of, one that is too late wins.
 * Who has met one other only, as around a hub, takes that one's word where it has met more: it would otherwise be the only one
 * that stamps by a clock which all others know to be wrong.
 */
export class FleetClock {
  private readonly surroundings: Surroundings;
  private readonly clocks = new Map<string, Measured>();
  private startedUs: number;
  /** What is added to the wall clock; 0 unless it is off by more than the tolerance. */
  correctionUs: number;

  /** `kept`: clocks measured before, in this run of the machine and before its clock was set. */
  constructor(surroundings: Surroundings, correctionUs = 0, kept: readonly (readonly [string, Measured])[] = []) {
    this.surroundings = surroundings;
    this.startedUs = this.baseUs;
    this.correctionUs = correctionUs;
    for (const [nodeId, measured] of kept) this.clocks.set(nodeId, measured);
    this.forgetOld();
  }

  /** What was measured, to be kept. */
  get measurements(): [string, Measured][] {
    return [...this.clocks];
  }

  /** The wall clock at the start of the machine: changes when it is set. */
  get baseUs(): number {
    return this.surroundings.nowUs() - this.surroundings.uptimeUs();
  }

  /**
   * Looks whether the wall clock was set since the last look; answers by how much, microseconds, 0 if not. What was
   * measured before says nothing about the clock as it is now.
   */
  look(): number {
    const stepUs = this.baseUs - this.startedUs;
    this.startedUs += stepUs;
    if (Math.abs(stepUs) <= STEP_US) return 0;
    this.clocks.clear();
    this.correctionUs = 0;
    return stepUs;
  }

  /** Takes what a contact showed. Returns whether the correction is another one now. */
  measured({ nodeId, offsetUs, uncertaintyUs, correctionUs: theirs }: ClockSample): boolean {
    this.look();
    const atUs = this.surroundings.uptimeUs();
    const held = this.clocks.get(nodeId);
    const agrees = held && Math.abs(held.offsetUs - offsetUs) <= held.uncertaintyUs + uncertaintyUs;
    if (!agrees || uncertaintyUs <= held.uncertaintyUs || atUs - held.atUs > PREFERRED_US) {
      this.clocks.set(nodeId, { offsetUs, uncertaintyUs, correctionUs: theirs, atUs });
    } else held.correctionUs = theirs;
    this.forgetOld();
    const middle = this.middleUs;
    const correctionUs = Math.abs(middle) > TOLERANCE_US ? middle : 0;
    // No two measurements are quite the same: that alone is no news.
    if (correctionUs === this.correctionUs || (correctionUs !== 0 && Math.abs(correctionUs - this.correctionUs) <= STEP_US)) return false;
    this.correctionUs = correctionUs;
    return true;
  }

  private forgetOld(): void {
    const atUs = this.surroundings.uptimeUs();
    for (const [other, { atUs: then }] of this.clocks) if (atUs - then > MEMORY_US) this.clocks.delete(other);
  }

  /** Clocks of others that are compared with. */
  get compared(): number {
    return this.clocks.size;
  }

  /** What is added to the clock here, where it is what three clocks or more decided; microseconds. */
  get decidedUs(): number | undefined {
    return decides(this.clocks.size) ? this.correctionUs : undefined;
  }

  private get middleUs(): number {
    const [first] = this.clocks.values();
    if (first?.correctionUs !== undefined && this.clocks.size === 1) return offsetOf(first) + first.correctionUs;
    const offsets = [0, ...[...this.clocks.values()].map(offsetOf)].sort((a, b) => a - b);
    return offsets[Math.floor((offsets.length - 1) / 2)] as number;
  }

  /** What is wrong, for people; empty when nothing is. */
  get warning(): string {
    const far = [...this.clocks].filter(([, clock]) => Math.abs(offsetOf(clock) - this.correctionUs) > TOLERANCE_US);
    const [only] = this.clocks.size === 1 ? this.clocks.values() : [];
    const doubt = only && only.correctionUs === undefined && (far.length > 0 || this.correctionUs !== 0);
    if (doubt) {
      const [[nodeId, clock]] = [...this.clocks] as [[string, Measured]];
      return `the clock here and that of node ${nodeId} are ${duration(offsetOf(clock))} apart, and there is no third to tell which is right: changes are stamped by the earlier one. Set the wrong one`;
    }
    if (this.correctionUs !== 0) {
      const way = this.correctionUs < 0 ? "ahead of" : "behind";
      const met = only ? "those of others that its only peer has met" : `those of ${this.clocks.size} others`;
      const others = this.clocks.size === 0 ? "others, as was found before this start" : met;
      return `the clock of this machine is ${duration(this.correctionUs)} ${way} ${others}: changes are stamped by corrected time. Set it`;
    }
    const [first] = far;
    if (!first) return "";
    const [nodeId, clock] = first;
    return `the clock of node ${nodeId} is ${duration(offsetOf(clock))} ${offsetOf(clock) > 0 ? "ahead of" : "behind"} the one here and most others. Set it`;
  }
}

/** An offset that the length of the way explains is none. */
const offsetOf = ({ offsetUs, uncertaintyUs }: Measured): number => (Math.abs(offsetUs) <= uncertaintyUs ? 0 : offsetUs);

function duration(us: number): string {
  const s = Math.abs(us) / 1e6;
  if (s < 600) return `${Math.round(s)} s`;
  if (s < 2 * 86_400) return `${(s / 3600).toFixed(1)} h`;
  return `${Math.round(s / 86_400)} days`;
}

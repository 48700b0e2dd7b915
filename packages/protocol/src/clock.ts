import type { ClockReading } from "../gen/scoutsync/v1/sync_node.ts";

/** What one contact says about another node's clock. */
export interface ClockSample {
  /** Stable identity of that node. */
  nodeId: string;
  /** That clock minus the one here, microseconds. */
  offsetUs: number;
  /** The true offset is no further than this from `offsetUs`, microseconds. */
  uncertaintyUs: number;
  /** What that node adds to its clock, where three clocks or more decided it, microseconds. */
  correctionUs?: number | undefined;
}

/** The clock of this node, as those who talk to others see it. */
export interface OwnClock {
  readonly nodeId: string;
  /** What is added to it, where three clocks or more decided that, microseconds. */
  readonly decidedUs: number | undefined;
  /** Unix microseconds as the machine has them, uncorrected. */
  nowUs(): number;
  /** Takes what a contact showed. */
  measured(sample: ClockSample): void;
}

/** A request that took longer than this on its way is taken for one from a clock that is behind, microseconds. */
export const LONGEST_WAY_US = 10_000_000;

/** Whether a clock that was compared with so many others is one of enough to tell which is wrong. */
export const decides = (compared: number): boolean => compared >= 2;

/** A question under way: what it says of the clock here, and what its answer says of the other. */
export interface ClockQuestion {
  readonly reading: ClockReading;
  /** Takes the answer's reading; absent from nodes that do not tell. */
  answered(reading: ClockReading | undefined): void;
}

/** Begins to measure. The way there and back is timed by a clock that never jumps. */
export function askClock(clock: OwnClock): ClockQuestion {
  const sentUs = clock.nowUs();
  const tick = performance.now();
  return {
    reading: readingOf(clock, 0, sentUs),
    answered(answer) {
      if (!answer || answer.nodeId === "" || answer.nodeId === clock.nodeId) return;
      const backUs = sentUs + (performance.now() - tick) * 1000;
      clock.measured(throughMiddle(sentUs, answer, backUs));
    },
  };
}

/** The offset if both ways took equally long; each may have taken all of the time. */
export function throughMiddle(
  sentUs: number,
  { nodeId, receivedUs, sentUs: answeredUs, correctionUs }: ClockReading,
  backUs: number,
): ClockSample {
  const there = Number(receivedUs);
  const answered = Number(answeredUs);
  return {
    nodeId,
    offsetUs: Math.round((there - sentUs + (answered - backUs)) / 2),
    uncertaintyUs: Math.max(0, Math.round((backUs - sentUs - (answered - there)) / 2)),
    correctionUs: correctionUs === undefined ? undefined : Number(correctionUs),
  };
}

/** What a request says of its caller's clock: it was on its way for an unknown time. */
export function hearClock(clock: OwnClock, reading: ClockReading | undefined): void {
  if (!reading || reading.nodeId === "" || reading.nodeId === clock.nodeId || reading.sentUs === 0n) return;
  const { nodeId, sentUs, correctionUs } = reading;
  clock.measured({
    nodeId,
    offsetUs: Number(sentUs) - clock.nowUs(),
    uncertaintyUs: LONGEST_WAY_US,
    correctionUs: correctionUs === undefined ? undefined : Number(correctionUs),
  });
}

/** The reading of an answer to a request that arrived at `receivedUs`. */
export function tellClock(clock: OwnClock, receivedUs: number): ClockReading {
  return readingOf(clock, receivedUs, clock.nowUs());
}

function readingOf({ nodeId, decidedUs }: OwnClock, receivedUs: number, sentUs: number): ClockReading {
  const correctionUs = decidedUs === undefined ? undefined : BigInt(decidedUs);
  return { nodeId, receivedUs: BigInt(receivedUs), sentUs: BigInt(sentUs), correctionUs };
}

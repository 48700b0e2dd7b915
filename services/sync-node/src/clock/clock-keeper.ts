import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { uptime } from "node:os";
import { join } from "node:path";
import { toPlainError } from "@scoutsync/core";
import type { ClockSample, ClockStatus, OwnClock } from "@scoutsync/protocol";
import type { Replica } from "@scoutsync/replica";
import { type Logger, pause } from "@scoutsync/runtime";
import { FleetClock, type Measured, STEP_US, type Surroundings } from "./fleet-clock.ts";

/** How often to look whether the wall clock was set, milliseconds. */
const LOOK_MS = 1_000;
/** How often a peer in live contact is asked for its clock, milliseconds. */
const ASK_MS = 60_000;
const FILE = "clock.json";

const REAL: Surroundings = { nowUs: () => Date.now() * 1000, uptimeUs: () => uptime() * 1e6 };

/** What is kept over restarts: a correction holds as long as the machine runs and its clock is not set. */
interface Kept {
  correctionUs: number;
  baseUs: number;
  boot: string;
  /** What it was found by: a hub that starts anew would otherwise go by whichever node it meets first. Absent from versions before. */
  clocks?: [string, Measured][];
}

/** Keeps what is known of this machine's clock, tells the databases of a correction, and people of what is wrong. */
export class ClockKeeper implements OwnClock {
  readonly nodeId: string;
  private readonly path: string;
  private readonly logger: Logger;
  private readonly surroundings: Surroundings;
  private readonly clock: FleetClock;
  private replicas: Replica[] = [];
  private warned = "";
  private stepped = new AbortController();

  constructor(options: { nodeId: string; dataDirectory: string; logger: Logger; surroundings?: Surroundings | undefined }) {
    this.nodeId = options.nodeId;
    this.path = join(options.dataDirectory, FILE);
    this.logger = options.logger;
    this.surroundings = options.surroundings ?? REAL;
    const kept = this.restored();
    this.clock = new FleetClock(this.surroundings, kept?.correctionUs, kept?.clocks);
  }

  nowUs(): number {
    return this.surroundings.nowUs();
  }

  /** What is added to the wall clock when changes are stamped, microseconds. */
  get correctionUs(): number {
    return this.clock.correctionUs;
  }

  get decidedUs(): number | undefined {
    return this.clock.decidedUs;
  }

  get status(): ClockStatus {
    return { correctionUs: BigInt(this.clock.correctionUs), compared: this.clock.compared, warning: this.clock.warning };
  }

  /** Nobody's clock was compared with this one since the start, or since it was set: nothing says that it is right. */
  get isUnchecked(): boolean {
    this.look();
    return this.clock.compared === 0;
  }

  /** The databases to tell of corrections from now on. */
  serve(replicas: Replica[]): void {
    this.replicas = replicas;
  }

  measured(sample: ClockSample): void {
    const wasSet = this.look();
    const { compared } = this.clock;
    const changed = this.clock.measured(sample) || this.clock.compared !== compared;
    // A database also learns that its clock has been compared, and that what it stamped is right: once, until something is new.
    for (const replica of this.replicas) {
      if (!wasSet && replica.state.clockFoundRightUs === this.clock.correctionUs) continue;
      replica
        .correctClock(this.clock.correctionUs)
        .catch((error: unknown) => this.logger.warn(toPlainError(error), "a clock could not be corrected"));
    }
    if (changed) this.keep();
    this.warn();
  }

  /** Looks after the wall clock until the signal aborts. */
  async watch(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.look();
      await pause(LOOK_MS, signal);
    }
  }

  /** Asks for a peer's clock now and then, and at once when the one here was set, until the signal aborts. */
  async compareWith(ask: (signal: AbortSignal) => Promise<unknown>, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      // A peer that is away is news elsewhere.
      await ask(signal).catch(() => {});
      await pause(ASK_MS, AbortSignal.any([signal, this.stepped.signal]));
    }
  }

  /** True when the wall clock was set since the last look. */
  private look(): boolean {
    const stepUs = this.clock.look();
    if (stepUs === 0) return false;
    const seconds = (stepUs / 1e6).toFixed(1);
    this.logger.warn(
      { step_s: Number(seconds) },
      stepUs < 0
        ? `the clock of this machine went back by ${seconds.slice(1)} s: it is compared with others again`
        : `the clock of this machine was set forward by ${seconds} s: it is compared with others again`,
    );
    this.keep();
    this.stepped.abort();
    this.stepped = new AbortController();
    return true;
  }

  private warn(): void {
    const { warning } = this.clock;
    // By what is wrong, not by how many seconds: that is different at each contact.
    const kind = warning.replace(/\d+(\.\d+)?/g, "");
    if (kind !== this.warned) {
      if (warning !== "") this.logger.warn({ correction_ms: Math.round(this.clock.correctionUs / 1000) }, warning);
      else this.logger.info("the clocks agree again");
    }
    this.warned = kind;
  }

  private restored(): Kept | null {
    try {
      const kept = JSON.parse(readFileSync(this.path, "utf8")) as Kept;
      const baseUs = this.surroundings.nowUs() - this.surroundings.uptimeUs();
      const same = kept.boot === bootId() && Math.abs(baseUs - kept.baseUs) <= STEP_US;
      return same && Number.isSafeInteger(kept.correctionUs) ? { ...kept, clocks: (kept.clocks ?? []).filter(isMeasured) } : null;
    } catch {
      // Nothing kept, or nothing readable: then the next contact tells.
      return null;
    }
  }

  private keep(): void {
    const kept: Kept = {
      correctionUs: this.clock.correctionUs,
      baseUs: this.clock.baseUs,
      boot: bootId(),
      clocks: this.clock.measurements,
    };
    try {
      writeFileSync(`${this.path}.tmp`, `${JSON.stringify(kept)}\n`);
      renameSync(`${this.path}.tmp`, this.path);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.logger.warn({ path: this.path, reason }, "what is known of the clock could not be kept; the next contact tells again");
    }
  }
}

function isMeasured(entry: unknown): boolean {
  if (!Array.isArray(entry)) return false;
  const [nodeId, measured] = entry as [unknown, Partial<Measured> | null | undefined];
  const numbers = [measured?.offsetUs, measured?.uncertaintyUs, measured?.atUs, measured?.correctionUs ?? 0];
  return typeof nodeId === "string" && numbers.every(Number.isFinite);
}

/** Names this run of the machine; empty where the system has no such name. */
function bootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return "";
  }
}

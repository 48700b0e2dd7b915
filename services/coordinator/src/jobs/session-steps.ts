import { SessionStep } from "@scoutsync/protocol";

/** The steps that people hear of, by the phases that a node reports. Comparing at the end is no step of its own. */
const STEP_OF_PHASE: Readonly<Record<string, string>> = {
  pull: "fetch_changes",
  push: "send_changes",
  files: "files",
};

/** Times the steps of one session from the phases it reports, which may alternate between databases. */
export class SessionSteps {
  readonly #durationsMs = new Map<string, number>();
  #current: string | null = "connection";
  #since = performance.now();

  /** The session is in this phase now. */
  enter(phase: string): void {
    const step = STEP_OF_PHASE[phase] ?? null;
    if (step === this.#current) return;
    this.#leave();
    this.#current = step;
  }

  /** Every step that was begun; a session that failed failed in the one it was in. */
  end(success: boolean): SessionStep[] {
    const last = this.#current ?? [...this.#durationsMs.keys()].at(-1);
    this.#leave();
    return [...this.#durationsMs].map(([operation, ms]) =>
      SessionStep.fromPartial({ operation, durationMs: BigInt(Math.round(ms)), failed: !success && operation === last }),
    );
  }

  #leave(): void {
    const now = performance.now();
    if (this.#current !== null) {
      this.#durationsMs.set(this.#current, (this.#durationsMs.get(this.#current) ?? 0) + now - this.#since);
    }
    this.#since = now;
  }
}

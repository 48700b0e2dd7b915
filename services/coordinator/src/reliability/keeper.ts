import { toPlainError, type ErrorCode } from "@scoutsync/core";
import type { SessionStep, SyncResult } from "@scoutsync/protocol";
import type { Logger } from "@scoutsync/runtime";
import type { OperationName } from "../operations/shapes.ts";
import type { Attempt } from "../registry/reliability-store.ts";
import type { Registry } from "../registry/registry.ts";
import { overallFrom } from "./figures.ts";

/** Attempts are written this much later, many in one transaction: figures may lose a second in a crash, rows may not. */
const WRITE_DELAY_MS = 500;
/** A node that stays away counts as one failed contact per this time, or a night off would outweigh a season. */
const AWAY_COUNTS_EVERY_MS = 300_000;

/** Errors that arise when rows are put into a database, whatever step they end. */
const APPLY_CODES: ReadonlySet<string> = new Set<ErrorCode>([
  "CONSTRAINT_REFUSED",
  "DATABASE_FAILED",
  "DATABASE_IN_USE",
  "DATABASE_LOCKED",
  "DATABASE_REPLACED",
  "DISK_FULL",
  "SCHEMA_UNSUPPORTED",
  "DIVERGED",
]);
/** These say nothing about how well a node works: it was busy, or its worker went away. */
const NO_FAULT_CODES: ReadonlySet<string> = new Set<ErrorCode>(["BUSY", "FENCED", "SHUTTING_DOWN"]);

/** Counts how often each step of syncing was tried with each node, how long it took and how it failed. */
export class ReliabilityKeeper {
  readonly #registry: Registry;
  readonly #logger: Logger;
  readonly #unwritten: Attempt[] = [];
  readonly #awayCountedAt = new Map<number, number>();
  /** Overall figures of nodes of which nothing was written since. */
  readonly #overall = new Map<number, number>();
  #timer: NodeJS.Timeout | null = null;

  constructor(parts: { registry: Registry; logger: Logger }) {
    this.#registry = parts.registry;
    this.#logger = parts.logger;
  }

  /** A node answered a question after this time. */
  answered(serverId: number, roundTripMs: number): void {
    this.#awayCountedAt.delete(serverId);
    this.#add({ serverId, operation: "connection", durationS: roundTripMs / 1_000, error: null });
  }

  /** A node did not answer. Counted when it was there before, and then once in a while. */
  silent(serverId: number, thrown: unknown): void {
    const now = Date.now();
    const counted = this.#awayCountedAt.get(serverId);
    if (counted !== undefined && now - counted < AWAY_COUNTS_EVERY_MS) return;
    this.#awayCountedAt.set(serverId, now);
    const { code, message } = toPlainError(thrown);
    this.#add({ serverId, operation: "connection", durationS: 0, error: { code, message } });
  }

  /** A session has ended. */
  session(ends: { serverId: number; sourceId: number }, result: SyncResult, steps: readonly SessionStep[]): void {
    const error = result.success ? null : (result.errors[0] ?? { code: "INTERNAL", message: "the session failed without a reason" });
    if (error !== null && NO_FAULT_CODES.has(error.code)) return;
    for (const attempt of attemptsOf(result, steps, error)) {
      this.#add({ ...attempt, serverId: ends.serverId });
      const mirrored = mirror(attempt);
      if (mirrored !== null) this.#add({ ...mirrored, serverId: ends.sourceId });
    }
  }

  /** How well a node works, all steps together, between 0 and 1: the figure that its page begins with. Cheap to ask often. */
  overall(serverId: number): number {
    let known = this.#overall.get(serverId);
    if (known === undefined) {
      known = overallFrom(this.#registry.reliability.totals(serverId));
      this.#overall.set(serverId, known);
    }
    return known;
  }

  /** Writes what has not been written yet. */
  flush(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const attempts = this.#unwritten.splice(0);
    if (attempts.length === 0) return;
    const now = new Date();
    for (const { serverId } of attempts) this.#overall.delete(serverId);
    this.#registry.transaction(() => {
      for (const attempt of attempts) this.#registry.reliability.add(attempt, now);
    });
  }

  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  #add(attempt: Attempt): void {
    this.#unwritten.push(attempt);
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      try {
        this.flush();
      } catch (error) {
        this.#logger.warn({ error: String(error) }, "figures of reliability could not be written");
      }
    }, WRITE_DELAY_MS);
  }
}

type Step = Omit<Attempt, "serverId">;

function attemptsOf(result: SyncResult, steps: readonly SessionStep[], error: Attempt["error"]): Step[] {
  const attempts: Step[] = steps.map((step) => ({
    operation: step.operation as OperationName,
    durationS: Number(step.durationMs) / 1_000,
    error: step.failed ? error : null,
  }));
  const received = result.stats?.remoteChangesReceived ?? 0n;
  const atFault = error !== null && APPLY_CODES.has(error.code);
  if (atFault) for (const attempt of attempts) attempt.error = null;
  // Rows are applied while they arrive: the two share one clock.
  const fetching = attempts.find((attempt) => attempt.operation === "fetch_changes")?.durationS ?? 0;
  if (atFault || received > 0n) attempts.push({ operation: "apply", durationS: fetching, error: atFault ? error : null });
  attempts.push({ operation: "sync", durationS: Number(result.durationMs) / 1_000, error });
  return attempts;
}

/** The same step from the source's side; null where a failure says nothing about the source. */
function mirror(attempt: Step): Step | null {
  if (attempt.operation === "apply") return null;
  if (attempt.error !== null && attempt.error.code !== "PEER_UNREACHABLE" && attempt.error.code !== "PEER_FAILED") return null;
  if (attempt.operation === "fetch_changes") return { ...attempt, operation: "send_changes" };
  if (attempt.operation === "send_changes") return { ...attempt, operation: "fetch_changes" };
  return attempt;
}

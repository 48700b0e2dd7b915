import { toPlainError, Wakeup } from "@scoutsync/core";
import { askClock, CoordinatorClient, unary, type CaptureLook, type DialledOut } from "@scoutsync/protocol";
import { backoffMs, parseAddress, pause } from "@scoutsync/runtime";
import type { NodeContext } from "./context.ts";
import { Errand } from "./errand.ts";
import { allDatabases, allFiles } from "./handlers/ping.ts";
import { dialOut, lookAtCapture } from "./orders.ts";

/** Heartbeats that follow moving vectors are at least this far apart. */
const DEBOUNCE_MS = 200;
const FIRST_RETRY_MS = 250;
const LONGEST_RETRY_MS = 10_000;
const CALL_DEADLINE_MS = 10_000;
/** Used when the coordinator names no interval. */
const DEFAULT_INTERVAL_MS = 10_000;
/** Whose clock the coordinator's is: it has one voice, as a node has. */
const COORDINATOR = "coordinator";

/**
 * Tells the coordinator that this node is there and how far it is, until the signal aborts. A coordinator that is away
 * is asked again for ever and changes nothing else: nodes sync without it. Where several addresses are known, which may
 * become more, the next one is tried each time.
 */
export async function announce(context: NodeContext, coordinators: readonly string[], listen: string, signal: AbortSignal): Promise<void> {
  let coordinator = coordinators[0] ?? "";
  let client = context.dial(coordinator, CoordinatorClient);
  const options = { signal, deadlineMs: CALL_DEADLINE_MS };
  const changed = new Wakeup();
  let moved = false;
  const copies = context.scopes.flatMap(({ parts }) => parts.map(({ copy }) => copy));
  const stops = [...context.databases.all().map(({ replica }) => replica), ...copies].map((replica) =>
    replica.onChange(() => {
      moved = true;
      changed.raise();
    }),
  );
  const sessions = new Errand<DialledOut>(changed.raise);
  const looks = new Errand<CaptureLook>(changed.raise);
  let failures = 0;
  try {
    while (!signal.aborted) {
      try {
        moved = false;
        const { heartbeatIntervalMs, limits } = await unary(client, "register", registration(context, listen), options);
        context.limits.told(limits);
        context.logger[failures > 0 ? "info" : "debug"]({ coordinator }, "registered");
        failures = 0;
        await beat(heartbeatIntervalMs || DEFAULT_INTERVAL_MS);
      } catch (error) {
        if (signal.aborted) break;
        const { code, message } = toPlainError(error);
        // Said once: how long it stays away is visible at the coordinator, not here.
        context.logger[failures === 0 ? "warn" : "debug"]({ coordinator, code }, message);
        await pause(backoffMs(failures, { firstMs: FIRST_RETRY_MS, capMs: LONGEST_RETRY_MS }), signal);
        failures += 1;
        const next = coordinators[failures % coordinators.length] ?? coordinator;
        if (next === coordinator) continue;
        client.close();
        coordinator = next;
        client = context.dial(coordinator, CoordinatorClient);
      }
    }
  } finally {
    for (const stop of stops) stop();
    client.close();
  }

  /** Returns when the coordinator does not know this node any more. */
  async function beat(intervalMs: number): Promise<void> {
    for (;;) {
      const due = AbortSignal.any([signal, AbortSignal.timeout(intervalMs)]);
      await changed.until(() => moved || sessions.outcome !== undefined || looks.outcome !== undefined, due);
      await pause(DEBOUNCE_MS, signal);
      signal.throwIfAborted();
      moved = false;
      const { nodeId, run } = context;
      const question = askClock(context.clock);
      const [dialled, capture] = [sessions.outcome, looks.outcome];
      const request = {
        nodeId,
        run,
        databases: allDatabases(context),
        timeUs: question.reading.sentUs,
        dialled,
        files: allFiles(context),
        capture,
      };
      const answer = await unary(client, "heartbeat", request, options);
      const { unknown, timeUs, lookAtCapture: order } = answer;
      sessions.told(dialled);
      looks.told(capture);
      context.limits.told(answer.limits);
      if (answer.syncWith !== "") sessions.run(() => dialOut(context, answer, signal));
      if (order !== undefined) looks.run(() => lookAtCapture(context, order, signal));
      question.answered({ nodeId: COORDINATOR, receivedUs: timeUs, sentUs: timeUs, correctionUs: undefined });
      if (unknown) return;
    }
  }
}

function registration(context: NodeContext, listen: string) {
  const address = parseAddress(listen);
  const everywhere = address?.host === "0.0.0.0" || address?.host === "::";
  return {
    nodeId: context.nodeId,
    name: context.name,
    // Listening on all addresses names none: then the one the coordinator sees is the one to use.
    host: everywhere ? "" : (address?.host ?? ""),
    port: address?.port ?? 0,
    version: context.version,
    databases: allDatabases(context),
    run: context.run,
  };
}

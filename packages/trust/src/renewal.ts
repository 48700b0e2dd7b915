import { SyncError, toPlainError } from "@scoutsync/core";
import { FleetClient, unary, type Dial } from "@scoutsync/protocol";
import { pause, type Logger } from "@scoutsync/runtime";
import type { Trust } from "./trust.ts";
import { createRequest } from "./x509.ts";

/** Renewed after this share of its lifetime, and tried again after this share when that fails. */
const RENEW_AFTER = 1 / 3;
const TRY_AGAIN_AFTER = 1 / 40;
const LONGEST_PAUSE_MS = 3_600_000;
const SHORTEST_PAUSE_MS = 500;
const CALL_MS = 10_000;

/**
 * Keeps this member's certificate valid until the signal aborts: asks the authority, at any of these addresses, for a
 * new one long before the present one ends. Services go on with the new one at once.
 */
export async function keepRenewed(parts: {
  trust: Trust;
  dial: Dial;
  /** `host:port` of those that may be the authority. */
  addresses: readonly string[];
  logger: Logger;
  signal: AbortSignal;
}): Promise<void> {
  const { trust, logger, signal } = parts;
  // Counted from now for one that was made before this start: certificates are backdated, and nobody noted when.
  let lifetimeMs = trust.identity.validUntilMs - Date.now();
  let said = false;
  for (let waitMs = lifetimeMs * RENEW_AFTER; ;) {
    await pause(Math.min(Math.max(waitMs, SHORTEST_PAUSE_MS), LONGEST_PAUSE_MS), signal);
    if (signal.aborted) return;
    const leftMs = trust.identity.validUntilMs - Date.now();
    if (leftMs > lifetimeMs * (1 - RENEW_AFTER)) {
      waitMs = leftMs - lifetimeMs * (1 - RENEW_AFTER);
      continue;
    }
    try {
      await renew(parts);
      lifetimeMs = trust.identity.validUntilMs - Date.now();
      logger.info({ valid_until: new Date(trust.identity.validUntilMs).toISOString() }, "this certificate was renewed");
      waitMs = lifetimeMs * RENEW_AFTER;
      said = false;
    } catch (error) {
      if (signal.aborted) return;
      const { code, message } = toPlainError(error);
      const valid_until = new Date(trust.identity.validUntilMs).toISOString();
      logger[said ? "debug" : "warn"]({ code, valid_until }, `this certificate could not be renewed yet: ${message}`);
      said = true;
      waitMs = lifetimeMs * TRY_AGAIN_AFTER;
    }
  }
}

async function renew({ trust, dial, addresses, signal }: Parameters<typeof keepRenewed>[0]): Promise<void> {
  const { key, request } = await createRequest();
  if (trust.authority) {
    const { certificate } = await trust.authority.renew(trust.identity, request);
    return trust.renewed(key, certificate);
  }
  let failure: unknown = new SyncError({
    code: "PEER_UNREACHABLE",
    message: "no address of the fleet's authority is known",
    action: "Start with --coordinator or --peer, or join again.",
  });
  for (const address of new Set(addresses)) {
    const client = dial(address, FleetClient);
    try {
      const { admission } = await unary(client, "renew", { certificateRequest: request }, { signal, deadlineMs: CALL_MS });
      trust.adopt(admission?.revocations);
      return trust.renewed(key, admission?.certificate ?? "");
    } catch (error) {
      failure = error;
    } finally {
      client.close();
    }
  }
  throw failure;
}

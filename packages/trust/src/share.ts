import type { Client } from "@grpc/grpc-js";
import { FleetClient, bidi, type FleetService, type RevocationList, type ServiceClient } from "@scoutsync/protocol";
import { pause } from "@scoutsync/runtime";
import type { Trust } from "./trust.ts";

/** A channel without this stream is tried again: the other side may have been away. */
const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 15_000;

/**
 * Tells the other side of a channel who was put out, and hears it from there, at first and whenever it changes, until
 * the signal aborts. Never throws: where it fails, the calls that matter fail with the reason.
 */
export async function shareRevocations(
  trust: Trust,
  { address, role, channel, close }: { address: string; role: "peer" | "coordinator"; channel: Client; close: () => void },
  signal: AbortSignal,
): Promise<void> {
  const client: ServiceClient<FleetService> = { address, role, channel, service: FleetClient.service, close };
  for (let waitMs = FIRST_RETRY_MS; !signal.aborted; waitMs = Math.min(waitMs * 2, LONGEST_RETRY_MS)) {
    const tell = (list: { wire: RevocationList }) => {
      stream.send({ revocations: list.wire }).catch(() => {});
    };
    const stream = bidi(client, "shareRevocations", { signal });
    trust.on("revoked", tell);
    try {
      await stream.send({ revocations: trust.revocations.wire });
      for await (const { revocations } of stream.responses) {
        trust.adopt(revocations);
        waitMs = FIRST_RETRY_MS;
      }
    } catch {
      // Said by whatever the channel is used for.
    } finally {
      trust.off("revoked", tell);
      stream.cancel();
    }
    await pause(waitMs, signal);
  }
}

import { connectivityState } from "@grpc/grpc-js";
import { PROTOCOL_VERSION, SyncError } from "@scoutsync/core";
import {
  GetChangesRequest,
  PingRequest,
  serverStream,
  SyncNodeClient,
  unary,
  type Dial,
  type ChangeCount,
  type PingResponse,
  type ServiceClient,
  type SyncNodeService,
} from "@scoutsync/protocol";

/** A node's answer to Ping. */
export interface PingAnswer {
  response: PingResponse;
  /** The node's clock minus ours, milliseconds, taken at the middle of the round trip. */
  clockOffsetMs: number;
  roundTripMs: number;
}

/** Warm channels to the nodes of the fleet, one per address. */
export class NodeClients {
  readonly #clients = new Map<string, ServiceClient<SyncNodeService>>();
  readonly #dial: Dial;

  constructor(dial: Dial) {
    this.#dial = dial;
  }

  to(address: string): ServiceClient<SyncNodeService> {
    let client = this.#clients.get(address);
    if (client === undefined) {
      client = this.#dial(address, SyncNodeClient);
      this.#clients.set(address, client);
    }
    return client;
  }

  /**
   * The same, over a channel that does not pause before it dials: one whose node was away fails every call until its pause is over,
   * also when the node is back. No call goes on over such a one.
   */
  ready(address: string): ServiceClient<SyncNodeService> {
    const state = this.#clients.get(address)?.channel.getChannel().getConnectivityState(false);
    if (state === connectivityState.TRANSIENT_FAILURE) this.forget(address);
    return this.to(address);
  }

  /** Closes the channel to an address, so that the next call dials at once instead of after a pause for a dead peer. */
  forget(address: string): void {
    this.#clients.get(address)?.close();
    this.#clients.delete(address);
  }

  /** `fresh`: with what its applications committed by now. Throws PEER_UNREACHABLE when no answer came in time. */
  async ping(address: string, { deadlineMs, fresh }: { deadlineMs: number; fresh: boolean }): Promise<PingAnswer> {
    const sentAt = Date.now();
    const request = PingRequest.fromPartial({ callerTimeUs: BigInt(sentAt) * 1_000n, withScopes: true, fresh });
    const sentTick = performance.now();
    const response = await unary(this.to(address), "ping", request, { deadlineMs });
    const roundTripMs = performance.now() - sentTick;
    const clockOffsetMs = Number(response.timeUs) / 1_000 - (sentAt + roundTripMs / 2);
    return { response, clockOffsetMs: Math.round(clockOffsetMs * 10) / 10, roundTripMs };
  }

  /** How many live changes the node at `address` holds beyond `since`. */
  async countChanges(address: string, database: string, since: string, deadlineMs: number): Promise<ChangeCount> {
    const request = GetChangesRequest.fromPartial({ database, since, countOnly: true, protocol: PROTOCOL_VERSION });
    for await (const message of serverStream(this.to(address), "getChanges", request, { deadlineMs })) {
      if (message.count !== undefined) return message.count;
    }
    throw new SyncError({
      code: "PEER_FAILED",
      message: `${address} ended the count of changes of database "${database}" without an answer`,
      action: "Check that the node runs a compatible version.",
    });
  }

  close(): void {
    for (const client of this.#clients.values()) client.close();
    this.#clients.clear();
  }
}

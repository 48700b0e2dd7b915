import { SyncError } from "@scoutsync/core";
import type { PingResponse } from "@scoutsync/protocol";
import type { Logger } from "@scoutsync/runtime";
import type { Registry } from "../registry/registry.ts";
import type { ServerRow } from "../registry/servers.ts";
import type { Timing } from "../config.ts";
import type { ReliabilityKeeper } from "../reliability/keeper.ts";
import type { Fleet, FleetNode } from "./fleet.ts";
import type { NodeClients } from "./node-clients.ts";
import { clipped, LONGEST_NAME, sizeOf } from "./plausible.ts";

/** Pings in flight at once. High, because dead nodes only wait; bounded, because sockets are not free. */
const CONCURRENT_PINGS = 256;
/** A clock that is further from the coordinator's is told to people, milliseconds. */
export const CLOCK_ALARM_MS = 5_000;

/** A node that spoke within this many heartbeats is there, whatever becomes of a call to it. */
const HEARD_HEARTBEATS = 1.4;

/** Asks nodes how they are and takes in what they answer. */
export class Prober {
  readonly #registry: Registry;
  readonly #fleet: Fleet;
  readonly #clients: NodeClients;
  readonly #timing: Timing;
  readonly #reliability: ReliabilityKeeper;
  readonly #logger: Logger;
  readonly #running = new Map<number, { fresh: boolean; answer: Promise<boolean> }>();

  constructor(parts: {
    registry: Registry;
    fleet: Fleet;
    clients: NodeClients;
    timing: Timing;
    reliability: ReliabilityKeeper;
    logger: Logger;
  }) {
    this.#registry = parts.registry;
    this.#fleet = parts.fleet;
    this.#clients = parts.clients;
    this.#timing = parts.timing;
    this.#reliability = parts.reliability;
    this.#logger = parts.logger;
  }

  /** Pings one node; false when it does not answer as itself. `fresh`: with what its applications committed by now. Never throws. */
  ping(id: number, fresh = false): Promise<boolean> {
    const running = this.#running.get(id);
    if (running !== undefined && (running.fresh || !fresh)) return running.answer;
    const answer = (running?.answer ?? Promise.resolve()).then(() => this.#ask(id, fresh));
    const started = { fresh, answer };
    this.#running.set(id, started);
    void answer.finally(() => {
      if (this.#running.get(id) === started) this.#running.delete(id);
    });
    return answer;
  }

  /** Pings all these nodes, those that were online first, so that dead ones hold up nobody. */
  async pingAll(nodes: readonly FleetNode[], fresh = false): Promise<void> {
    const waiting = [...nodes].sort((a, b) => Number(b.online) - Number(a.online)).map((node) => node.id);
    const lane = async () => {
      for (let id = waiting.shift(); id !== undefined; id = waiting.shift()) await this.ping(id, fresh);
    };
    await Promise.all(Array.from({ length: Math.min(CONCURRENT_PINGS, waiting.length) }, lane));
  }

  /** Deadline of a Ping in milliseconds. */
  get deadlineMs(): number {
    return Math.min(this.#timing.pingDeadlineMs, this.#registry.settings.get("connection_timeout") * 1_000);
  }

  async #ask(id: number, fresh: boolean): Promise<boolean> {
    const node = this.#fleet.node(id);
    if (node === null) return false;
    try {
      const { response, clockOffsetMs, roundTripMs } = await this.#clients.ping(node.address, { deadlineMs: this.deadlineMs, fresh });
      const row = this.#registry.servers.get(id);
      if (row === null || !this.#recognise(row, response)) return false;
      this.#watchClock(row, clockOffsetMs);
      this.#reliability.answered(id, roundTripMs);
      this.#fleet.markOnline(id, {
        // A name given by hand stays until the node registers under its own.
        ...(node.row.name === node.address ? { name: clipped(response.name, LONGEST_NAME) } : {}),
        node_id: response.nodeId,
        version: clipped(response.version, LONGEST_NAME),
        run: clipped(response.run, LONGEST_NAME),
        last_ping: new Date().toISOString(),
        ping_success: 1,
        clock_offset_ms: clockOffsetMs,
        round_trip_ms: Math.round(roundTripMs * 10) / 10,
        disk_free_bytes: response.disk === undefined ? null : sizeOf(response.disk.freeBytes),
        disk_total_bytes: response.disk === undefined ? null : sizeOf(response.disk.totalBytes),
        ...(node.online ? {} : { last_error: "" }),
      });
      this.#fleet.setReachable(id, true);
      this.#fleet.observe(id, response.databases);
      this.#fleet.observeFiles(id, response.files);
      return true;
    } catch (error) {
      // The registry may be closing under a Ping that was still out.
      if (this.#registry.closed) return false;
      // What speaks by itself is there; it only cannot be dialled, as behind a router that lets nothing in.
      if (this.#fleet.unheardMs(id) < this.#timing.heartbeatMs * HEARD_HEARTBEATS) {
        this.#fleet.setReachable(id, false);
        return false;
      }
      this.#reliability.silent(id, error);
      this.#fleet.markOffline(id, error instanceof Error ? error.message : String(error));
      this.#logger.debug({ server: id, error: String(error) }, "a node does not answer");
      return false;
    }
  }

  /** Says once when a clock goes wrong, and once when it is right again. */
  #watchClock(row: ServerRow, offsetMs: number): void {
    const off = Math.abs(offsetMs) > CLOCK_ALARM_MS;
    if (off === Math.abs(row.clock_offset_ms) > CLOCK_ALARM_MS) return;
    const offset_s = Math.round(offsetMs / 1000);
    if (off)
      this.#logger.warn(
        { server: row.id, name: row.name, offset_s },
        "a node's clock is more than 5 s from the coordinator's: set one of them",
      );
    else this.#logger.info({ server: row.id, name: row.name }, "a node's clock is right again");
  }

  /** Makes sure that who answers is who was asked; a row without identity takes on the one that answers. */
  #recognise(row: ServerRow, response: PingResponse): boolean {
    if (response.nodeId === "" || response.nodeId.length > LONGEST_NAME) {
      throw new SyncError({
        code: "PEER_FAILED",
        message: `What answers at ${row.host}:${row.port} has no identity that could be one`,
        action: "Check that a sync-node listens there.",
      });
    }
    if (row.node_id === response.nodeId) return true;
    if (row.node_id !== null) {
      throw new SyncError({
        code: "PEER_FAILED",
        message: `Another node answers at ${row.host}:${row.port}: "${clipped(response.name, LONGEST_NAME)}" instead of "${row.name}"`,
        action: "Start the node again so that it registers under its new address, or remove it from the fleet.",
      });
    }
    const registered = this.#registry.servers.byNodeId(response.nodeId);
    if (registered === null) {
      this.#registry.servers.update(row.id, { node_id: response.nodeId });
      return true;
    }
    // Added by hand although it is known already: one row stays, with the address that works.
    this.#registry.servers.remove(row.id);
    this.#fleet.forget(row.id);
    if (this.#fleet.node(registered.id)?.online !== true) {
      this.#registry.servers.update(registered.id, { host: row.host, port: row.port });
      void this.ping(registered.id);
    }
    return false;
  }
}

import { EventEmitter } from "node:events";
import type { SyncResult } from "@scoutsync/protocol";
import type { RunningSession } from "./jobs/running-sessions.ts";

/** Something that people who watch the fleet want to hear about. */
export interface FleetEvent {
  /** ISO 8601 UTC. */
  time: string;
  kind: "node" | "session" | "scan" | "status" | "alert";
  serverId: number;
  serverName: string;
  message: string;
}

/** A session that has ended, well or not. */
export interface SessionEnd {
  serverId: number;
  sourceId: number;
  startedAt: Date;
  endedAt: Date;
  result: SyncResult;
}

interface EventMap {
  /** For watchers. */
  event: [FleetEvent];
  /** A session has ended and what it did is in the registry. */
  session: [SessionEnd];
  /** A node's catch-up was asked for and there was nothing to do, or no way to do it. */
  refused: [number];
  /** The worker that ran a session of the node, on either end, is gone, and its lease has run out. */
  abandoned: [number];
  /** A running session said where it stands. */
  progress: [RunningSession];
  /** What is known about who holds what has changed. */
  changed: [];
  /** Some node's backlog has been counted, and it is another one than before. */
  counted: [];
}

/** What happens in the coordinator, for the rooms that react to it. */
export class FleetEvents extends EventEmitter<EventMap> {
  constructor() {
    super();
    // Every watcher and every waiting scan listens.
    this.setMaxListeners(0);
  }

  tell(kind: FleetEvent["kind"], server: { id: number; name: string } | null, message: string): void {
    const time = new Date().toISOString();
    this.emit("event", { time, kind, serverId: server?.id ?? 0, serverName: server?.name ?? "", message });
  }
}

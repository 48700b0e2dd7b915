import type { Dial } from "@scoutsync/protocol";
import type { Logger } from "@scoutsync/runtime";
import type { Speaker } from "@scoutsync/trust";
import type { ClockKeeper } from "./clock/clock-keeper.ts";
import type { Connections } from "./connections.ts";
import type { BulkConnections } from "./bulk-connections.ts";
import type { Databases } from "./databases.ts";
import type { DiskRoom } from "./disk.ts";
import type { PassingLimits } from "./limits.ts";
import type { NodeCounts } from "./metrics.ts";
import type { FileRoots } from "./files/file-roots.ts";
import type { Scope } from "./scopes/scopes.ts";
import type { RowFiles } from "./files/row-files.ts";
import type { SessionGate } from "./session-gate.ts";

/** What the handlers of one node share. */
export interface NodeContext {
  readonly name: string;
  readonly nodeId: string;
  /** Random identity of this run of the process. */
  readonly run: string;
  readonly version: string;
  readonly receiveOnly: boolean;
  /** The scope that this node is limited to: its server says which part of a file root it has. Null for one that is not. */
  readonly scope: string | null;
  /** It is what nodes of a scope see of this node. */
  readonly isPart?: true;
  /** How long deleted rows are kept at least, days. */
  readonly retentionDays: number;
  readonly databases: Databases;
  /** The scopes that this node serves. */
  readonly scopes: readonly Scope[];
  readonly files: FileRoots;
  /** Which columns name files of which root. */
  readonly rowFiles: readonly RowFiles[];
  readonly limits: PassingLimits;
  readonly gate: SessionGate;
  readonly connections: Connections;
  readonly bulkConnections: BulkConnections;
  /** How this node reaches others: in plain text, or as a member of its fleet. */
  readonly dial: Dial;
  readonly clock: ClockKeeper;
  readonly disk: DiskRoom;
  /** What is counted of its sessions for Prometheus; null where nobody can ask for it. */
  readonly counts: NodeCounts | null;
  /** Who makes a call, as far as it says something of a node. */
  speakerOf(call: { getPeer(): string; getPath(): string }): Speaker;
  readonly logger: Logger;
  /** Aborts with SHUTTING_DOWN when the node stops. */
  readonly stopping: AbortSignal;
}

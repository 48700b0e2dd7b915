import type { Node } from "@scoutsync/protocol";
import { formatAddress } from "@scoutsync/runtime";
import { count } from "../output/json.ts";

export function addressOf({ host, port }: Pick<Node, "host" | "port">): string {
  return formatAddress({ host, port });
}

/** A registered node as `nodes list` and `nodes add` print it. */
export function nodeDocument(node: Node): {
  id: number;
  name: string;
  node_id: string | null;
  address: string;
  sync_enabled: boolean;
  online: boolean;
  version: string | null;
  last_sync: string | null;
  last_ping: string | null;
  missing_changes: number;
} {
  return {
    id: count(node.id),
    name: node.name,
    node_id: node.nodeId || null,
    address: addressOf(node),
    sync_enabled: node.syncEnabled,
    online: node.online,
    version: node.version || null,
    last_sync: node.lastSync || null,
    last_ping: node.lastPing || null,
    missing_changes: count(node.missingChanges),
  };
}

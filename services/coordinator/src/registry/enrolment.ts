import { SyncError } from "@scoutsync/core";
import { formatAddress } from "@scoutsync/runtime";
import { LONGEST_NAME } from "../detection/plausible.ts";
import type { Registry } from "./registry.ts";
import type { ServerRow } from "./servers.ts";

/** How a node introduces itself. */
export interface Introduction {
  nodeId: string;
  name: string;
  host: string;
  port: number;
  version: string;
  run: string;
}

/**
 * Enters a node that registers and returns its id. It is recognised by its identity; a row that was added by hand
 * with its address and has no identity yet becomes its row.
 */
export function enrol(registry: Registry, node: Introduction): number {
  const isLong = [node.nodeId, node.name, node.host, node.version, node.run].some((text) => text.length > LONGEST_NAME);
  if (isLong) {
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `A node registered with a name, an identity or a host of more than ${LONGEST_NAME} characters`,
      action: "Give it a shorter --name.",
    });
  }
  if (node.nodeId === "" || node.port < 1 || node.port > 65_535 || node.host === "") {
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `A node registered without ${node.nodeId === "" ? "an identity" : "a usable address"} (name "${node.name.slice(0, 60)}")`,
      action: "Send node_id, host and port.",
    });
  }
  const name = node.name === "" ? formatAddress(node) : node.name;
  return registry.transaction(() => {
    const known =
      registry.servers.byNodeId(node.nodeId) ??
      registry.servers.list().find((row) => row.node_id === null && row.host === node.host && row.port === node.port);
    const id = known?.id ?? registry.servers.insert({ name, host: node.host, port: node.port, enabled: true });
    const { nodeId: node_id, host, port, version, run } = node;
    registry.servers.update(id, { node_id, name, host, port, version, run });
    return id;
  });
}

/** Adds a node by hand or changes the one of that name or address. Returns its id. */
export function enterByHand(registry: Registry, node: { name: string; host: string; port: number; enabled: boolean }): number {
  if (node.host === "" || node.port < 1 || node.port > 65_535) {
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `"${node.host}:${node.port}" is not the address of a node`,
      action: "Give a host and a port between 1 and 65535.",
    });
  }
  const address = formatAddress(node);
  return registry.transaction(() => {
    const known = registry.servers.matching(address)[0] ?? (node.name === "" ? undefined : registry.servers.matching(node.name)[0]);
    const name = node.name === "" ? (known?.name ?? address) : node.name;
    if (known === undefined) return registry.servers.insert({ ...node, name });
    registry.servers.update(known.id, { name, host: node.host, port: node.port, sync_enabled: node.enabled ? 1 : 0 });
    return known.id;
  });
}

/** The one node that `text` (id, name or host:port) names. Throws NOT_FOUND, or INVALID_ARGUMENT when several do. */
export function findServer(registry: Registry, text: string): ServerRow {
  const [found, ...others] = registry.servers.matching(text);
  if (found === undefined) {
    throw new SyncError({
      code: "NOT_FOUND",
      message: `There is no node "${text.slice(0, 100)}" in the fleet`,
      action: "Use an id, a name or host:port from `scoutsync nodes list`.",
    });
  }
  if (others.length > 0) {
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `"${text.slice(0, 100)}" names ${others.length + 1} nodes`,
      action: `Use one of the ids ${[found, ...others].map((row) => row.id).join(", ")}.`,
    });
  }
  return found;
}

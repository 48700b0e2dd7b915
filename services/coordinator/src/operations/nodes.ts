import { z } from "zod";
import { SyncError } from "@scoutsync/core";
import { formatAddress, parseAddress } from "@scoutsync/runtime";
import { SERVICES } from "@scoutsync/trust";
import type { Core } from "../core.ts";
import type { FleetNode } from "../detection/fleet.ts";
import { foundNodes } from "../neighbours.ts";
import { enterByHand, findServer } from "../registry/enrolment.ts";
import { reliabilityOf } from "../reliability/figures.ts";
import { alertView } from "./alerts.ts";
import { Address, AnyBody, NodeParams, Nothing } from "./inputs.ts";
import { nodeViews, oneNodeView } from "./node-view.ts";
import { operation } from "./operation.ts";
import { sessionOf } from "./session-view.ts";
import { FoundNodeShape, NodeDetailShape, NodeShape, ReliabilityShape, SyncOutcomeShape } from "./shapes.ts";
import { syncOutcome } from "./sync-view.ts";
import { wireNode } from "./wire.ts";

const SESSIONS_SHOWN = 20;
const ALERTS_SHOWN = 10;
const LAG_SHOWN_MS = 24 * 3_600_000;

/** The node that `text` (id, name or host:port) names. Throws NOT_FOUND. */
export function findNode(core: Core, text: string): FleetNode {
  const node = core.fleet.node(findServer(core.registry, text).id);
  if (node !== null) return node;
  throw new SyncError({ code: "NOT_FOUND", message: `There is no node "${text}" in the fleet`, action: "See the list of nodes." });
}

/** Adds a node by its address, or changes one, and asks it who it is. Returns it as it is then known. */
export async function addNode(core: Core, entry: { name: string; host: string; port: number; enabled: boolean }): Promise<FleetNode> {
  const id = enterByHand(core.registry, entry);
  if (entry.enabled) await core.prober.ping(id);
  core.events.emit("changed");
  const byAddress = () => core.fleet.nodes().find((other) => other.row.host === entry.host && other.row.port === entry.port);
  // Its row is gone when it turned out to be a node that was known already.
  const node = core.fleet.node(id) ?? byAddress();
  if (node !== undefined) return node;
  throw new SyncError({
    code: "INVALID_ARGUMENT",
    message: `The node at ${entry.host}:${entry.port} is in the fleet already, at another address`,
    action: "See the list of nodes.",
  });
}

/** Forgets a node, and puts it out of the fleet where there are certificates; its data stays where it is. */
export async function removeNode(core: Core, text: string): Promise<void> {
  const row = findServer(core.registry, text);
  // First: a node that is forgotten but still let in could not be removed again.
  if (row.node_id !== null) await core.membership?.expel(row.node_id);
  core.registry.servers.remove(row.id);
  core.fleet.forget(row.id);
  core.events.tell("node", row, "was removed from the fleet");
}

/** Leaves a node out of everything, or takes it in again. */
export function setEnabled(core: Core, text: string, enabled: boolean): FleetNode {
  const { id, row } = findNode(core, text);
  core.registry.servers.update(id, { sync_enabled: enabled ? 1 : 0, failures: 0 });
  core.events.tell("node", row, enabled ? "takes part again" : "was paused");
  if (enabled) void core.prober.ping(id);
  core.events.emit("changed");
  return findNode(core, String(id));
}

/** Calls name a node as their field `node`, paths as `{id}`. */
export const byId = ({ node }: { node: string }) => ({ id: node });

const OneNode = z.object({ node: NodeShape });

export const NODE_OPERATIONS = [
  operation({
    id: "listNodes",
    method: "GET",
    need: { role: "viewer", scope: "fleet" },
    path: "/api/nodes",
    summary: "All nodes of the fleet",
    rpc: { call: "listNodes", services: SERVICES, answer: ({ nodes }) => ({ nodes: nodes.map(wireNode) }) },
    command: "nodes list",
    params: Nothing,
    query: Nothing,
    body: Nothing,
    answer: z.object({ nodes: z.array(NodeShape) }),
    status: 200,
    run: async ({ core, upkeep }) => {
      await upkeep.fresh();
      return { nodes: nodeViews(core) };
    },
  }),
  operation({
    id: "listFoundNodes",
    method: "GET",
    need: { role: "viewer", scope: "fleet" },
    path: "/api/discovered",
    summary: "Nodes that say on the local network that they are there, known ones too; nothing of it is proven",
    rpc: null,
    command: "nodes found",
    params: Nothing,
    query: Nothing,
    body: Nothing,
    answer: z.object({ discovered: z.array(FoundNodeShape) }),
    status: 200,
    run: ({ core }) => ({
      discovered: foundNodes(core).map(({ id, name, address, port, fleet, seenAt, known, advice }) => ({
        id,
        name,
        address,
        port,
        ...(fleet === "" ? {} : { fleet_id: fleet }),
        seen_at: seenAt.toISOString(),
        known,
        advice,
      })),
    }),
  }),
  operation({
    id: "getNode",
    method: "GET",
    need: { role: "viewer", scope: "fleet" },
    path: "/api/nodes/{id}",
    summary: "One node with its recent sessions, reliability and lag",
    rpc: null,
    command: "nodes show",
    params: NodeParams,
    query: Nothing,
    body: Nothing,
    answer: NodeDetailShape,
    status: 200,
    run: async ({ core, upkeep }, { params }) => {
      await upkeep.fresh();
      const node = findNode(core, params.id);
      const { registry } = core;
      const alerts = registry.alerts.list({ serverId: node.id, all: true, limit: 200 });
      const recovered = alerts.filter((alert) => alert.recovered_at !== null).slice(0, ALERTS_SHOWN);
      return {
        node: oneNodeView(core, node),
        reliability: reliabilityOf(registry, node.row),
        sessions: registry.logs.sessionsOf(node.id, SESSIONS_SHOWN).map((row) => sessionOf(registry, row, node.id)),
        alerts: [...alerts.filter((alert) => alert.recovered_at === null), ...recovered].map(alertView),
        lag: registry.lag.since(node.id, new Date(Date.now() - LAG_SHOWN_MS)),
        timestamp: new Date().toISOString(),
      };
    },
  }),
  operation({
    id: "addNode",
    method: "POST",
    need: { role: "operator", scope: "fleet" },
    path: "/api/nodes",
    summary: "Adds a node that does not announce itself, or changes the one of that name or address",
    rpc: {
      call: "addNode",
      fields: ({ name, host, port, disabled }) => ({ address: formatAddress({ host, port }), name, paused: disabled }),
      answer: ({ node }) => ({ node: wireNode(node) }),
    },
    command: "nodes add",
    params: Nothing,
    query: Nothing,
    body: z.object({ address: Address, name: z.string().max(200).default(""), paused: z.boolean().default(false) }),
    answer: OneNode,
    status: 201,
    run: async ({ core }, { body }) => {
      const { host, port } = parseAddress(body.address) ?? { host: "", port: 0 };
      return { node: oneNodeView(core, await addNode(core, { name: body.name, host, port, enabled: !body.paused })) };
    },
  }),
  operation({
    id: "removeNode",
    method: "DELETE",
    need: { role: "operator", scope: "fleet" },
    path: "/api/nodes/{id}",
    summary: "Forgets a node; its data stays where it is",
    rpc: { call: "removeNode", fields: byId, answer: () => ({}) },
    command: "nodes remove",
    params: NodeParams,
    query: Nothing,
    body: AnyBody,
    answer: null,
    status: 204,
    run: ({ core }, { params }) => removeNode(core, params.id),
  }),
  ...(["pause", "resume"] as const).map((what) =>
    operation({
      id: `${what}Node`,
      method: "POST",
      need: { role: "operator", scope: "fleet" },
      path: `/api/nodes/{id}/${what}`,
      summary: what === "pause" ? "Leaves a node out of everything" : "Takes a node in again",
      rpc: { call: `${what}Node`, fields: byId, answer: ({ node }: z.input<typeof OneNode>) => ({ node: wireNode(node) }) },
      command: `nodes ${what}`,
      params: NodeParams,
      query: Nothing,
      body: AnyBody,
      answer: OneNode,
      status: 200,
      run: ({ core }, { params }) => ({ node: oneNodeView(core, setEnabled(core, params.id, what === "resume")) }),
    }),
  ),
  operation({
    id: "syncNode",
    method: "POST",
    need: { role: "operator", scope: "sync" },
    path: "/api/nodes/{id}/sync",
    summary: "Brings one node up to date now, and waits for it",
    rpc: {
      call: "catchUp",
      fields: byId,
      answer: ({ stats, ...outcome }) => ({
        result: {
          ...outcome,
          sent: stats.local_changes_sent,
          received: stats.remote_changes_received,
          applied: stats.remote_changes_applied,
          uploaded: stats.files_uploaded,
          downloaded: stats.files_downloaded,
        },
      }),
    },
    command: "nodes sync",
    params: NodeParams,
    query: Nothing,
    body: AnyBody,
    answer: SyncOutcomeShape,
    status: 200,
    run: async ({ core, signal }, { params }) => syncOutcome(await core.catchUps.catchUp(findNode(core, params.id).id, signal)),
  }),
  operation({
    id: "getReliability",
    method: "GET",
    need: { role: "viewer", scope: "fleet" },
    path: "/api/reliability/{id}",
    summary: "How well a node works, per operation, with patterns of its errors",
    rpc: {
      call: "getReliability",
      fields: byId,
      answer: ({ operations, ...reliability }) => ({
        ...reliability,
        operations: Object.entries(operations).map(([name, one]) => ({ operation: name, ...one })),
      }),
    },
    command: "reliability",
    params: NodeParams,
    query: Nothing,
    body: Nothing,
    answer: ReliabilityShape,
    status: 200,
    run: ({ core }, { params }) => reliabilityOf(core.registry, findServer(core.registry, params.id)),
  }),
];

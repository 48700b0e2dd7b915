import { z } from "zod";
import type { Core } from "../core.ts";
import { findServer } from "../registry/enrolment.ts";
import { CATCH_UP_OPERATION } from "../registry/logs.ts";
import { reliabilityOf } from "../reliability/figures.ts";
import { AnyBody, NodeText, Nothing, Truth } from "./inputs.ts";
import { operation } from "./operation.ts";
import { CatchUpStatusShape, ReliabilityShape, ScanShape, SyncOutcomeShape } from "./shapes.ts";
import { scanView, syncOutcome } from "./sync-view.ts";
import { wireScanResult } from "./wire.ts";

const RECENT_LOGS = 20;
const ServerParams = z.object({ server_id: NodeText });

/** Who lacks something, and what was tried last. */
function catchUpStatus({ registry, fleet }: Core): z.infer<typeof CatchUpStatusShape> {
  const behind = new Set(fleet.behind().map((node) => node.id));
  const needing = fleet.nodes().filter((node) => node.enabled && (node.missing.changes > 0 || behind.has(node.id)));
  return {
    catchup_enabled: registry.settings.get("catchup_enabled"),
    max_catchup_days: registry.settings.get("max_catchup_days"),
    servers_needing_catchup: needing.map(({ row, missing }) => ({
      id: row.id,
      name: row.name,
      host: row.host,
      last_sync: row.last_sync,
      last_ping: row.last_ping,
      ping_success: row.ping_success !== 0,
      missing_changes: missing.changes,
    })),
    recent_catchup_logs: registry.logs.list({ operation: CATCH_UP_OPERATION, limit: RECENT_LOGS }).map((log) => ({
      id: log.id,
      server_name: log.server_name,
      operation: log.operation,
      status: log.status,
      created_at: log.created_at,
      details: log.details,
    })),
    timestamp: new Date().toISOString(),
  };
}

/** The routes of existing admin screens, with the names these know. */
export const CONTRACT_OPERATIONS = [
  operation({
    id: "getCatchupStatus",
    method: "GET",
    need: { role: "viewer", scope: "sync" },
    path: "/api/sync/catchup/status",
    summary: "Which nodes lack changes, and the latest catch-ups",
    rpc: null,
    command: "status",
    params: Nothing,
    query: Nothing,
    body: Nothing,
    answer: CatchUpStatusShape,
    status: 200,
    run: async ({ core, upkeep }) => {
      await upkeep.fresh();
      return catchUpStatus(core);
    },
  }),
  ...(["/api/sync/catchup/scan", "/api/sync-all"] as const).map((path) =>
    operation({
      id: path === "/api/sync-all" ? "syncAll" : "scan",
      method: "POST",
      need: { role: "operator", scope: "sync" },
      path,
      summary: "Asks every node, catches up whoever lacks something, and waits for it",
      rpc:
        path === "/api/sync-all"
          ? null
          : {
              call: "scan",
              fields: ({ no_wait }) => ({ wait: !no_wait }),
              answer: (scan) => ({ ...scan, results: scan.results.map(wireScanResult) }),
            },
      command: "scan",
      params: Nothing,
      query: z.object({ wait: Truth.default(true).describe("false: answer when the catch-ups are scheduled") }),
      body: AnyBody,
      answer: ScanShape,
      status: 200,
      run: async ({ core, signal }, { query }) => scanView(await core.catchUps.scan({ wait: query.wait, signal })),
    }),
  ),
  operation({
    id: "syncServer",
    method: "POST",
    need: { role: "operator", scope: "sync" },
    path: "/api/sync/sqlite3/sync/{server_id}",
    summary: "Brings one node up to date now, and waits for it",
    rpc: null,
    command: "nodes sync",
    params: ServerParams,
    query: Nothing,
    body: AnyBody,
    answer: SyncOutcomeShape,
    status: 200,
    run: async ({ core, signal }, { params }) =>
      syncOutcome(await core.catchUps.catchUp(findServer(core.registry, params.server_id).id, signal)),
  }),
  operation({
    id: "getServerReliability",
    method: "GET",
    need: { role: "viewer", scope: "fleet" },
    path: "/api/sync/sqlite3/reliability/{server_id}",
    summary: "How well a node works, per operation, with patterns of its errors",
    rpc: null,
    command: "reliability",
    params: ServerParams,
    query: Nothing,
    body: Nothing,
    answer: ReliabilityShape,
    status: 200,
    run: ({ core }, { params }) => reliabilityOf(core.registry, findServer(core.registry, params.server_id)),
  }),
];

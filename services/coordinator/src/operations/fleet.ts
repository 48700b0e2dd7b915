import type { z } from "zod";
import type { Core } from "../core.ts";
import { ageSeconds } from "../detection/fleet.ts";
import { alertView } from "./alerts.ts";
import { Nothing } from "./inputs.ts";
import { nextStep, nodeViews } from "./node-view.ts";
import { operation } from "./operation.ts";
import { FleetShape, type CertificateShape } from "./shapes.ts";
import { jobCounts } from "./jobs.ts";
import { wireStatus } from "./wire.ts";

const OPEN_ALERTS = 200;

/** Whether all nodes are equal and since when, or exactly who misses what. */
export function certificateView(core: Core): z.infer<typeof CertificateShape> {
  const { converged, since } = core.certificate.current();
  const unequal = core.certificate.inequalities();
  return {
    converged,
    since,
    nodes: core.fleet.nodes().filter((node) => node.enabled).length,
    vectors: core.certificate.vectors(),
    behind: core.fleet.nodes().flatMap((node) => {
      const why = unequal.get(node.id);
      if (why === undefined || converged) return [];
      return [
        {
          id: node.id,
          name: node.row.name,
          missing_changes: node.missing.changes,
          oldest_missing_age_s: ageSeconds(node.missing),
          databases: why.databases,
          reason: why.kind === "behind" ? `${why.reason} ${nextStep(core, node)}` : why.reason,
        },
      ];
    }),
  };
}

/** The fleet at a glance. */
export async function fleetView(core: Core): Promise<z.infer<typeof FleetShape>> {
  return fleetNow(core, await jobCounts(core));
}

/** The fleet at this moment, with the state of the queue as it was asked for just before. */
export function fleetNow(core: Core, jobs: Awaited<ReturnType<typeof jobCounts>>): z.infer<typeof FleetShape> {
  return {
    certificate: certificateView(core),
    nodes: nodeViews(core),
    jobs,
    alerts: core.registry.alerts.list({ limit: OPEN_ALERTS }).map(alertView),
    timestamp: new Date().toISOString(),
  };
}

export const FLEET_OPERATIONS = [
  operation({
    id: "getFleet",
    method: "GET",
    need: { role: "viewer", scope: "fleet" },
    path: "/api/fleet",
    summary: "The fleet at a glance: every node, who misses what, since when, and what is being done",
    rpc: { call: "getStatus", answer: wireStatus },
    command: "status",
    params: Nothing,
    query: Nothing,
    body: Nothing,
    answer: FleetShape,
    status: 200,
    run: async ({ core, upkeep }) => {
      await upkeep.fresh();
      return fleetView(core);
    },
  }),
];

import { z } from "zod";
import { toPlainError } from "@scoutsync/core";
import { unary } from "@scoutsync/protocol";
import type { Core } from "../core.ts";
import type { FleetNode } from "../detection/fleet.ts";
import { total } from "../planner/plan.ts";
import { AnyBody, NodeParams, Nothing } from "./inputs.ts";
import { byId, findNode, removeNode } from "./nodes.ts";
import { operation } from "./operation.ts";
import { asItIs } from "./rpc.ts";

const DEADLINE_MS = 60_000;

/** Deleted rows are not kept for it any more; who cannot be reached now hears of it from the others. */
async function keepNothingFor({ row }: FleetNode, core: Core, database: string): Promise<void> {
  if (row.node_id === null) return;
  for (const node of core.fleet.available()) {
    if (!node.vectors.has(database)) continue;
    try {
      await unary(core.clients.to(node.address), "retireKnownNode", { database, node: row.node_id }, { deadlineMs: DEADLINE_MS });
    } catch (thrown) {
      const { code, message } = toPlainError(thrown);
      // It never met the retired one.
      if (code !== "NOT_FOUND") core.logger.warn({ node: node.row.name, database, error: message }, "could not be told of a retired node");
    }
  }
}

/**
 * Takes a node out for good. Per database, the node that holds most takes over what the retired one sent only in part,
 * so that the others can be found equal without it, and nobody keeps deleted rows for it any more. Should it come back,
 * it joins again. Returns who took over, and how many runs that were.
 */
export async function retireNode(core: Core, text: string): Promise<{ by: string; origins: number }> {
  const retired = findNode(core, text);
  await removeNode(core, String(retired.id));
  let origins = 0;
  const by = new Set<string>();
  for (const { name: database } of retired.reports) {
    await keepNothingFor(retired, core, database);
    const holders = core.fleet
      .available()
      .flatMap((node) => {
        const vector = node.vectors.get(database);
        return vector === undefined ? [] : [{ node, held: total(vector) }];
      })
      .sort((a, b) => b.held - a.held);
    for (const { node } of holders) {
      try {
        const answer = await unary(core.clients.to(node.address), "reissue", { database }, { deadlineMs: DEADLINE_MS });
        origins += Number(answer.origins);
        by.add(node.row.name);
        break;
      } catch (error) {
        // The next one holds nearly as much; what nobody takes over now is taken over by itself after some days.
        core.logger.warn({ node: node.row.name, database, error: toPlainError(error).message }, "could not take over from a retired node");
      }
    }
  }
  core.events.emit("changed");
  return { by: [...by].join(", "), origins };
}

export const RETIRE_OPERATIONS = [
  operation({
    id: "retireNode",
    method: "POST",
    need: { role: "operator", scope: "fleet" },
    path: "/api/nodes/{id}/retire",
    summary: "Takes a node out for good; the others take over what it sent only in part",
    rpc: { call: "retireNode", fields: byId, answer: asItIs },
    command: "nodes retire",
    params: NodeParams,
    query: Nothing,
    body: AnyBody,
    answer: z.object({ by: z.string(), origins: z.int().min(0) }),
    status: 200,
    run: ({ core }, { params }) => retireNode(core, params.id),
  }),
];

import { z } from "zod";
import type { AlertRow } from "../registry/alert-store.ts";
import { Listed, Nothing, Truth } from "./inputs.ts";
import { operation } from "./operation.ts";
import { asItIs, filled } from "./rpc.ts";
import { AlertShape } from "./shapes.ts";

export function alertView(row: AlertRow): z.infer<typeof AlertShape> {
  const { id, kind, server_id, server_name, message, since, recovered_at, notified } = row;
  return { id, kind, server_id, server_name, message, since, recovered_at, notified: notified !== 0 };
}

export const ALERT_OPERATIONS = [
  operation({
    id: "listAlerts",
    method: "GET",
    need: { role: "viewer", scope: "fleet" },
    path: "/api/alerts",
    summary: "What is wrong now, and what was",
    rpc: { call: "listAlerts", fields: ({ all, limit }) => ({ open: !all, ...filled({ limit }) }), answer: asItIs },
    command: "alerts",
    params: Nothing,
    query: z.object({ open: Truth.default(true), limit: Listed }),
    body: Nothing,
    answer: z.object({ alerts: z.array(AlertShape) }),
    status: 200,
    run: ({ core }, { query }) => ({
      alerts: core.registry.alerts.list({ all: !query.open, limit: query.limit }).map(alertView),
    }),
  }),
];

import { z } from "zod";
import type { LogRow } from "../registry/logs.ts";
import { findServer } from "../registry/enrolment.ts";
import { Nothing, Page, PageSize } from "./inputs.ts";
import { operation } from "./operation.ts";
import { asItIs, filled } from "./rpc.ts";
import { LogPageShape, type LogShape } from "./shapes.ts";

/** Where a call does not say how many. */
const LISTED = 100;

export function logView(row: LogRow): z.infer<typeof LogShape> {
  const { id, server_id, server_name, operation: what, status, details, created_at, completed_at } = row;
  return { id, server_id, server_name, operation: what, status, details, created_at, completed_at };
}

export const LOG_OPERATIONS = [
  operation({
    id: "listLogs",
    method: "GET",
    need: { role: "viewer", scope: "logs" },
    path: "/api/logs",
    summary: "What the coordinator did and how it went, newest first, in pages",
    rpc: {
      call: "listLogs",
      fields: ({ limit, ...filter }) => filled({ ...filter, page_size: limit === 0 ? LISTED : limit }),
      answer: asItIs,
    },
    command: "logs",
    params: Nothing,
    query: z.object({
      page: Page,
      page_size: PageSize,
      node: z.string().default("").describe("Id, name or host:port"),
      status: z.enum(["pending", "in_progress", "completed", "failed"]).optional(),
      operation: z.string().max(100).default("").describe("Part of the operation's name"),
      before_id: z.coerce.number().int().min(0).default(0).describe("Only lines older than this one; 0 for all"),
    }),
    body: Nothing,
    answer: LogPageShape,
    status: 200,
    run: ({ core }, { query }) => {
      const { logs } = core.registry;
      const filter = {
        ...(query.node === "" ? {} : { serverId: findServer(core.registry, query.node).id }),
        operation: query.operation,
        status: query.status ?? "",
      };
      const total = logs.count(filter);
      const rows = logs.list({ ...filter, beforeId: query.before_id, limit: query.page_size, offset: (query.page - 1) * query.page_size });
      const pages = Math.ceil(total / query.page_size);
      return { logs: rows.map(logView), page: query.page, page_size: query.page_size, total, pages };
    },
  }),
];

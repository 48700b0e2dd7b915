import { z } from "zod";
import type { LogRow } from "../registry/logs.ts";
import type { Registry } from "../registry/registry.ts";
import type { SessionShape } from "./shapes.ts";

const count = z.number().catch(0);

/** What a line's details hold when it is about a session; anything else counts as nothing. */
const Details = z
  .object({
    source: z.string().catch(""),
    verified: z.boolean().catch(false),
    duration: count,
    database_changes: z.object({ sent: count, received: count, applied: count }).catch({ sent: 0, received: 0, applied: 0 }),
    file_changes: z.object({ uploaded: count, downloaded: count }).catch({ uploaded: 0, downloaded: 0 }),
    errors: z.array(z.object({ code: z.string(), message: z.string() })).catch([]),
  })
  .catch({
    source: "",
    verified: false,
    duration: 0,
    database_changes: { sent: 0, received: 0, applied: 0 },
    file_changes: { uploaded: 0, downloaded: 0 },
    errors: [],
  });

/** A line of the log as a session, from the side of the node `from`. */
export function sessionOf(registry: Registry, row: LogRow, from: number): z.infer<typeof SessionShape> {
  const details = Details.parse(parsed(row.details));
  const asNode = row.server_id === from;
  const { sent, received, applied } = details.database_changes;
  const { uploaded, downloaded } = details.file_changes;
  const sourceName = row.source_id === null ? details.source : (registry.servers.get(row.source_id)?.name ?? details.source);
  return {
    id: row.id,
    peer: asNode ? sourceName : row.server_name,
    role: asNode ? "node" : "source",
    started_at: row.created_at,
    completed_at: row.completed_at,
    success: row.status === "completed" ? true : row.status === "failed" ? false : null,
    verified: details.verified,
    duration: details.duration,
    // What was sent in a session that went well was applied at the other end.
    database_changes: asNode
      ? { sent, received, applied }
      : { sent: received, received: sent, applied: row.status === "completed" ? sent : 0 },
    file_changes: asNode ? { uploaded, downloaded } : { uploaded: downloaded, downloaded: uploaded },
    errors: details.errors,
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

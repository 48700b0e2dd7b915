import { briefColumns, LONGEST_COMPARED, SyncError, formatVector } from "@scoutsync/core";
import { toWireColumns, toWireDigestEntry, type DigestRequest, type DigestResponse } from "@scoutsync/protocol";
import type { NodeContext } from "../context.ts";

/** Rows fetched by one request: each may be large. */
const MAX_KEYS = 1_000;

export async function digest(context: NodeContext, request: DigestRequest): Promise<DigestResponse> {
  const { replica } = context.databases.get(request.database);
  const { table, buckets, deep, keys } = request;
  if (keys.length === 0) {
    const { vector, entries } = await replica.digest({ table, buckets, deep });
    return { vector: formatVector(vector), entries: entries.map(toWireDigestEntry), rows: [] };
  }
  if (table === "" || keys.length > MAX_KEYS) {
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: table === "" ? "rows were asked for without their table" : `${keys.length} rows were asked for at once`,
      action: `Name the table and at most ${MAX_KEYS} keys.`,
    });
  }
  const rows = await Promise.all(
    keys.map(async (key) => {
      const columns = await replica.row(table, key);
      return { key, present: columns !== null, columns: toWireColumns(briefColumns(columns ?? [], LONGEST_COMPARED)) };
    }),
  );
  return { vector: formatVector(replica.state.vector), entries: [], rows };
}

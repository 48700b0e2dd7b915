import type { CheckCaptureRequest, CheckCaptureResponse } from "@scoutsync/protocol";
import type { NodeContext } from "../context.ts";

export async function checkCapture(context: NodeContext, { database, seen }: CheckCaptureRequest): Promise<CheckCaptureResponse> {
  const { replica } = context.databases.get(database);
  const { faults, cursor } = await replica.checkCapture(seen);
  return {
    faults: faults.map(({ table, reason, atUs }) => ({ table, reason, at: new Date(atUs / 1_000).toISOString() })),
    cursor,
  };
}

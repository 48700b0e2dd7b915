import { tablesWrittenPast, toPlainError } from "@scoutsync/core";
import { CaptureLook, DialledOut, SyncRequest, SyncResult, type CaptureOrder, type DatabaseCapture } from "@scoutsync/protocol";
import { pause } from "@scoutsync/runtime";
import type { NodeContext } from "./context.ts";
import { checkCapture } from "./handlers/capture.ts";
import { sync } from "./handlers/sync.ts";

/** Between two looks at a table. */
const LOOK_PAUSE_MS = 500;

// What a coordinator that cannot dial this node has it do. Neither fails: what went wrong is part of what is told.

/** Runs a session with the peer at `host:port`. */
export async function dialOut(
  context: NodeContext,
  { syncWith: peer, batchSize }: { syncWith: string; batchSize: number },
  signal: AbortSignal,
): Promise<DialledOut> {
  const startedAt = new Date().toISOString();
  let result: SyncResult | undefined;
  try {
    const outbox = {
      write: ({ kind }: { kind?: { $case: string; value: unknown } | undefined }) => {
        if (kind?.$case === "result") result = kind.value as SyncResult;
        return Promise.resolve();
      },
    };
    await sync(context, SyncRequest.fromPartial({ peer, batchSize }), outbox, signal);
  } catch (error) {
    const { code, message } = toPlainError(error);
    result = SyncResult.fromPartial({ node: context.name, peer, errors: [{ code, message }] });
  }
  result ??= SyncResult.fromPartial({ errors: [{ code: "INTERNAL", message: "the session ended without a result" }] });
  return DialledOut.create({ peer, startedAt, result });
}

/** Looks whether the capture of each database works, and whether its rows are those that capture knows of. */
export async function lookAtCapture(context: NodeContext, order: CaptureOrder, signal: AbortSignal): Promise<CaptureLook> {
  const databases: DatabaseCapture[] = [];
  try {
    for (const { database, seen } of order.databases) {
      const { faults, cursor } = await checkCapture(context, { database, seen });
      const { replica } = context.databases.get(database);
      const ask = async (table: string, deep: boolean) => (await replica.digest({ table, buckets: [], deep })).entries;
      const writtenPast = await tablesWrittenPast(ask, order.round, async () => {
        await pause(LOOK_PAUSE_MS, signal);
        signal.throwIfAborted();
      });
      databases.push({ database, faults, cursor, writtenPast });
    }
    return CaptureLook.create({ databases });
  } catch (error) {
    return CaptureLook.create({ problem: toPlainError(error).message });
  }
}

import { PROTOCOL_VERSION, SyncError } from "@scoutsync/core";
import { GetChangesRequest, serverStream, unary } from "@scoutsync/protocol";
import { QUICK_DEADLINE_MS, type NodeConnection } from "../connect.ts";
import { stoppable } from "./interruption.ts";
import { revocationsAt } from "./revocations.ts";
import { BundleWriter } from "./writer.ts";

export interface Exported {
  database: string;
  /** Name of the node. */
  node: string;
  since: string;
  batches: number;
  changes: number;
  bytes: number;
}

/**
 * Writes what the node's database has and `since` lacks into a bundle at `path`, batch by batch as it comes. Throws
 * what the node or the file system refuses; then there is no file.
 */
export async function exportBundle(
  client: NodeConnection,
  {
    database,
    since,
    path,
    onProgress,
  }: { database: string; since: string; path: string; onProgress: (done: number, total: number) => void },
): Promise<Exported> {
  const node = await unary(client, "ping", { callerTimeUs: 0n }, { deadlineMs: QUICK_DEADLINE_MS });
  const revocations = await revocationsAt(client);
  const writer = await BundleWriter.create(path);
  const exported: Exported = { database, node: node.name, since, batches: 0, changes: 0, bytes: 0 };
  let final = false;
  const { signal, release } = stoppable();
  try {
    const request = GetChangesRequest.fromPartial({
      database,
      since,
      codecs: ["zstd", "identity"],
      whole: true,
      protocol: PROTOCOL_VERSION,
    });
    for await (const { batch } of serverStream(client, "getChanges", request, { signal })) {
      if (!batch) continue;
      if (exported.batches === 0 && batch.part < 2) {
        const { name, version } = node;
        const created = new Date().toISOString();
        const { vector } = node.databases.find((known) => known.name === database) ?? {};
        const said = { protocol: batch.protocol, version, node: name, run: batch.run, since, created, revocations };
        await writer.head({ ...said, database, vector });
      }
      await writer.batch(batch);
      // Of a batch in parts the first one says what it is.
      if (batch.part > 1) continue;
      exported.batches += 1;
      exported.changes += batch.count;
      final = batch.final;
      onProgress(exported.changes, exported.changes + Number(batch.remaining));
    }
    if (!final) {
      throw new SyncError({ code: "PEER_FAILED", message: `${client.address} ended the stream before its end`, action: "Export again." });
    }
    await writer.finish();
    return { ...exported, bytes: writer.bytes };
  } catch (error) {
    await writer.discard();
    throw error;
  } finally {
    release();
  }
}

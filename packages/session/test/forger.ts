import { createHash } from "node:crypto";
import { type ChangeBatch, PayloadWriter, RecordFlags, type VersionVector } from "@scoutsync/core";
import type { Replica } from "@scoutsync/replica";
import { takeBatch } from "../src/index.ts";

const NOTHING = Buffer.alloc(0);
const NO_DIGEST = Buffer.alloc(16);

/** What a batch is to claim. Left out: what an honest, empty one would say. */
export interface Lie {
  vector?: VersionVector;
  floor?: VersionVector;
  run?: string;
  to?: VersionVector;
  final?: boolean;
  /** A row under a birth that another one's origin is said to have written. */
  row?: { table: "word" | "note"; origin: string; sequence: number; timeUs: number; key: string; value: string };
}

/** One row, packed as a node would. */
function payloadOf({ table, origin, sequence, timeUs, key, value }: NonNullable<Lie["row"]>): Buffer {
  const writer = new PayloadWriter({ origin: () => ({ origin, author: "whoever" }), context: () => [] });
  const surrogate = table === "note";
  writer.table({ name: table, surrogate, keyParts: surrogate ? 0 : 1, columns: surrogate ? ["x"] : ["k", "x"] });
  writer.body.varint(0);
  writer.flags(RecordFlags.birth);
  if (surrogate) {
    writer.origin(0);
    writer.sequence(sequence);
    writer.stamp(timeUs, 0);
    writer.value(BigInt(key));
    writer.value(value);
  } else {
    writer.value(key);
    writer.write({ origin: 0, sequence, time: timeUs, context: 0 });
    writer.value(key);
    writer.value(value);
  }
  writer.count = 1;
  return writer.finish();
}

/** The batch of a member that makes things up, as any receiver takes it: what it was refused with, or null. */
export async function tell(target: Replica, lie: Lie): Promise<string | null> {
  const payload = lie.row ? payloadOf(lie.row) : NOTHING;
  const vector = lie.vector ?? target.state.vector;
  const batch: ChangeBatch = {
    from: new Map(),
    to: lie.to ?? vector,
    count: lie.row ? 1 : 0,
    codec: "identity",
    format: "packed-1",
    sha256: createHash("sha256").update(payload).digest(),
    payload,
    payloadSize: payload.length,
    final: lie.final ?? true,
    vector: (lie.final ?? true) ? vector : new Map(),
    digest: NO_DIGEST,
    schema: "",
    run: lie.run ?? "run-of-the-forger",
    beyondDigest: NOTHING,
    remaining: 0,
    baseline: "",
    node: { id: "forger", name: "forger" },
    ...(lie.floor && { floor: lie.floor }),
  };
  return refusalOf(() => takeBatch(target, batch));
}

export async function refusalOf(work: () => Promise<unknown>): Promise<string | null> {
  try {
    await work();
    return null;
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === undefined) throw error;
    return code;
  }
}

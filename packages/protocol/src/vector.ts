import { SyncError, type Origin, type VersionVector } from "@scoutsync/core";
import type { VersionVector as WireVector } from "../gen/scoutsync/v1/sync_node.ts";

const ORIGIN = /^[a-z2-7]{16}$/;
/** A fleet has a few origins per node; a vector beyond this is an attack or a defect. */
const MAX_ENTRIES = 1_000_000;

export function toWireVector(vector: VersionVector): WireVector {
  const entries: WireVector["entries"] = [];
  for (const [origin, sequence] of vector) {
    if (sequence > 0) entries.push({ origin, sequence: BigInt(sequence), chain: NO_BYTES });
  }
  return { entries };
}

/** Throws BATCH_CORRUPT when an entry is not an origin with a sequence below 2^53. */
export function fromWireVector(wire: WireVector | undefined): VersionVector {
  const vector = new Map<Origin, number>();
  if (!wire) return vector;
  if (wire.entries.length > MAX_ENTRIES) throw corrupt(`a version vector of ${wire.entries.length} entries`);
  for (const { origin, sequence } of wire.entries) {
    if (!ORIGIN.test(origin) || sequence > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw corrupt(`"${origin.slice(0, 40)}:${sequence}" in a version vector`);
    }
    vector.set(origin, Math.max(Number(sequence), vector.get(origin) ?? 0));
  }
  return vector;
}

function corrupt(what: string): SyncError {
  return new SyncError({
    code: "BATCH_CORRUPT",
    message: `the peer sent ${what}`,
    action: "Check that both sides run compatible versions.",
  });
}

const NO_BYTES = Buffer.alloc(0);

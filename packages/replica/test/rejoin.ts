import { type ChangeBatch, join, type VersionVector } from "@scoutsync/core";
import type { ReplicaDatabase } from "../src/index.ts";

/** What a session does for a replica that was away for too long: everything that `from` holds is compared with what it holds. */
export function rejoin(to: ReplicaDatabase, from: ReplicaDatabase, batchSize = 0): { gone: number; reborn: number } {
  to.beginRejoin();
  let beyondAfter: ChangeBatch["beyondTo"];
  for (let have: VersionVector = new Map(); ;) {
    const batch = from.read({ from: have, batchSize, codecs: ["zstd"], beyondDigest: new Uint8Array(), beyondAfter });
    beyondAfter = batch.beyondTo;
    const { rejoined } = to.apply({ ...batch, rejoin: true });
    have = join(have, batch.to);
    if (rejoined) return rejoined;
  }
}

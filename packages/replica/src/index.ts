export type * from "./replica.ts";
export { openReplicaPool } from "./pool/pool.ts";
export { detach, diagnose } from "./diagnose.ts";
export { VEILED } from "./audit/veil.ts";
export { ReplicaDatabase } from "./database.ts";

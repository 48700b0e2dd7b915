export type * from "./replica.ts";
export { openReplicaPool } from "./pool/pool.ts";
export { detach, diagnose } from "./diagnose.ts";
export { VEILED } from "./audit/veil.ts";
export { parseCondition, type Comparison } from "./scope/condition.ts";
export { termsOfScope, type ScopeRule, type ScopeTable } from "./scope/plan.ts";
export type { ScopeSource } from "./scope/copy.ts";
export type { ScopeCarried } from "./scope/carry.ts";
export { ReplicaDatabase } from "./database.ts";

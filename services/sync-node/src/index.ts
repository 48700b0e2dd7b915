export { NODE_METRICS } from "./metric-definitions.ts";
export { startSyncNode } from "./sync-node.ts";
export { nodeIdentity } from "./identity.ts";
export type { SyncNodeService } from "./serving.ts";
export type { SyncNodeConfig } from "./config.ts";
export { scopesOf, type ScopeDefinition } from "./scopes/definitions.ts";

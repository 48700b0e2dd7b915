export { startSyncNode } from "./sync-node.ts";
export type { SyncNodeService } from "./serving.ts";
export type { SyncNodeConfig } from "./config.ts";

export { startSyncNode, type SyncNodeService } from "./sync-node.ts";
export type { SyncNodeConfig } from "./config.ts";

// The generated messages under their wire names; where core has the same word (VersionVector, Review, SyncError),
// core's is the one to work with and this one is how it travels.
export * from "../gen/scoutsync/v1/sync_node.ts";
export * from "../gen/scoutsync/v1/coordinator.ts";
// In both generated files; said once so that the two stars do not clash.
export { type DeepPartial, type MessageFns, protobufFileName, protobufPackage } from "../gen/scoutsync/v1/sync_node.ts";
export * from "./status.ts";
export * from "./client.ts";
export * from "./reflection.ts";

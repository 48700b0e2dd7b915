// The generated messages under their wire names; where core has the same word (VersionVector, Review, SyncError),
// core's is the one to work with and this one is how it travels.
export * from "../gen/scoutsync/v1/sync_node.ts";
export * from "../gen/scoutsync/v1/coordinator.ts";
export * from "../gen/scoutsync/v1/fleet.ts";
export * from "../gen/scoutsync/v1/access.ts";
// In both generated files; said once so that the two stars do not clash.
export { type DeepPartial, type MessageFns, protobufFileName, protobufPackage } from "../gen/scoutsync/v1/sync_node.ts";
export * from "./status.ts";
export * from "./client.ts";
export * from "./plain.ts";
export { addReflection, fileDescriptors } from "./reflection.ts";
export * from "./version.ts";
export * from "./vector.ts";
export * from "./value.ts";
export * from "./time.ts";
export * from "./clock.ts";
export * from "./batch.ts";
export * from "./bulk-codec.ts";
export * from "./people.ts";
export * from "./known-node.ts";
export * from "./peer-client.ts";
export * from "./file-entries.ts";
export * from "./file-client.ts";
export * from "./bulk-frames.ts";
export * from "./bulk-ends.ts";
export * from "./read-into.ts";
export * from "./bulk-connection.ts";

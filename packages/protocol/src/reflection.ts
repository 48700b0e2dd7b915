import { readFileSync } from "node:fs";
import { BinaryReader } from "@bufbuild/protobuf/wire";
import type { Server } from "@grpc/grpc-js";
import { ReflectionService } from "@grpc/reflection";

/** Written by `npm run generate`: a FileDescriptorSet with every file and its imports. */
export const CONTRACT = new URL("../gen/descriptors.binpb", import.meta.url);
/**
 * The health service's, which its package brings only as a .proto file:
 * `buf build node_modules/grpc-health-check/proto --as-file-descriptor-set --exclude-source-info`.
 */
const HEALTH = new URL("../descriptors/health.binpb", import.meta.url);
const HEALTH_SERVICE = "grpc.health.v1.Health";

/**
 * Serves reflection v1 and v1alpha for these fully qualified services and the health service. It is fed compiled
 * descriptors as bytes: proto-loader's own lose a file's imports and misname map entries, after which clients find
 * no service at all.
 */
export function addReflection(server: Server, services: readonly string[]): void {
  const described = { files: { fileDescriptorProtos: [...fileDescriptors(CONTRACT), ...fileDescriptors(HEALTH)] } };
  new ReflectionService(described as never, { services: [...services, HEALTH_SERVICE] }).addToServer(server);
}

/** The serialized FileDescriptorProtos of a FileDescriptorSet; without a file, of the wire contract. */
export function fileDescriptors(file: URL = CONTRACT): Buffer[] {
  const reader = new BinaryReader(readFileSync(file));
  const files: Buffer[] = [];
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 1) files.push(Buffer.from(reader.bytes()));
    else reader.skip(wireType, field);
  }
  return files;
}

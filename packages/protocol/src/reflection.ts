import { readFileSync } from "node:fs";
import { BinaryReader } from "@bufbuild/protobuf/wire";
import type { Server } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { ReflectionService } from "@grpc/reflection";
import { protoPath as healthProtoPath } from "grpc-health-check";

/** Written by `npm run generate`: a FileDescriptorSet with every file and its imports. */
const DESCRIPTORS = new URL("../gen/descriptors.binpb", import.meta.url);

/**
 * The serialized FileDescriptorProtos of our wire contract. They are passed on as bytes: proto-loader's own descriptors
 * lose a file's imports, after which no reflection client can resolve a service.
 */
export function fileDescriptors(): Buffer[] {
  const reader = new BinaryReader(readFileSync(DESCRIPTORS));
  const files: Buffer[] = [];
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 1) files.push(Buffer.from(reader.bytes()));
    else reader.skip(wireType, field);
  }
  return files;
}

/** Serves reflection v1 and v1alpha for these fully qualified services and the health service. */
export function addReflection(server: Server, services: readonly string[]): void {
  // The health proto imports nothing, so what proto-loader makes of it is whole.
  const health: Buffer[] = [];
  for (const entry of Object.values(loadSync(healthProtoPath))) {
    if ("format" in entry) health.push(...(entry.fileDescriptorProtos as Buffer[]));
  }
  const described = { fds: { fileDescriptorProtos: [...fileDescriptors(), ...health] } };
  new ReflectionService(described as never, { services: [...services, "grpc.health.v1.Health"] }).addToServer(server);
}

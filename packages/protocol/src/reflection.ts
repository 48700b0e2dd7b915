import { readFileSync } from "node:fs";
import { BinaryReader } from "@bufbuild/protobuf/wire";
import { type handleBidiStreamingCall, type Server, type ServerDuplexStream, type ServiceDefinition, status } from "@grpc/grpc-js";

/** Written by `npm run generate`: a FileDescriptorSet with every file and its imports. */
export const CONTRACT = new URL("../gen/descriptors.binpb", import.meta.url);
/**
 * The health service's, which its package brings only as a .proto file:
 * `buf build node_modules/grpc-health-check/proto --as-file-descriptor-set --exclude-source-info`.
 */
const HEALTH = new URL("../descriptors/health.binpb", import.meta.url);
const HEALTH_SERVICE = "grpc.health.v1.Health";

const REFLECTION_SERVICES = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];
const REFLECTION_METHOD = "ServerReflectionInfo";

/**
 * Serves reflection v1 and v1alpha for these fully qualified services and the health service. It is fed compiled
 * descriptors as bytes: proto-loader's own lose a file's imports and misname map entries, after which clients find
 * no service at all. What answers is made when somebody asks for the first time: most servers never are, and reading
 * all descriptors was a fifth of what a start computes.
 */
export function addReflection(server: Server, services: readonly string[]): void {
  let made: Promise<Map<string, AnswerBytes>> | null = null;
  for (const name of REFLECTION_SERVICES) {
    const answer = (call: BytesCall): void => {
      made ??= makeReflection([...services, HEALTH_SERVICE]);
      made.then(
        (byPath) => byPath.get(pathOf(name))?.(call),
        (error: unknown) => refuse(call, status.INTERNAL, String(error)),
      );
    };
    server.addService(bytesService(name), { [REFLECTION_METHOD]: answer });
  }
}

type BytesCall = ServerDuplexStream<Buffer, Buffer>;
type AnswerBytes = (call: BytesCall) => void;

/** Ends the call with a status; to throw where messages arrive would end the process. */
function refuse(call: BytesCall, code: status, details: string): void {
  call.emit("error", { code, details });
}

const pathOf = (service: string): string => `/${service}/${REFLECTION_METHOD}`;

/** The service, with messages as they are on the wire. */
function bytesService(name: string): ServiceDefinition {
  const asIs = (bytes: Buffer): Buffer => bytes;
  const coding = { requestSerialize: asIs, requestDeserialize: asIs, responseSerialize: asIs, responseDeserialize: asIs };
  return { [REFLECTION_METHOD]: { path: pathOf(name), requestStream: true, responseStream: true, ...coding } };
}

/** The library's handlers, by path, for streams of bytes. */
async function makeReflection(services: string[]): Promise<Map<string, AnswerBytes>> {
  const { ReflectionService } = await import("@grpc/reflection");
  const described = { files: { fileDescriptorProtos: [...fileDescriptors(CONTRACT), ...fileDescriptors(HEALTH)] } };
  const byPath = new Map<string, AnswerBytes>();
  const addService: Server["addService"] = (definition, implementation) => {
    for (const [method, { path, requestDeserialize, responseSerialize }] of Object.entries(definition)) {
      const handler = implementation[method] as handleBidiStreamingCall<unknown, unknown>;
      byPath.set(path, (call) => {
        const take = (listener: (message: unknown) => void) => (bytes: Buffer) => {
          try {
            listener(requestDeserialize(bytes));
          } catch (error) {
            refuse(call, status.INVALID_ARGUMENT, `the question cannot be read: ${String(error)}`);
          }
        };
        handler({
          on: (event: string, listener: (message?: unknown) => void) => call.on(event, event === "data" ? take(listener) : listener),
          write: (message: unknown) => call.write(responseSerialize(message)),
          end: () => call.end(),
        } as unknown as ServerDuplexStream<unknown, unknown>);
      });
    }
  };
  new ReflectionService(described as never, { services }).addToServer({ addService });
  return byPath;
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

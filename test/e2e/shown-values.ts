import { Client, credentials, type ServiceDefinition } from "@grpc/grpc-js";
import { AccessService, CoordinatorService, FleetService, SyncNodeService } from "@scoutsync/protocol";
import { boundOf } from "@scoutsync/testkit";

/** Every service that is ours; a server that tells of another one is not known here, and the test says so. */
export const SERVICES: Readonly<Record<string, ServiceDefinition>> = {
  "scoutsync.v1.SyncNode": SyncNodeService,
  "scoutsync.v1.Coordinator": CoordinatorService,
  "scoutsync.v1.Fleet": FleetService,
  "scoutsync.v1.Access": AccessService,
};

/** How long an answer that does not end is listened to, from its first word on. */
const LISTEN_MS = 1_500;
/** How long the first word is waited for: a busy machine takes its time. */
const SILENT_MS = 15_000;

/** What a field of a request is filled with, by its name. */
export type Filling = Readonly<Record<string, unknown>>;

/**
 * Calls a method with every field filled that there is something for, and returns all that came back, answers, status and trailers,
 * as the bytes they are.
 */
export function callFilled(address: string, service: ServiceDefinition, method: string, filling: Filling): Promise<string> {
  const definition = service[method]!;
  const empty = definition.requestDeserialize(Buffer.alloc(0)) as Record<string, unknown>;
  const filled = Object.entries(empty).map(([name, value]) => [name, name in filling ? like(value, filling[name]) : value]);
  const client = new Client(address, credentials.createInsecure());
  const same = (bytes: Buffer) => bytes;
  const stream = client.makeBidiStreamRequest(definition.path, definition.requestSerialize, same, {
    deadline: Date.now() + boundOf(20_000),
  });
  const shown: string[] = [];
  return new Promise((resolve) => {
    let timer = setTimeout(() => stream.cancel(), SILENT_MS);
    stream.once("data", () => {
      clearTimeout(timer);
      timer = setTimeout(() => stream.cancel(), LISTEN_MS);
    });
    stream.on("data", (answer: Buffer) => shown.push(answer.toString("utf8")));
    stream.on("metadata", (metadata) => shown.push(JSON.stringify(metadata.toJSON())));
    stream.on("error", () => {});
    stream.on("status", ({ details, metadata }) => {
      clearTimeout(timer);
      client.close();
      const trailers = Object.values(metadata.toJSON()).flat();
      resolve([...shown, details, ...trailers.map((value) => value.toString("utf8"))].join("\n"));
    });
    stream.write(Object.fromEntries(filled));
    if (!definition.requestStream) stream.end();
    else setTimeout(() => stream.end(), LISTEN_MS / 3);
  });
}

/** Makes one call of bytes, as `reflectedMethods` needs it. */
export function callPlainly(address: string): (path: string, message: Buffer) => Promise<Buffer[]> {
  return (path, message) =>
    new Promise((resolve, reject) => {
      const client = new Client(address, credentials.createInsecure());
      const same = (bytes: Buffer) => bytes;
      const answers: Buffer[] = [];
      const stream = client.makeBidiStreamRequest(path, same, same, { deadline: Date.now() + boundOf(20_000) });
      stream.on("data", (answer: Buffer) => answers.push(answer));
      stream.on("error", reject);
      stream.on("status", () => {
        client.close();
        resolve(answers);
      });
      stream.write(message);
      stream.end();
    });
}

function like(value: unknown, given: unknown): unknown {
  if (typeof value === "bigint") return BigInt(given as number);
  return given;
}

import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { Client, credentials, loadPackageDefinition, status, type ClientDuplexStream, type ServiceClientConstructor } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { BinaryReader } from "@bufbuild/protobuf/wire";
import { fileDescriptors } from "@scoutsync/protocol";
import { service as healthService } from "grpc-health-check";
import { describe, expect, test } from "vitest";
import { startNode } from "./nodes.ts";

interface Answer {
  listServicesResponse?: { service: { name: string }[] };
  fileDescriptorResponse?: { fileDescriptorProto: Buffer[] };
  errorResponse?: { errorMessage: string };
}

const require = createRequire(import.meta.url);
const protoRoot = join(dirname(require.resolve("@grpc/reflection/package.json")), "build/proto/grpc/reflection");

/** A raw reflection client: one stream, one question. */
async function ask(address: string, version: "v1" | "v1alpha", question: Record<string, string>): Promise<Answer> {
  const loaded = loadPackageDefinition(loadSync(join(protoRoot, version, "reflection.proto"))) as unknown as {
    grpc: { reflection: Record<string, { ServerReflection: ServiceClientConstructor }> };
  };
  const ClientClass = loaded.grpc.reflection[version]?.ServerReflection as ServiceClientConstructor;
  const client = new ClientClass(address, credentials.createInsecure());
  try {
    const call = (client["serverReflectionInfo"] as () => ClientDuplexStream<unknown, Answer>).call(client);
    call.write(question);
    const answer = await new Promise<Answer>((resolve, reject) => {
      call.on("data", resolve);
      call.on("error", reject);
    });
    call.end();
    return answer;
  } finally {
    client.close();
  }
}

/** Name, package and imports of a serialized FileDescriptorProto: fields 1, 2 and 3; message names: field 4, name 1. */
function describeFile(bytes: Uint8Array): { name: string; package: string; imports: string[]; messages: string[] } {
  const file = { name: "", package: "", imports: [] as string[], messages: [] as string[] };
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 1) file.name = reader.string();
    else if (field === 2) file.package = reader.string();
    else if (field === 3) file.imports.push(reader.string());
    else if (field === 4) {
      const message = new BinaryReader(reader.bytes());
      message.tag();
      file.messages.push(message.string());
    } else reader.skip(wireType, field);
  }
  return file;
}

describe.each(["v1", "v1alpha"] as const)("reflection %s", (version) => {
  test("lists the services and describes every message with its imports", async () => {
    const { address } = await startNode("a");
    const list = await ask(address, version, { listServices: "*" });
    const names = list.listServicesResponse?.service.map(({ name }) => name);
    expect(names).toContain("scoutsync.v1.SyncNode");
    expect(names).toContain("grpc.health.v1.Health");
    for (const symbol of ["scoutsync.v1.SyncNode", "scoutsync.v1.SyncNode.GetChanges", "grpc.health.v1.Health"]) {
      const { fileDescriptorResponse } = await ask(address, version, { fileContainingSymbol: symbol });
      expect(fileDescriptorResponse?.fileDescriptorProto.length).toBeGreaterThan(0);
    }
    const described = new Set<string>();
    for (const file of fileDescriptors().map(describeFile)) {
      for (const message of file.messages) {
        const { fileDescriptorResponse } = await ask(address, version, { fileContainingSymbol: `${file.package}.${message}` });
        const answered = (fileDescriptorResponse?.fileDescriptorProto ?? []).map(describeFile);
        // A client resolves a file's imports from the answer or by name: both must work.
        expect(answered.flatMap(({ messages }) => messages)).toContain(message);
        for (const name of answered.flatMap(({ imports }) => imports)) {
          const imported = await ask(address, version, { fileByFilename: name });
          expect(imported.fileDescriptorResponse?.fileDescriptorProto.length).toBeGreaterThan(0);
        }
        if (file.package === "scoutsync.v1") described.add(message);
      }
    }
    const folder = new URL("../../../proto/scoutsync/v1/", import.meta.url);
    const proto = readdirSync(folder).map((name) => readFileSync(new URL(name, folder), "utf8"));
    const written = proto.flatMap((text) => [...text.matchAll(/^message (\w+)/gm)].map((match) => match[1] ?? ""));
    expect(described).toEqual(new Set(written));
  });
});

test.each(["v1", "v1alpha"] as const)("reflection %s refuses what is no question, and the node goes on", async (version) => {
  const { address } = await startNode("a");
  const client = new Client(address, credentials.createInsecure());
  const asIs = (bytes: Buffer): Buffer => bytes;
  const refused = await new Promise((resolve) => {
    const call = client.makeBidiStreamRequest(`/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`, asIs, asIs);
    call.on("data", resolve);
    call.on("error", resolve);
    call.write(Buffer.alloc(12, 0xff));
    call.write(Buffer.alloc(12, 0xff));
  });
  client.close();
  expect(refused).toMatchObject({ code: status.INVALID_ARGUMENT });
  expect(await ask(address, version, { listServices: "*" })).toHaveProperty("listServicesResponse");
});

test("the health service knows the node and its service", async () => {
  const { address } = await startNode("a");
  const client = new Client(address, credentials.createInsecure());
  const check = (service: string) =>
    new Promise((resolve, reject) => {
      const { path, requestSerialize, responseDeserialize } = healthService["Check"] as NonNullable<(typeof healthService)[string]>;
      client.makeUnaryRequest(path, requestSerialize as never, responseDeserialize, { service }, (error, response) =>
        error ? reject(error) : resolve(response),
      );
    });
  for (const service of ["", "scoutsync.v1.SyncNode"]) expect(await check(service)).toMatchObject({ status: "SERVING" });
  client.close();
});

import { Metadata, Server, ServerCredentials, status, type ServiceError } from "@grpc/grpc-js";
import { ErrorCodes, SyncError, type ErrorCode } from "@scoutsync/core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  CoordinatorClient,
  SyncNodeClient,
  SyncNodeService,
  createClient,
  fromStatus,
  serverStream,
  toStatus,
  unary,
} from "../src/index.ts";

const CALLEE = { address: "127.0.0.1:1", role: "peer" } as const;

function serviceError(code: status, details: string, metadata = new Metadata()): ServiceError {
  return Object.assign(new Error(details), { code, details, metadata });
}

describe("SyncError <-> gRPC status", () => {
  test.each(Object.keys(ErrorCodes) as ErrorCode[])("%s keeps code, message and action", (code) => {
    const error = new SyncError({ code, message: "über “main” geht nichts\n", action: "Do something about it." });
    const sent = toStatus(error);
    const back = fromStatus(serviceError(sent.code, sent.details, sent.metadata), CALLEE);
    expect(back.code).toBe(code);
    expect(back.message).toBe(error.message);
    expect(back.action).toBe(error.action);
    expect(sent.code).not.toBe(status.OK);
  });

  test("a message too long for a trailer is cut, its action is not", () => {
    const sent = toStatus(new SyncError({ code: "INTERNAL", message: "x".repeat(50_000), action: "Report this." }));
    const back = fromStatus(serviceError(sent.code, sent.details, sent.metadata), CALLEE);
    expect(back.message.length).toBeLessThan(1_100);
    expect(back.message.endsWith("Report this.")).toBe(true);
    expect(back.action).toBe("Report this.");
  });

  test("plain statuses of strangers", () => {
    expect(fromStatus(serviceError(status.UNAVAILABLE, "no"), CALLEE).code).toBe("PEER_UNREACHABLE");
    expect(fromStatus(serviceError(status.DEADLINE_EXCEEDED, "late"), CALLEE).code).toBe("PEER_UNREACHABLE");
    expect(fromStatus(serviceError(status.INTERNAL, "boom"), CALLEE).code).toBe("PEER_FAILED");
    expect(fromStatus(new Error("not even gRPC"), CALLEE).code).toBe("PEER_FAILED");
    expect(fromStatus(serviceError(status.UNAVAILABLE, "no"), { ...CALLEE, role: "coordinator" }).code).toBe("COORDINATOR_UNREACHABLE");
  });

  test("foreign or broken details leave the plain status", () => {
    const metadata = new Metadata();
    metadata.set("grpc-status-details-bin", Buffer.from([255, 255, 255, 255]));
    expect(fromStatus(serviceError(status.INTERNAL, "boom", metadata), CALLEE).code).toBe("PEER_FAILED");
  });
});

describe("over a real channel", () => {
  const server = new Server();
  let port = 0;
  const thrown = new SyncError({ code: "DATABASE_NOT_FOUND", message: "no “x” here", action: "Look at ping." });

  beforeAll(async () => {
    server.addService(SyncNodeService, {
      ping: (_call: unknown, callback: (error: unknown) => void) => callback(toStatus(thrown)),
      getChanges: (call: { emit(name: string, error: unknown): void }) => call.emit("error", toStatus(thrown)),
    } as never);
    port = await new Promise<number>((resolve, reject) =>
      server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound))),
    );
  });
  afterAll(() => server.forceShutdown());

  test("unary and streaming errors arrive whole", async () => {
    const client = createClient(`127.0.0.1:${port}`, SyncNodeClient);
    try {
      const expected = { code: "DATABASE_NOT_FOUND", message: thrown.message, action: thrown.action };
      await expect(unary(client, "ping", { callerTimeUs: 0n })).rejects.toMatchObject(expected);
      const read = async () => {
        for await (const message of serverStream(client, "getChanges", SyncNodeService.getChanges.requestDeserialize(Buffer.alloc(0)))) {
          expect(message).toBeUndefined();
        }
      };
      await expect(read()).rejects.toMatchObject(expected);
      await expect(
        unary(client, "verify", { peer: "", databases: [], deep: false, repair: false, noFiles: false, readRows: false }),
      ).rejects.toMatchObject({
        code: "PEER_FAILED",
      });
    } finally {
      client.close();
    }
  });

  test("nobody there", async () => {
    const client = createClient("127.0.0.1:1", CoordinatorClient);
    await expect(unary(client, "getStatus", {})).rejects.toMatchObject({ code: "COORDINATOR_UNREACHABLE" });
    client.close();
  });

  test("an aborted call rejects with the signal's reason", async () => {
    const client = createClient(`127.0.0.1:${port}`, SyncNodeClient);
    await expect(unary(client, "ping", { callerTimeUs: 0n }, { signal: AbortSignal.abort(new Error("enough")) })).rejects.toThrow("enough");
    client.close();
  });
});

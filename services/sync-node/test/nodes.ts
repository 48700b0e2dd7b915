import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogger } from "@scoutsync/runtime";
import { connectPeer, type PeerClient } from "@scoutsync/protocol";
import type { Acquaintances } from "@scoutsync/session";
import { boundOf } from "@scoutsync/testkit";
import { Databases } from "../src/databases.ts";
import { FileRoots } from "../src/files/file-roots.ts";
import { ClockKeeper } from "../src/clock/clock-keeper.ts";
import { serve, type SyncNodeService } from "../src/serving.ts";
import type { SyncNodeConfig } from "../src/config.ts";
import type { Surroundings } from "../src/clock/fleet-clock.ts";
import { afterTest, openTestReplica, type TestReplica } from "../../../packages/session/test/test-replica.ts";

export interface TestNode {
  replica: TestReplica;
  service: SyncNodeService;
  address: string;
  client: PeerClient;
  clock: ClockKeeper;
  acquaintances: Acquaintances;
  /** Nodes that were found to run several times, by their ids; "self" for this one. */
  namesakes: string[];
  /** A connection to this node as another one has it. */
  connect(from: TestNode): PeerClient;
}

/** A node on a free port, stopped after the test. */
export async function startNode(
  name: string,
  config: Partial<SyncNodeConfig> = {},
  existing?: TestReplica,
  surroundings?: Surroundings,
): Promise<TestNode> {
  const dataDirectory = mkdtempSync(join(tmpdir(), "scoutsync-node-"));
  afterTest(() => rmSync(dataDirectory, { recursive: true, force: true }));
  const replica = existing ?? (await openTestReplica({ nodeName: name, nodeId: `id-of-${name}` }));
  const namesakes: string[] = [];
  const databases = new Databases(
    name,
    () => {},
    (_, { id }, isSelf) => namesakes.push(isSelf ? "self" : id),
  );
  databases.add(replica, () => Promise.reject(new Error("no copy in this test")));
  const logger = createLogger(name, "silent");
  const clock = new ClockKeeper({ nodeId: `id-of-${name}`, dataDirectory, logger, surroundings });
  const service = await serve(
    {
      name,
      listen: "127.0.0.1:0",
      databases: [],
      dataDirectory,
      peers: [],
      coordinator: null,
      baseline: null,
      exclude: [],
      receiveOnly: false,
      logger,
      ...config,
    },
    clock,
    { databases, files: new FileRoots(name) },
    async () => {},
  );
  const client = connectPeer(service.ready.listen);
  afterTest(async () => {
    client.close();
    await service.stop();
  });
  const connect = (from: TestNode) => {
    const peer = connectPeer(service.ready.listen, from.clock);
    afterTest(() => peer.close());
    return peer;
  };
  const { acquaintances } = databases.get("main");
  return { replica, service, address: service.ready.listen, client, clock, acquaintances, namesakes, connect };
}

/** Looks again every few milliseconds until `condition` holds. */
export async function eventually(what: string, condition: () => boolean, withinMs = 5_000): Promise<void> {
  const boundMs = boundOf(withinMs);
  const end = Date.now() + boundMs;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`not within ${boundMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of source) all.push(item);
  return all;
}

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { EMPTY_VECTOR, type NodeName } from "@scoutsync/core";
import { connectPeer, type PeerClient } from "@scoutsync/protocol";
import { Acquaintances, runSession } from "@scoutsync/session";
import { temporaryFolder } from "@scoutsync/testkit";
import { brokenLine, createFleet, dialAs, storeIdentity, Trust, type Authority } from "@scoutsync/trust";
import { expect, onTestFinished, test } from "vitest";
import { openTestReplica } from "../../../packages/session/test/test-replica.ts";
import { collect, startNode, type TestNode } from "./nodes.ts";

/** Node a of a fleet, and how others join it. */
async function fleetOf(): Promise<{
  a: TestNode;
  data: string;
  join(name: string, role?: "node" | "viewer"): Promise<string>;
  audit(): string;
}> {
  const folder = temporaryFolder("impersonation");
  onTestFinished(() => folder.remove());
  const data = join(folder.path, "a");
  const authority: Authority = await createFleet(data, { role: "node", id: "id-of-a", name: "a" });
  const a = await startNode("a", { dataDirectory: data });
  return {
    a,
    data,
    async join(name, role = "node") {
      const { key, pem: certificate, ca } = await authority.issueHere({ fleet: authority.fleet, role, id: `id-of-${name}`, name });
      storeIdentity(join(folder.path, name), { key, certificate, ca });
      return join(folder.path, name);
    },
    audit: () => readFileSync(join(data, "audit.log"), "utf8"),
  };
}

function dial(address: string, data: string): PeerClient {
  const peer = connectPeer(address, undefined, dialAs(Trust.open(data)!));
  onTestFinished(() => peer.close());
  return peer;
}

const code = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "nothing was refused",
    (error: unknown) => (error as { code?: string }).code ?? String(error),
  );

const asking = (caller: NodeName) => ({
  database: "main",
  since: EMPTY_VECTOR,
  position: EMPTY_VECTOR,
  run: "",
  callerRun: "",
  caller,
  terms: "",
  beyondDigest: Buffer.alloc(0),
  digest: Buffer.alloc(0),
  codecs: ["identity"] as const,
  batchSize: 0,
  follow: false,
  baseline: "",
  floor: EMPTY_VECTOR,
  members: [],
});

test("a member speaks for itself only: not for another node's state or clock, not as the one that answers, not as a viewer", async () => {
  const { a, join: admit, audit } = await fleetOf();
  a.replica.write("of a", "1");
  const thief = await admit("thief");
  const client = dial(a.address, thief);
  const asB = { id: "id-of-b", name: "b" };
  // What another one has: it would count as having it, and what it lacks would be forgotten.
  expect(await code(collect(client.getChanges(asking(asB))))).toBe("FORBIDDEN");
  expect(await code(collect(client.getChanges(asking({ id: "id-of-thief", name: "thief" }))))).toBe("nothing was refused");
  const push = async (node: NodeName) => {
    const [batch] = await collect(client.getChanges(asking({ id: "", name: "" })));
    const stream = await client.openPush({ database: "main", name: node.name, run: "run", baseline: "" });
    await stream.send({ ...batch!, node });
    stream.end();
    await collect(stream.acks);
  };
  expect(await code(push(asB))).toBe("FORBIDDEN");
  expect(await code(push({ id: "id-of-thief", name: "thief" }))).toBe("nothing was refused");
  // What its clock says.
  const clock = { nodeId: "id-of-b", decidedUs: undefined, nowUs: () => Date.now() * 1_000, measured: () => {} };
  const lying = connectPeer(a.address, clock, dialAs(Trust.open(thief)!));
  onTestFinished(() => lying.close());
  expect(await code(lying.ping())).toBe("FORBIDDEN");
  // A viewer looks on, and is no node.
  const viewer = dial(a.address, await admit("ada", "viewer"));
  expect(await code(collect(viewer.getChanges(asking(asB))))).toBe("FORBIDDEN");
  expect(await code(collect(viewer.getChanges(asking({ id: "", name: "" }))))).toBe("nothing was refused");
  expect(audit().match(/"refused","details":"FORBIDDEN: [^"]*spoke as node\/id-of-b/g)).toHaveLength(4);
  expect(brokenLine(audit())).toBe(null);
});

test("who answers in another one's name is found out by its certificate", async () => {
  const { a, data: own, join: admit } = await fleetOf();
  const data = await admit("thief");
  // Everything it says is as b would say it.
  const replica = await openTestReplica({ nodeName: "b", nodeId: "id-of-b" });
  replica.write("of b", "1");
  const thief = await startNode("thief", { dataDirectory: data }, replica);
  const peer = dial(thief.address, own);
  const databases = [{ replica: a.replica, acquaintances: new Acquaintances() }];
  const { errors } = await runSession({ databases, peer, nodeName: "a", named: true, pullOnly: true, retries: 0 });
  expect(errors).toMatchObject([{ code: "FORBIDDEN", message: expect.stringContaining("answered as node/id-of-b") }]);
  expect(a.replica.rows()).toEqual({});
});

test("a call that claims changes of this run that it never made names its caller in the audit log", async () => {
  const { a, join: admit, audit } = await fleetOf();
  const client = dial(a.address, await admit("thief"));
  a.replica.write("mine", "1");
  const [batch] = await collect(client.getChanges(asking({ id: "", name: "" })));
  const [own = ""] = [...(batch?.vector.keys() ?? [])];
  const stream = await client.openPush({ database: "main", name: "thief", run: "run", baseline: "" });
  const { node: _, ...rest } = batch!;
  await stream.send({ ...rest, vector: new Map([[own, 99]]) });
  stream.end();
  expect(await collect(stream.acks)).toHaveLength(1);
  expect(audit()).toMatch(/node\/id-of-thief \(thief\)".*never made/);
});

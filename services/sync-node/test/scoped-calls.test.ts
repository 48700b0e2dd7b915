import { join } from "node:path";
import { status, type Client } from "@grpc/grpc-js";
import { connectPeer, SyncNodeService, type PeerClient } from "@scoutsync/protocol";
import { createLogger } from "@scoutsync/runtime";
import { createDatabase, temporaryFolder, until } from "@scoutsync/testkit";
import { Authority, createFleet, dialAs, storeIdentity, Trust } from "@scoutsync/trust";
import { expect, onTestFinished, test } from "vitest";
import { nodeIdentity, startSyncNode } from "../src/index.ts";

const SCHEMA = "CREATE TABLE pit(id TEXT PRIMARY KEY, team INTEGER, body TEXT); CREATE TABLE account(id TEXT PRIMARY KEY, password TEXT);";
const SCOPES = { blue: { main: { pit: { where: "team = 1" } } } };

/** A server with a scope, and a node of it. */
async function teams() {
  const folder = temporaryFolder("scoped-calls");
  onTestFinished(() => folder.remove());
  const data = (name: string) => join(folder.path, name);
  await createFleet(data("server"), { role: "node", id: nodeIdentity(data("server")), name: "server" });
  const authority = Authority.open(data("server")) as Authority;
  const start = async (name: string, content: string, scopes?: unknown) => {
    const main = createDatabase(join(folder.path, `${name}.db`), SCHEMA + content);
    const node = await startSyncNode({
      name,
      listen: "127.0.0.1:0",
      databases: [{ name: "main", path: main }],
      dataDirectory: data(name),
      peers: [],
      coordinator: null,
      baseline: null,
      exclude: [],
      receiveOnly: false,
      ...(scopes !== undefined && { scopes }),
      logger: createLogger(name, "silent"),
    });
    onTestFinished(() => node.stop());
    return node.ready.listen;
  };
  const admit = async (name: string, scope: string | null) => {
    const { fleet } = authority;
    const { key, pem: certificate, ca } = await authority.issueHere({ fleet, role: "node", id: nodeIdentity(data(name)), name, scope });
    storeIdentity(data(name), { key, certificate, ca });
  };
  const dial = (address: string, as: string): PeerClient => {
    const peer = connectPeer(address, undefined, dialAs(Trust.open(data(as)) as Trust));
    onTestFinished(() => peer.close());
    return peer;
  };
  return { start, admit, dial };
}

/** What a call of nothing comes to. */
const statusOf = (client: Client, path: string): Promise<number> =>
  new Promise((resolve) => {
    const asIs = (bytes: Buffer) => bytes;
    client.makeUnaryRequest(path, asIs, asIs, Buffer.alloc(0), (error) => resolve(error?.code ?? status.OK));
  });

test("a node of a scope meets its part of the server, may make no other call, and is nobody's server", async () => {
  const { start, admit, dial } = await teams();
  const rows =
    "INSERT INTO pit VALUES('a', 1, 'ours'), ('b', 2, 'theirs'), ('c', 2, 'theirs, too'); INSERT INTO account VALUES('ada', 'secret')";
  const server = await start("server", rows, SCOPES);
  await admit("blue", "blue");
  await admit("green", "green");
  await admit("whole", null);
  const blue = dial(server, "blue");
  await until(async () => (await blue.ping()).databases[0]?.rows === 1n, { what: "the part of the scope to be filled" });
  // Nor how full the disk becomes, or whose clocks the server was compared with.
  expect(await blue.ping()).toMatchObject({ databases: [{ name: "main", tables: ["pit"] }], disk: undefined, clock: undefined });
  expect(await dial(server, "whole").ping()).toMatchObject({ clock: { correctionUs: 0n } });
  expect((await dial(server, "whole").ping()).databases).toMatchObject([{ name: "main", rows: 4n, tables: ["account", "pit"] }]);
  const { entries } = await blue.digest({ database: "main", table: "", buckets: [], deep: false });
  expect(entries.map(({ table, rows: count }) => [table, count])).toEqual([["pit", 1]]);
  await expect(blue.digest({ database: "main", table: "account", buckets: [], deep: false })).rejects.toThrow(/no synced table/);

  const allowed = new Set(["Digest", "FileChecksums", "GetChanges", "GetFile", "Ping", "PushChanges", "PutFile"]);
  const paths = Object.values(SyncNodeService).map(({ path }) => path);
  for (const path of paths) expect(await statusOf(dial(server, "green").client.channel, path), path).toBe(status.PERMISSION_DENIED);
  const others = paths.filter((path) => !allowed.has(path.split("/").at(-1) ?? ""));
  for (const path of others) expect(await statusOf(blue.client.channel, path), path).toBe(status.PERMISSION_DENIED);

  const laptop = await start("blue", "");
  await expect(dial(laptop, "server").ping()).rejects.toThrow(/limited to a scope/);
  await expect(dial(laptop, "whole").ping()).rejects.toThrow(/limited to a scope/);
  await expect(dial(laptop, "green").ping()).rejects.toThrow(/limited to a scope/);
});

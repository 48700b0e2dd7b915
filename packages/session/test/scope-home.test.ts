import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { EMPTY_VECTOR } from "@scoutsync/core";
import { openReplicaPool, type ScopeRule } from "@scoutsync/replica";
import { expect, onTestFinished, test } from "vitest";
import { Acquaintances, pull, push, takeBatch } from "../src/index.ts";
import { DirectPeer } from "./direct-peer.ts";

const SCHEMA = "CREATE TABLE t(k TEXT PRIMARY KEY, v TEXT)";
const RULE: ScopeRule = { name: "blue", tables: [{ table: "t", where: [], columns: null, follow: false }] };

/** A laptop that was filled by one copy of a scope, and another server's copy. */
async function strangers() {
  const folder = mkdtempSync(join(tmpdir(), "scoutsync-home-"));
  const pool = openReplicaPool({ threads: 1 });
  onTestFinished(async () => {
    await pool.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const options = (node: string, file: string) => ({
    name: "main",
    path: join(folder, file),
    nodeName: node,
    nodeId: node,
    exclude: [],
    baseline: null,
    busyTimeoutMs: 1_000,
    pollIntervalMs: 50,
  });
  const copyAt = async (server: string) => {
    const given = options(server, `${server}.db`);
    const made = new Database(given.path);
    made.exec(`${SCHEMA}; INSERT INTO t VALUES('a', '1')`);
    made.close();
    const main = await pool.open(given);
    await main.drain();
    const scope = { rule: RULE, main: given.path, exclude: [], rules: [] };
    const copy = await pool.openScope({ ...options(server, `${server}-copy.db`), quarantine: null, scope });
    expect(await copy.carryScope(false)).toMatchObject({ complete: true, problem: "" });
    return copy;
  };
  const [own, other] = [await copyAt("own"), await copyAt("other")];
  new Database(join(folder, "laptop.db")).exec(SCHEMA).close();
  const laptop = await pool.open({ ...options("laptop", "laptop.db"), limited: true });
  await pull({ replica: laptop, peer: new DirectPeer(own), acquaintances: new Acquaintances() });
  return { laptop, own, other };
}

test("neither a pull nor a push nor a batch alone moves anything between a laptop and a copy that it does not belong to", async () => {
  const { laptop, own, other } = await strangers();
  const known = async () => (await laptop.members()).map(({ node }) => node.name);
  const [before, vector] = [await known(), laptop.state.vector];
  expect(before).not.toContain("other");
  const meeting = { replica: laptop, peer: new DirectPeer(other), acquaintances: new Acquaintances(), nodeName: "laptop" };
  const refused = { code: "SCOPE_OTHER_SERVER" };
  await expect(pull(meeting)).rejects.toMatchObject(refused);
  await expect(push(meeting)).rejects.toMatchObject(refused);
  // A bundle's opening says nothing; its first batch does, and it brings word of nodes.
  const batch = await other.read({ from: EMPTY_VECTOR, batchSize: 0, codecs: [], beyondDigest: new Uint8Array() });
  const members = await other.members();
  expect(members.map(({ node }) => node.name)).toContain("other");
  await expect(takeBatch(laptop, { ...batch, members })).rejects.toMatchObject(refused);
  expect(await known()).toEqual(before);
  expect(laptop.state.vector).toEqual(vector);
  expect(laptop.state.rows).toBe(1);
  expect(await pull({ ...meeting, peer: new DirectPeer(own) })).toMatchObject({ verified: true });
});

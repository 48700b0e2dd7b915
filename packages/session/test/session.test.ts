import { SyncError, equalVectors } from "@scoutsync/core";
import { describe, expect, test } from "vitest";
import { Acquaintances, runSession, verify, type SessionOptions } from "../src/index.ts";
import { DirectPeer } from "./direct-peer.ts";
import { openTestReplica, type TestReplica } from "./test-replica.ts";

async function pair() {
  const here = await openTestReplica();
  const there = await openTestReplica();
  const peer = new DirectPeer(there);
  const session = (options: Partial<SessionOptions> = {}) =>
    runSession({
      databases: [{ replica: here, acquaintances: new Acquaintances() }],
      peer,
      nodeName: "here",
      named: false,
      retries: 0,
      ...options,
    });
  return { here, there, peer, session };
}

/** A replica that had more before, as a restored backup. */
const restored = () => openTestReplica({ hadBefore: new Map([["aaaaaaaaaaaaaaaa", 5]]) });

describe("with a restored replica a session", () => {
  test.each([0, 3])("gives it what it lacks first, when it is the peer and %i rows are here", async (rows) => {
    const here = await openTestReplica();
    const there = await restored();
    here.fill("a", rows);
    there.fill("b", 2);
    const peer = new DirectPeer(there);
    const databases = [{ replica: here, acquaintances: new Acquaintances() }];
    expect(await runSession({ databases, peer, nodeName: "here", named: true })).toMatchObject({
      success: true,
      verified: true,
      errors: [],
    });
    expect(here.rows()).toEqual(there.rows());
    expect(Object.keys(here.rows())).toHaveLength(rows + 2);
    expect(there.state).toMatchObject({ restored: false, problem: "" });
  });

  test.each([0, 3])("pulls before it sends, when it is here and %i rows are at the peer", async (rows) => {
    const here = await restored();
    const there = await openTestReplica();
    here.fill("a", 2);
    there.fill("b", rows);
    const peer = new DirectPeer(there);
    const databases = [{ replica: here, acquaintances: new Acquaintances() }];
    expect(await runSession({ databases, peer, nodeName: "here", named: true })).toMatchObject({
      success: true,
      verified: true,
      errors: [],
    });
    expect(there.rows()).toEqual(here.rows());
    expect(here.state.restored).toBe(false);
  });

  test("that only pulls is refused, and says what to do", async () => {
    const here = await openTestReplica();
    const peer = new DirectPeer(await restored());
    const databases = [{ replica: here, acquaintances: new Acquaintances() }];
    const result = await runSession({ databases, peer, nodeName: "here", named: true, pullOnly: true });
    expect(result).toMatchObject({ success: false, errors: [{ code: "RESTORED" }] });
    expect(result.errors[0]?.message).toContain("--serve-restored");
  });
});

describe("a session", () => {
  test("moves what either side lacks and proves it", async () => {
    const { here, there, session } = await pair();
    here.fill("a", 30);
    there.fill("b", 50);
    const result = await session({ batchSize: 7 });
    expect(result).toMatchObject({ success: true, verified: true, errors: [], node: "here", peer: "direct" });
    expect(result.stats).toMatchObject({ localChangesSent: 30, remoteChangesReceived: 50, remoteChangesApplied: 50 });
    expect(here.rows()).toEqual(there.rows());
    expect(Object.keys(here.rows())).toHaveLength(80);
  });

  test("with nothing to do is one call and writes nothing", async () => {
    const { here, there, peer, session } = await pair();
    here.fill("a", 3);
    await session();
    const applied = here.applied + there.applied;
    peer.calls.length = 0;
    expect(await session()).toMatchObject({ success: true, verified: true, stats: { localChangesSent: 0, remoteChangesReceived: 0 } });
    expect(peer.calls).toEqual(["getChanges"]);
    expect(here.applied + there.applied).toBe(applied);
  });

  test("writes nothing, and tells whoever is behind, also where all that happened is that deleted rows were forgotten", async () => {
    const { here, there, session } = await pair();
    const away = await openTestReplica();
    const withAway = () => session({ peer: new DirectPeer(away) });
    here.fill("a", 3);
    await withAway();
    here.application.exec("DELETE FROM t WHERE k = 'a1'");
    await session();
    for (const replica of [here, there]) {
      await replica.acknowledge({ id: "id-of-c", name: "c" }, here.state.vector);
      expect(await replica.forget({ retentionDays: 0, dryRun: false })).toMatchObject({ forgotten: 1 });
    }
    const commits = () => [here, there].map(({ application }) => application.pragma("data_version", { simple: true }));
    const before = commits();
    expect(await session()).toMatchObject({ success: true, verified: true });
    expect(commits()).toEqual(before);
    expect(await withAway()).toMatchObject({ success: false, errors: [{ code: "PEER_BEHIND" }] });
  });

  test("writes nothing, session after session, where only the other side has forgotten deleted rows", async () => {
    const { here, there, session } = await pair();
    here.fill("a", 3);
    here.application.exec("DELETE FROM t WHERE k = 'a1'");
    await session();
    expect(await there.forget({ retentionDays: 0, dryRun: false })).toMatchObject({ forgotten: 1 });
    const commits = () => [here, there].map(({ application }) => application.pragma("data_version", { simple: true }));
    const before = commits();
    const { applied } = here;
    for (let i = 0; i < 3; i++) expect(await session()).toMatchObject({ success: true, verified: true });
    expect([commits(), here.applied]).toEqual([before, applied]);
  });

  test("asks the peer while it looks up how it stands, once nothing happened since it was last looked up", async () => {
    const { here, peer, session } = await pair();
    here.fill("a", 3);
    const askedBefore: number[] = [];
    here.standing = async (run) => {
      await new Promise((resolve) => setImmediate(resolve));
      askedBefore.push(peer.calls.length);
      return here.inner.standing(run);
    };
    for (let i = 0; i < 3; i++) {
      peer.calls.length = 0;
      askedBefore.length = 0;
      expect(await session()).toMatchObject({ success: true, verified: true });
    }
    expect({ askedBefore, calls: peer.calls }).toEqual({ askedBefore: [1], calls: ["getChanges"] });
  });

  test("takes in what is committed on either side just before it, whatever was said last", async () => {
    const { here, there, session } = await pair();
    const written: Record<string, string> = {};
    for (let i = 0; i < 60; i++) {
      // Now and then nothing, so that the next one says what the last one said.
      for (const [name, replica] of i % 4 === 0 ? [] : Object.entries(i % 4 === 1 ? { here } : i % 4 === 2 ? { there } : { here, there })) {
        replica.write(`${name} ${i}`, `value ${i}`);
        written[`${name} ${i}`] = `value ${i}`;
      }
      expect(await session(), `session ${i}`).toMatchObject({ success: true, verified: true });
      expect([here.rows(), there.rows()], `session ${i}`).toEqual([written, written]);
    }
  });

  test("tells the peer of nodes that it heard of since it last said how it stands", async () => {
    const { here, there, peer, session } = await pair();
    here.fill("a", 3);
    for (let i = 0; i < 3; i++) await session();
    const told: string[][] = [];
    const changes = peer.getChanges.bind(peer);
    peer.getChanges = (request) => {
      told.push(request.members.map(({ node }) => node.id));
      return changes(request);
    };
    await here.learnMembers([{ node: { id: "id-of-c", name: "c" }, vector: there.state.vector, atUs: 1, retired: false }]);
    expect(await session()).toMatchObject({ success: true, verified: true });
    expect(told.at(-1)).toContain("id-of-c");
  });

  test("fails with what looking up how it stands throws, and lets go of the peer", async () => {
    const { here, session } = await pair();
    for (let i = 0; i < 2; i++) await session();
    const failure = new SyncError({ code: "DATABASE_FAILED", message: "it cannot be read", action: "Look at it." });
    here.standing = () => Promise.reject(failure);
    expect(await session()).toMatchObject({ success: false, verified: false, errors: [{ code: "DATABASE_FAILED" }] });
    expect(here.listeners).toBe(0);
  });

  test.each([0, 1, 2, 5, 9])("cut after %i batches goes on where it stopped", async (cut) => {
    const { here, there, peer, session } = await pair();
    await here.fillApart("a", 40);
    await there.fillApart("b", 40);
    peer.batchesUntilCut = cut;
    const first = await session({ batchSize: 5 });
    expect(first).toMatchObject({ success: false, verified: false, errors: [{ code: "PEER_UNREACHABLE" }] });
    const before = here.applied + there.applied;
    expect(before).toBeLessThanOrEqual(cut);
    peer.batchesUntilCut = Number.POSITIVE_INFINITY;
    const second = await session({ batchSize: 5 });
    expect(second).toMatchObject({ success: true, verified: true });
    const sum = (key: "localChangesSent" | "remoteChangesReceived") => first.stats[key] + second.stats[key];
    expect(sum("remoteChangesReceived")).toBe(40);
    // The acknowledgement of a batch in flight may be lost with the line, its changes are not sent twice.
    expect(second.stats.localChangesSent).toBeLessThanOrEqual(40);
    expect(here.rows()).toEqual(there.rows());
  });

  test("a line that breaks once is used again, one that is dead is not waited for", async () => {
    const { here, there, peer, session } = await pair();
    there.fill("b", 40);
    peer.batchesUntilCut = 3;
    setTimeout(() => (peer.batchesUntilCut = Number.POSITIVE_INFINITY), 50);
    const result = await session({ batchSize: 5, retries: 2 });
    expect(result).toMatchObject({ success: true, verified: true, stats: { remoteChangesReceived: 40 } });
    expect(here.rows()).toEqual(there.rows());
    peer.batchesUntilCut = 0;
    peer.calls.length = 0;
    expect(await session({ retries: 5 })).toMatchObject({ success: false });
    expect(peer.calls).toHaveLength(1);
  });

  test("goes on in rounds while others write, and ends all the same", async () => {
    const { here, there, peer, session } = await pair();
    here.fill("a", 3);
    let writes = 0;
    peer.beforePush = () => {
      there.write(`there${writes}`, "x");
      here.write(`here${writes++}`, "x");
    };
    expect(await session()).toMatchObject({ success: true, verified: true });
    // The last one says that what the one before it fetched has arrived.
    expect(peer.calls).toEqual(["getChanges", "pushChanges", "getChanges", "getChanges"]);
    expect(writes).toBe(1);
    expect(here.rows()).toEqual(there.rows());
  });

  test("pull only sends nothing", async () => {
    const { here, there, peer, session } = await pair();
    here.fill("a", 3);
    there.fill("b", 3);
    expect(await session({ pullOnly: true })).toMatchObject({
      success: true,
      verified: false,
      unverified: [expect.stringContaining("only fetched")],
      stats: { localChangesSent: 0 },
    });
    expect(peer.calls).toEqual(["getChanges", "getChanges"]);
    expect(Object.keys(there.rows())).toHaveLength(3);
  });

  test("that has everything is no failed one where its peer goes before it has heard so", async () => {
    const { here, there, peer, session } = await pair();
    there.fill("there", 2);
    const changes = peer.getChanges.bind(peer);
    let asked = 0;
    peer.getChanges = async function* (request) {
      if (++asked > 1) throw new SyncError({ code: "SHUTTING_DOWN", message: "the peer is stopping", action: "Try again." });
      yield* changes(request);
    };
    expect(await session()).toMatchObject({ success: true, verified: true, errors: [] });
    expect(asked).toBe(2);
    expect(here.rows()).toEqual(there.rows());
  });

  test("a peer that only receives is given what it lacks", async () => {
    const { here, there, peer, session } = await pair();
    here.fill("a", 3);
    peer.receiveOnly = true;
    expect(await session()).toMatchObject({ success: true, verified: true, stats: { localChangesSent: 3 } });
    expect(there.rows()).toEqual(here.rows());
  });

  test("different rows under equal vectors are an error that says so", async () => {
    const { here, peer, session } = await pair();
    here.fill("a", 3);
    await session();
    peer.tamper = (batch) => ({ ...batch, digest: Buffer.alloc(batch.digest.length, 7) });
    const result = await session();
    expect(result).toMatchObject({ success: false, verified: false, errors: [{ code: "DIVERGED" }] });
    expect(result.errors[0]?.message).toContain("scoutsync verify");
  });

  test("says why nothing was compared: other columns, changes that came only in part", async () => {
    const here = await openTestReplica({}, "CREATE TABLE t(k TEXT PRIMARY KEY, v TEXT)");
    const there = await openTestReplica({}, "CREATE TABLE t(k TEXT PRIMARY KEY, v TEXT, more TEXT)");
    here.fill("a", 3);
    const databases = [{ replica: here, acquaintances: new Acquaintances() }];
    const meet = (peer: DirectPeer) => runSession({ databases, peer, nodeName: "here", named: true, retries: 0 });
    const why = { success: true, verified: false, unverified: [expect.stringContaining("different tables or columns")] };
    expect(await meet(new DirectPeer(there))).toMatchObject(why);
    const beyond = new DirectPeer(await openTestReplica({}, "CREATE TABLE t(k TEXT PRIMARY KEY, v TEXT)"));
    const changes = beyond.getChanges.bind(beyond);
    // As if a third node had gone away in the middle of what it sent there.
    beyond.getChanges = async function* (request) {
      for await (const batch of changes(request)) yield batch.final ? { ...batch, beyondDigest: Uint8Array.of(1) } : batch;
    };
    const unfinished = await runSession({ databases, peer: beyond, nodeName: "here", named: true, retries: 0, pullOnly: true });
    expect(unfinished).toMatchObject({ verified: false, unverified: [expect.stringContaining("only in part")] });
  });

  test("a row that a rule of one side alone keeps out is no divergence, from either side; another difference beside it is", async () => {
    const here = await openTestReplica({}, "CREATE TABLE t(k TEXT PRIMARY KEY, v TEXT)");
    const there = await openTestReplica({}, "CREATE TABLE t(k TEXT PRIMARY KEY, v TEXT CHECK (v <> 'refused'))");
    here.fill("a", 3);
    here.write("b", "refused");
    const said: string[] = [];
    const meet = (replica: TestReplica, peer: DirectPeer) =>
      runSession({
        databases: [{ replica, acquaintances: new Acquaintances() }],
        peer,
        nodeName: "here",
        named: true,
        retries: 0,
        onKeptOut: (text) => said.push(text),
      });
    for (const [replica, other] of [
      [here, there],
      [there, here],
    ] as const) {
      await meet(replica, new DirectPeer(other));
      said.length = 0;
      expect(await meet(replica, new DirectPeer(other))).toMatchObject({
        success: true,
        verified: false,
        unverified: [expect.stringContaining("one row")],
        errors: [],
      });
      expect(said).toEqual([expect.stringContaining("one row")]);
    }
    expect(Object.keys(there.rows())).toEqual(["a0", "a1", "a2"]);
    const hiding = new DirectPeer(there);
    const digest = hiding.digest.bind(hiding);
    // As if the peer held another row: its table, the parts of it and the row have other sums.
    hiding.digest = async (request) => {
      const { vector, entries } = await digest(request);
      return { vector, entries: entries.map((entry) => ({ ...entry, digest: entry.digest.map((byte) => byte ^ 1) })) };
    };
    expect(await meet(here, hiding)).toMatchObject({ success: false, errors: [{ code: "DIVERGED" }] });
  });

  test("a damaged batch is refused whole and the next session repairs it", async () => {
    const { here, there, peer, session } = await pair();
    there.fill("b", 20);
    let count = 0;
    peer.tamper = (batch) => {
      if (++count !== 2) return batch;
      const payload = Buffer.from(batch.payload);
      payload[5] = (payload[5] ?? 0) ^ 1;
      return { ...batch, payload };
    };
    expect(await session({ batchSize: 5 })).toMatchObject({ success: false, errors: [{ code: "BATCH_CORRUPT" }] });
    expect(Object.keys(here.rows())).toHaveLength(5);
    expect(await session({ batchSize: 5 })).toMatchObject({ success: true, verified: true });
    expect(here.rows()).toEqual(there.rows());
  });

  test("what the peer refuses a push with is the session's error", async () => {
    const { here, there, session } = await pair();
    here.fill("a", 30);
    there.failApply = new SyncError({ code: "CONSTRAINT_REFUSED", message: "CHECK failed", action: "Mend it." });
    const result = await session({ batchSize: 5 });
    expect(result).toMatchObject({ success: false, errors: [{ code: "CONSTRAINT_REFUSED", message: "CHECK failed. Mend it." }] });
  });

  test("databases the peer lacks are passed over, unless named", async () => {
    const { here, session } = await pair();
    const stranger = await openTestReplica({ name: "stranger" });
    const databases = [here, stranger].map((replica) => ({ replica, acquaintances: new Acquaintances() }));
    expect(await session({ databases })).toMatchObject({ success: true, verified: true });
    expect(await session({ databases, named: true })).toMatchObject({ success: false, errors: [{ code: "DATABASE_NOT_FOUND" }] });
    const none = await session({ databases: databases.slice(1) });
    expect(none).toMatchObject({ success: false, errors: [{ code: "DATABASE_NOT_FOUND" }] });
  });

  test("a third replica in between relays", async () => {
    const [a, b, c] = [await openTestReplica(), await openTestReplica(), await openTestReplica()];
    a.fill("a", 12);
    const session = (replica: TestReplica, other: TestReplica) =>
      runSession({
        databases: [{ replica, acquaintances: new Acquaintances() }],
        peer: new DirectPeer(other),
        nodeName: "n",
        named: false,
        batchSize: 5,
      });
    await session(b, a);
    expect(await session(b, c)).toMatchObject({ verified: true });
    expect(c.rows()).toEqual(a.rows());
    expect(equalVectors(a.state.vector, c.state.vector)).toBe(true);
  });
});

describe("verify", () => {
  test("names the rows and columns that differ, reading only what does", async () => {
    const { here, there, peer, session } = await pair();
    here.fill("a", 200);
    await session();
    expect(await verify({ replica: here, peer, deep: false })).toMatchObject({ equal: true, differences: [] });
    there.write("a7", "another value");
    there.write("extra", "only there");
    const { equal, differences } = await verify({ replica: here, peer, deep: false });
    expect(equal).toBe(false);
    expect(differences.sort((a, b) => (a.key < b.key ? -1 : 1))).toEqual([
      { table: "t", key: "a7", columns: ["v"] },
      { table: "t", key: "extra", columns: [] },
    ]);
  });
});

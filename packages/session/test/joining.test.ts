import { expect, test } from "vitest";
import { Acquaintances, runSession } from "../src/index.ts";
import { DirectPeer } from "./direct-peer.ts";
import { openTestReplica } from "./test-replica.ts";

const COMMON = "CREATE TABLE t(k TEXT PRIMARY KEY, v TEXT); INSERT INTO t VALUES('a', '1'), ('b', '2'), ('c', '3')";
const HERE = `${COMMON}; UPDATE t SET v = 'here' WHERE k = 'b'; INSERT INTO t VALUES('h', '')`;
const THERE = `${COMMON}; UPDATE t SET v = 'there' WHERE k = 'b'; DELETE FROM t WHERE k = 'c'; INSERT INTO t VALUES('t1', ''), ('t2', '')`;

async function meeting(choices: { here?: "shared" | "distinct"; there?: "shared" | "distinct" }) {
  const here = await openTestReplica({ baseline: choices.here ?? null }, HERE);
  const there = await openTestReplica({ baseline: choices.there ?? null }, THERE);
  const peer = new DirectPeer(there);
  const session = () =>
    runSession({ databases: [{ replica: here, acquaintances: new Acquaintances() }], peer, nodeName: "here", named: false, retries: 0 });
  return { here, there, session };
}

test("without a word a session stops and shows how the rows differ", async () => {
  const { here, there, session } = await meeting({});
  const before = [here.rows(), there.rows()];
  const { success, errors } = await session();
  expect(success).toBe(false);
  expect(errors).toHaveLength(1);
  expect(errors[0]?.code).toBe("BASELINE_CHOICE");
  const message = errors[0]?.message ?? "";
  expect(message).toContain("t: 1 rows equal, 1 with the same key differ (b), 2 only here (c; h), 2 only there (t1; t2)");
  expect(message).toContain("--baseline shared");
  expect(message).toContain("--baseline distinct");
  expect([here.rows(), there.rows()]).toEqual(before);
});

test.each([{ here: "shared" as const }, { there: "shared" as const }])("one word of either side is enough: %o", async (choices) => {
  const { here, there, session } = await meeting(choices);
  expect(await session()).toMatchObject({ success: true, verified: true, errors: [] });
  expect(here.rows()).toEqual(there.rows());
  expect(Object.keys(here.rows())).toEqual(["a", "b", "c", "h", "t1", "t2"]);
  const [conflict, ...others] = await here.reviews({ kind: "conflict", id: "", limit: 10 });
  expect(others).toEqual([]);
  expect(new Set([conflict?.winner?.value, conflict?.loser?.value])).toEqual(new Set(["here", "there"]));
  // And once joined, nobody asks again, and nothing moves.
  expect(await session()).toMatchObject({ success: true, verified: true, stats: { localChangesSent: 0, remoteChangesReceived: 0 } });
});

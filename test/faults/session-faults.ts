import type { Fault } from "./fault.ts";

/** Rules of sessions between nodes, broken. */
export const SESSION_FAULTS: Fault[] = [
  {
    name: "what a peer has forgotten is news in every session to one that has it",
    edits: [["!isCovered(batch.floor ?? EMPTY_VECTOR, vector)", "!isCovered(batch.floor ?? EMPTY_VECTOR, replica.state.floor)"]],
    caughtBy: "packages/session/test/session.test.ts",
  },
  {
    name: "a stream goes on from what the file before had, when another is in its place",
    edits: [["if (replica.run !== own) stop.abort(otherFile(replica.name));", ""]],
    caughtBy: "test/e2e/replaced-live.test.ts",
  },
  {
    name: "a node that was restored counts as having what it had",
    edits: [['Object.assign(link, { run: "", node: null });', ""]],
    caughtBy: "test/e2e/replaced-live.test.ts",
  },
  {
    name: "a bundle says nothing of who was put out",
    edits: [["    await carryRevocations(client, head.revocations);\n", ""]],
    caughtBy: "test/e2e/trust.test.ts",
  },
  {
    name: "a node does not care how many rows may pass",
    edits: [["      changesPerSecond: Number(changesPerSecond),", "      changesPerSecond: 0 * Number(changesPerSecond),"]],
    caughtBy: "services/coordinator/test/limits.test.ts",
  },
  {
    name: "what a node says under another one's run is taken for that one's word",
    edits: [['`${node?.id ?? ""}/${run}`', '`${node === undefined ? "" : ""}/${run}`']],
    caughtBy: "packages/session/test/acquaintances.test.ts",
  },
  {
    name: "of two nodes under one identity the one that spoke last counts for both",
    edits: [[".reduce(inBoth)", ".reduce((_, last) => last)"]],
    caughtBy: "packages/session/test/acquaintances.test.ts",
  },
  {
    name: "a node that was started anew counts as two when a word of its former run comes late",
    edits: [["const RETURNS = 2;", "const RETURNS = 1;"]],
    caughtBy: "packages/session/test/acquaintances.test.ts",
  },
  {
    name: "live nodes that hold different rows leave it at that",
    edits: [["  await mend(context, peer.address, database, signal);\n", ""]],
    caughtBy: "services/sync-node/test/hostile.test.ts",
  },
  {
    name: "clock: one clock that is behind decides for all",
    edits: [["offsets[Math.floor((offsets.length - 1) / 2)]", "offsets[0]"]],
    caughtBy: "services/sync-node/test/clock.test.ts",
  },
  {
    name: "a dry run tells the peer what to note",
    edits: [['peer.getChanges({ ...request, baseline: "" }, stop)', "peer.getChanges(request, stop)"]],
    caughtBy: "packages/session/test/joining.test.ts",
  },
  {
    name: "rows that look like copies are joined as distinct without a word",
    edits: [['if (choice === "distinct" && equal * 2 > smaller)', 'if (choice === "distinct" && equal > smaller * 2)']],
    caughtBy: "packages/session/test/joining.test.ts",
  },
  {
    name: "one row that is kept out explains whatever differs",
    edits: [["if (!(await isExplained(difference))) return 0;", "await isExplained(difference);"]],
    caughtBy: "packages/session/test/session.test.ts",
  },
  {
    name: "a peer that stands at the same vector is found equal whatever its rows are",
    edits: [["    sameBytes(digest, batch.digest)\n", "    digest.length > 0\n"]],
    caughtBy: "packages/session/test/session.test.ts",
  },
  {
    name: "a live link calls rows that are kept out diverged",
    edits: [["if (rows > 0) return context.logger.info({ ...about, rows }", "if (rows < 0) return context.logger.info({ ...about, rows }"]],
    caughtBy: "services/sync-node/test/live.test.ts",
  },
  {
    name: "a read whose end fails leaves its transaction to whatever comes next",
    edits: [['        if (this.db.inTransaction) this.db.exec("ROLLBACK");', '        if (this.db.inTransaction) this.db.exec("COMMIT");']],
    caughtBy: "packages/replica/test/interrupted.test.ts",
  },
  {
    name: "a call that a migration came after fails though it was done",
    edits: [
      ['  } catch {\n    one.stamp = "";\n  }\n}\n\nfunction tell(', "  } catch (error) {\n    throw error;\n  }\n}\n\nfunction tell("],
    ],
    caughtBy: "packages/replica/test/former-ids.test.ts",
  },
];

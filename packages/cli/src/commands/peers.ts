import { Option } from "commander";
import { SyncError } from "@scoutsync/core";
import { unary } from "@scoutsync/protocol";
import { declare, type Registration } from "../command.ts";
import { LONG_DEADLINE_MS, type NodeConnection, QUICK_DEADLINE_MS, withNode } from "../connect.ts";
import { isoTime } from "../output/age.ts";
import { count } from "../output/json.ts";

const database = () => new Option("--db <name>", "one database (default: all of the node)");

/** The databases of a node, or the one that was named. */
async function databasesOf(client: NodeConnection, name: string | undefined): Promise<string[]> {
  if (name !== undefined) return [name];
  const { databases } = await unary(client, "ping", { callerTimeUs: 0n }, { deadlineMs: QUICK_DEADLINE_MS });
  return databases.map((one) => one.name);
}

/** `scoutsync peers`: for whom a node keeps deleted rows. */
export const registerPeers: Registration = (program, surroundings) => {
  const peers = program.command("peers").description("the nodes that a node keeps deleted rows for until they know that they are deleted");

  declare<{ db?: string }>(peers, surroundings, {
    usage: "list <node>",
    summary: "the nodes that take part, as far as this one has heard",
    usesCoordinator: true,
    options: [database()],
    examples: ["scoutsync peers list 127.0.0.1:7071", "scoutsync peers list pits --db main --json"],
    run: async ({ db }, invocation, node = "") => {
      const document = await withNode(node, invocation, async (client) => {
        const found = [];
        for (const name of await databasesOf(client, db)) {
          const answer = await unary(client, "listKnownNodes", { database: name }, { deadlineMs: QUICK_DEADLINE_MS });
          for (const { nodeId, name: called, atUs, retired } of answer.nodes)
            found.push({ database: name, node_id: nodeId, name: called, heard: isoTime(atUs), retired });
        }
        return found;
      });
      invocation.out.result(document, () =>
        invocation.out.table(
          ["database", "node", "id", "heard", "retired"],
          document.map((one) => [one.database, one.name, one.node_id, one.heard ?? "never", one.retired ? "yes" : "no"]),
        ),
      );
    },
  });

  declare<{ db?: string }>(peers, surroundings, {
    usage: "retire <node> <peer>",
    summary: "keep nothing for a node that will not come back soon; the others hear of it, and if it returns it joins again",
    usesCoordinator: true,
    options: [database()],
    examples: ["scoutsync peers retire 127.0.0.1:7071 lost-laptop"],
    run: async ({ db }, invocation, node = "", peer = "") => {
      const document = await withNode(node, invocation, async (client) => {
        const found = [];
        let unknown: SyncError | null = null;
        for (const name of await databasesOf(client, db)) {
          try {
            const answer = await unary(client, "retireKnownNode", { database: name, node: peer }, { deadlineMs: QUICK_DEADLINE_MS });
            found.push({ database: name, node_id: answer.nodeId, name: answer.name });
          } catch (error) {
            // A node need not take part in every database.
            if (!(error instanceof SyncError) || error.code !== "NOT_FOUND") throw error;
            unknown = error;
          }
        }
        if (found.length === 0 && unknown) throw unknown;
        return found;
      });
      const names = document.map((one) => `"${one.database}"`).join(", ");
      invocation.out.result(document, () => invocation.out.line(`Nothing is kept for ${peer} any more in ${names}.`));
    },
  });
};

/** `scoutsync forget`: lets go of what was deleted long ago and is known to be deleted everywhere. */
export const registerForget: Registration = (program, surroundings) => {
  declare<{ db?: string; dryRun?: boolean }>(program, surroundings, {
    usage: "forget <node>",
    summary: "let go of rows deleted longer ago than the node's retention, where every node knows; it does so by itself every hour",
    usesCoordinator: true,
    options: [database(), new Option("--dry-run", "change nothing, say what would be forgotten and what is kept for whom")],
    examples: ["scoutsync forget 127.0.0.1:7071 --dry-run", "scoutsync forget pits --db main --json"],
    run: async ({ db, dryRun }, invocation, node = "") => {
      const document = await withNode(node, invocation, async (client) => {
        const found = [];
        for (const name of await databasesOf(client, db)) {
          const answer = await unary(client, "forget", { database: name, dryRun: dryRun === true }, { deadlineMs: LONG_DEADLINE_MS });
          found.push({
            database: name,
            forgotten: count(answer.forgotten),
            settled: count(answer.settled),
            young: count(answer.young),
            referred_to: count(answer.referredTo),
            awaited: count(answer.awaited),
            kept_for: answer.keptFor.map((kept) => ({
              node_id: kept.nodeId,
              name: kept.name,
              rows: count(kept.rows),
              heard: isoTime(kept.heardUs),
            })),
            ahead: answer.ahead,
            alone: answer.alone,
            complete: answer.complete,
            retention_days: answer.retentionDays,
          });
        }
        return found;
      });
      const { out } = invocation;
      out.result(document, () => {
        for (const one of document) {
          out.line(
            `"${one.database}": ${one.forgotten} deleted rows and ${one.settled} settled conflicts of others ` +
              `${dryRun ? "would be" : "were"} forgotten. Kept: ${one.young} deleted within ` +
              `${one.retention_days} days, ${one.awaited} that some node may not know of, ${one.referred_to} that something refers to.`,
          );
          for (const kept of one.kept_for) out.line(`  ${kept.rows} for ${kept.name}, last heard of ${kept.heard ?? "never"}`);
          if (one.ahead.length > 0) out.line(`  Nothing is forgotten before the changes of ${one.ahead.join(", ")} are here.`);
          if (one.alone) out.line("  Nothing is forgotten, as this node has not met another yet.");
          if (!one.complete) out.line("  Not all were looked at; call it again.");
        }
      });
    },
  });
};

import { unary } from "@scoutsync/protocol";
import { declare, type Registration } from "../command.ts";
import { QUICK_DEADLINE_MS, withNode } from "../connect.ts";
import { count } from "../output/json.ts";

/** `scoutsync ping`: who a node is, what it holds and how far it is. */
export const registerPing: Registration = (program, surroundings) => {
  declare(program, surroundings, {
    usage: "ping <node>",
    summary: "a node's answer: its databases, how far they are, its clock",
    usesCoordinator: true,
    examples: ["scoutsync ping 127.0.0.1:7071", "scoutsync ping pits --json"],
    run: async (_options, invocation, node = "") => {
      await withNode(node, invocation, async (client) => {
        const sentMs = Date.now();
        const answer = await unary(client, "ping", { callerTimeUs: BigInt(sentMs) * 1000n }, { deadlineMs: QUICK_DEADLINE_MS });
        const middleMs = (sentMs + Date.now()) / 2;
        const document = {
          name: answer.name,
          node_id: answer.nodeId,
          version: answer.version,
          protocol: answer.protocol,
          time: answer.time,
          clock_offset_ms: Math.round(Number(answer.timeUs) / 1000 - middleMs),
          ...(answer.clock && {
            clock: {
              correction_ms: Math.round(Number(answer.clock.correctionUs) / 1000),
              compared: answer.clock.compared,
              warning: answer.clock.warning,
            },
          }),
          databases: answer.databases.map((database) => ({
            name: database.name,
            vector: database.vector,
            digest: database.digest,
            pending: count(database.pending),
            parked: count(database.parked),
            conflicts: count(database.conflicts),
            held: count(database.held),
            rows: count(database.rows),
            tables: database.tables,
            ...(database.problem === "" ? {} : { problem: database.problem }),
          })),
          files: answer.files.map(({ root, cursor, digest, files, bytes, conflicts, pending, missing, heldBack, problem }) => ({
            root,
            cursor,
            digest,
            files: count(files),
            bytes: count(bytes),
            conflicts: count(conflicts),
            pending: count(pending),
            missing: count(missing),
            ...(heldBack ? { held_back: true } : {}),
            ...(problem === "" ? {} : { problem }),
          })),
        };
        invocation.out.result(document, () => {
          const { out } = invocation;
          out.line(`${document.name} ${document.node_id} version ${document.version}, clock ${document.clock_offset_ms} ms off`);
          out.table(
            ["database", "rows", "pending", "parked", "conflicts", "held", "digest", "vector"],
            document.databases.map((one) => [one.name, one.rows, one.pending, one.parked, one.conflicts, one.held, one.digest, one.vector]),
          );
          if (document.files.length > 0) {
            out.table(
              ["root", "files", "bytes", "pending", "missing", "conflicts", "digest", "cursor"],
              document.files.map((one) => [
                one.root,
                one.files,
                one.bytes,
                one.pending,
                one.missing,
                one.conflicts,
                one.digest,
                one.cursor,
              ]),
            );
          }
          for (const one of document.files) if (one.problem) out.line(`${one.root}: ${one.problem}`);
          if (document.clock?.warning) out.line(`Warning: ${document.clock.warning}.`);
          for (const one of document.databases) if (one.problem) out.line(`${one.name}: ${one.problem}`);
        });
      });
    },
  });
};

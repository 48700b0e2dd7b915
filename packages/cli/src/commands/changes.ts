import { Option } from "commander";
import { parseVector } from "@scoutsync/core";
import { GetChangesRequest, serverStream, type Change } from "@scoutsync/protocol";
import { declare, wholeNumber, type Invocation, type Registration } from "../command.ts";
import { LONG_DEADLINE_MS, withNode, type NodeConnection } from "../connect.ts";
import { count, jsonColumns, plainValue } from "../output/json.ts";
import { isoTime } from "../output/age.ts";

interface ChangesOptions {
  db: string;
  since?: string;
  count?: boolean;
  limit?: number;
}

/** `scoutsync changes`: what a node would send to someone who stands at `--since`. */
export const registerChanges: Registration = (program, surroundings) => {
  declare<ChangesOptions>(program, surroundings, {
    usage: "changes <node>",
    summary: "what NODE would send to someone who has everything up to --since",
    usesCoordinator: true,
    options: [
      new Option("--db <name>", "the database").makeOptionMandatory(),
      new Option("--since <vector>", "origin:sequence entries joined by commas, as `scoutsync ping` prints them"),
      new Option("--count", "only count them"),
      wholeNumber("--limit <n>", "stop after this many"),
    ],
    examples: [
      "scoutsync changes 127.0.0.1:7071 --db main --count",
      "scoutsync changes pits --db scouting --since abcdefghijklmnop:120 --limit 20",
    ],
    run: async (options, invocation, node = "") => {
      // Checked here as well, so that a typing error costs no connection.
      parseVector(options.since ?? "");
      await withNode(node, invocation, (client) =>
        options.count ? printCount(client, options, invocation) : printChanges(client, options, invocation),
      );
    },
  });
};

async function printCount(client: NodeConnection, { db, since = "" }: ChangesOptions, { out }: Invocation): Promise<void> {
  const request = GetChangesRequest.fromPartial({ database: db, since, countOnly: true });
  for await (const answer of serverStream(client, "getChanges", request, { deadlineMs: LONG_DEADLINE_MS })) {
    if (!answer.count) continue;
    const { changes, oldestUs, vector, digest } = answer.count;
    const document = { database: db, since, count: count(changes), oldest: isoTime(oldestUs), vector, digest: digest.toString("hex") };
    out.result(document, () => out.line(String(document.count)));
    return;
  }
}

/** Changes can be more than memory holds: they are printed as they come, in `--json` as one array. */
async function printChanges(client: NodeConnection, { db, since = "", limit = 0 }: ChangesOptions, { out }: Invocation): Promise<void> {
  const request = GetChangesRequest.fromPartial({ database: db, since, limit: BigInt(limit), readable: true });
  let printed = 0;
  if (out.json) await out.piece("[");
  for await (const { changes } of serverStream(client, "getChanges", request, { deadlineMs: LONG_DEADLINE_MS })) {
    for (const change of changes) {
      await out.piece(out.json ? `${printed > 0 ? "," : ""}\n${JSON.stringify(changeDocument(change))}` : `${changeLine(change)}\n`);
      printed++;
    }
  }
  if (out.json) await out.piece("]\n");
}

function changeDocument({ dot, table, key, operation, time, author, columns }: Change): object {
  return { dot, table, key, operation, time, author, columns: jsonColumns(columns) };
}

function changeLine({ dot, table, key, operation, time, author, columns }: Change): string {
  const values = columns.map((column) => `${column.name}=${plainValue(column.value)}`).join(" ");
  return `${time} ${author} ${operation} ${table} ${key} ${values} (${dot})`;
}

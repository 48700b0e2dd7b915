import { Option } from "commander";
import { unary } from "@scoutsync/protocol";
import { declare, type Registration } from "../command.ts";
import { LONG_DEADLINE_MS, withNode } from "../connect.ts";
import { jsonValue, plainValue } from "../output/json.ts";

/** `scoutsync history`: who wrote a row, when, and what became of its integer id. */
export const registerHistory: Registration = (program, surroundings) => {
  declare<{ db: string }>(program, surroundings, {
    usage: "history <node> <table> <key>",
    summary: "who wrote a row, when, and what became of its integer id",
    usesCoordinator: true,
    options: [new Option("--db <name>", "the database").makeOptionMandatory()],
    examples: ["scoutsync history 127.0.0.1:7071 --db main Artist 276", "scoutsync history pits --db users user 12 --json"],
    run: async ({ db }, invocation, node = "", table = "", key = "") => {
      const { entries } = await withNode(node, invocation, (client) =>
        unary(client, "getHistory", { database: db, table, key }, { deadlineMs: LONG_DEADLINE_MS }),
      );
      const document = entries.map(({ operation, column, value, author, time, dot, note }) => ({
        operation,
        column: column || null,
        value: jsonValue(value),
        author,
        time,
        dot,
        note,
      }));
      const { out } = invocation;
      out.result(document, () => {
        if (entries.length === 0) out.line(`Nothing is known of ${table} ${key} in ${db}.`);
        else {
          out.table(
            ["time", "author", "operation", "column", "value", "note"],
            entries.map((entry) => [
              entry.time,
              entry.author,
              entry.operation,
              entry.column,
              entry.column ? plainValue(entry.value) : "",
              entry.note,
            ]),
          );
        }
      });
    },
  });
};

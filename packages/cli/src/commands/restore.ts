import { Option } from "commander";
import { unary } from "@scoutsync/protocol";
import { declare, type Registration } from "../command.ts";
import { LONG_DEADLINE_MS, withNode } from "../connect.ts";
import { jsonColumns, plainValue } from "../output/json.ts";

/** `scoutsync restore`: a deleted row back from its image. */
export const registerRestore: Registration = (program, surroundings) => {
  declare<{ db: string }>(program, surroundings, {
    usage: "restore <node> <table> <key>",
    summary: "brings a deleted row back from its image, on every server",
    usesCoordinator: true,
    options: [new Option("--db <name>", "the database").makeOptionMandatory()],
    examples: ["scoutsync restore 127.0.0.1:7071 --db main Artist 276", "scoutsync restore pits --db main score 2026week1,254 --json"],
    run: async ({ db }, invocation, node = "", table = "", key = "") => {
      const { columns } = await withNode(node, invocation, (client) =>
        unary(client, "restoreRow", { database: db, table, key }, { deadlineMs: LONG_DEADLINE_MS }),
      );
      const { out } = invocation;
      out.result({ database: db, table, key, row: jsonColumns(columns) }, () => {
        out.line(`${table} ${key} is back; it travels to the other servers like any write.`);
        out.table(
          ["column", "value"],
          columns.map(({ name, value }) => [name, plainValue(value)]),
        );
      });
    },
  });
};

import { resolve } from "node:path";
import { Option } from "commander";
import { formatVector, parseVector } from "@scoutsync/core";
import { exportBundle } from "../bundle/export.ts";
import { declare, type Registration } from "../command.ts";
import { withNode } from "../connect.ts";

interface ExportOptions {
  db: string;
  since?: string;
  output: string;
}

/** `scoutsync export`: a database's changes as a file, for a node that no network reaches. */
export const registerExport: Registration = (program, surroundings) => {
  declare<ExportOptions>(program, surroundings, {
    usage: "export <node>",
    summary: "write what NODE has into a file that `import` takes, for a USB stick",
    usesCoordinator: true,
    options: [
      new Option("--db <name>", "the database").makeOptionMandatory(),
      new Option("--since <vector>", "only what a node at this vector lacks, as `scoutsync ping` prints it (default: everything)"),
      new Option("-o, --output <file>", "the file; it appears when it is whole").makeOptionMandatory(),
    ],
    examples: [
      "scoutsync export 127.0.0.1:7071 --db scouting -o /media/stick/pits.bundle",
      "scoutsync export pits --db scouting --since abcdefghijklmnop:120 -o /media/stick/pits.bundle",
    ],
    run: async ({ db, since = "", output }, invocation, node = "") => {
      const { out, surroundings: around } = invocation;
      const path = resolve(around.cwd, output);
      // Checked here as well, so that a typing error costs no connection.
      const from = formatVector(parseVector(since));
      const done = await withNode(node, invocation, (client) =>
        exportBundle(client, { database: db, since: from, path, onProgress: (at, total) => out.progress(`export ${db}`, at, total) }),
      );
      const document = { file: path, ...done };
      out.result(document, () =>
        out.line(`${path}: ${done.changes} changes of "${db}" from ${done.node}, ${done.bytes} bytes. Take it to \`scoutsync import\`.`),
      );
    },
  });
};

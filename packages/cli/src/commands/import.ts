import { resolve } from "node:path";
import { importBundle } from "../bundle/import.ts";
import { declare, type Registration } from "../command.ts";
import { withNode } from "../connect.ts";

/** `scoutsync import`: takes what `export` wrote. */
export const registerImport: Registration = (program, surroundings) => {
  declare(program, surroundings, {
    usage: "import <node> <file>",
    summary: "give NODE the changes or files in a file that `export` wrote; run again, it goes on where it was cut",
    usesCoordinator: true,
    examples: ["scoutsync import 127.0.0.1:7071 /media/stick/pits.bundle", "scoutsync import stands pits.bundle --json"],
    run: async (_options, invocation, node = "", file = "") => {
      const { out, surroundings: around } = invocation;
      const path = resolve(around.cwd, file);
      const done = await withNode(node, invocation, (client) =>
        importBundle(client, path, (at, total) => out.progress("import", at, total)),
      );
      out.result({ file: path, ...done }, () => {
        if ("root" in done) {
          out.line(
            `root "${done.root}" from ${done.from}, ${done.created}: ${done.entries} entries, ${done.files} files taken from it, ` +
              `${done.placed} put into place, ${done.removed} removed, ${done.conflicts} conflicts.`,
          );
          for (const { path: at, message } of done.refused) out.line(`  not taken: ${at}: ${message}`);
          out.line(done.verified ? "The root holds what that node held." : "The root holds other things as well, or not all of it yet.");
          return;
        }
        out.line(
          `"${done.database}" from ${done.from}, ${done.created}: ${done.received + done.skipped} changes in it, ${done.applied} of them new here, ` +
            `${done.conflicts} conflicts, ${done.parked} parked.`,
        );
        if (done.held > 0)
          out.line(
            `Of ${done.held} rows here "${done.database}" does not have the table or a column yet: their values are kept, and put in when a migration ` +
              `makes it. \`scoutsync review list ${node} --kind schema\` says which.`,
          );
        out.line(`Now at ${done.vector}`);
      });
    },
  });
};

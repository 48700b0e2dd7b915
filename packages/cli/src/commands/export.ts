import { resolve } from "node:path";
import { Option } from "commander";
import { SyncError, formatVector, parseVector } from "@scoutsync/core";
import { parseCursors, unary } from "@scoutsync/protocol";
import { exportBundle } from "../bundle/export.ts";
import { exportFiles, sinceOfPeer } from "../bundle/export-files.ts";
import { declare, type Invocation, type Registration } from "../command.ts";
import { QUICK_DEADLINE_MS, withNode } from "../connect.ts";
import { usageError } from "../exit.ts";

interface ExportOptions {
  db?: string;
  files?: string;
  since?: string;
  for?: string;
  output: string;
}

/** `scoutsync export`: a database's changes, or what is new in a file root, as a file, for a node that no network reaches. */
export const registerExport: Registration = (program, surroundings) => {
  declare<ExportOptions>(program, surroundings, {
    usage: "export <node>",
    summary: "write what NODE has into a file that `import` takes, for a USB stick",
    usesCoordinator: true,
    options: [
      new Option("--db <name>", "the database"),
      new Option("--files <root>", "instead: the file root").conflicts("db"),
      new Option(
        "--since <vector>",
        "only what a node at this vector lacks, as `scoutsync ping` prints it; of files: the cursor that the last export printed (default: everything)",
      ),
      new Option("--for <peer>", "only what PEER lacks, asked of it now; where it cannot be reached, use --since").conflicts("since"),
      new Option("-o, --output <file>", "the file; it appears when it is whole").makeOptionMandatory(),
    ],
    examples: [
      "scoutsync export 127.0.0.1:7071 --db scouting -o /media/stick/pits.bundle",
      "scoutsync export pits --files uploads -o /media/stick/uploads.bundle",
      "scoutsync export pits --db scouting --since abcdefghijklmnop:120 -o /media/stick/pits.bundle",
    ],
    run: async ({ db, files, since = "", for: peer, output }, invocation, node = "") => {
      const { out, surroundings: around } = invocation;
      const path = resolve(around.cwd, output);
      if (files !== undefined) return await exportRoot(node, { root: files, since, peer, path }, invocation);
      if (db === undefined) throw usageError("it was not said what to export", "Give --db NAME or --files ROOT.");
      // Checked here as well, so that a typing error costs no connection.
      parseVector(since);
      const from = formatVector(parseVector(peer === undefined ? since : await vectorOf(peer, db, invocation)));
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

async function exportRoot(
  node: string,
  { root, since, peer, path }: { root: string; since: string; peer: string | undefined; path: string },
  invocation: Invocation,
): Promise<void> {
  const { out } = invocation;
  // Checked here as well, so that a typing error costs no connection.
  parseCursors(since);
  const done = await withNode(node, invocation, async (client) => {
    const from = peer === undefined ? since : await withNode(peer, invocation, (there) => sinceOfPeer(client, there, root));
    return exportFiles(client, { root, since: from, path, onProgress: (at, total) => out.progress(`export ${root}`, at, total) });
  });
  out.result({ file: path, ...done }, () => {
    out.line(
      `${path}: ${done.entries} entries of root "${root}" from ${done.node} with ${done.files} files, ${done.bytes} bytes. Take it to \`scoutsync import\`.`,
    );
    if (done.missing > 0) out.line(`${done.missing} files were changed or removed meanwhile: export again to have what they are now.`);
    out.line(`The next bundle for the same server: --since ${done.cursor}`);
  });
}

/** Where the peer's database stands. */
async function vectorOf(peer: string, database: string, invocation: Invocation): Promise<string> {
  const answer = await withNode(peer, invocation, (client) =>
    unary(client, "ping", { callerTimeUs: 0n }, { deadlineMs: QUICK_DEADLINE_MS }),
  );
  const found = answer.databases.find(({ name }) => name === database);
  if (found) return found.vector;
  throw new SyncError({
    code: "NOT_FOUND",
    message: `${answer.name} has no database "${database}"`,
    action: "See `scoutsync ping` for what it has.",
  });
}

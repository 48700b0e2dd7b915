import { Option } from "commander";
import { toPlainError } from "@scoutsync/core";
import { unary, type FileRemark } from "@scoutsync/protocol";
import { declare, repeatable, type Invocation, type Registration } from "../command.ts";
import { LONG_DEADLINE_MS, resolveNode, withNode } from "../connect.ts";
import { Negative } from "../exit.ts";
import { shown } from "../output/shown.ts";

interface LeftAloneAt {
  /** By root. */
  remarks: Map<string, FileRemark[]>;
  /** Why it is not known; "" when it is. */
  unknown: string;
}

/** What the other node never syncs as a file, by root: `verify` has only the first one's. Whoever may not ask there is told so. */
async function leftAloneAt(peer: string, invocation: Invocation): Promise<LeftAloneAt> {
  try {
    const { roots } = await withNode(peer, invocation, (client) =>
      unary(client, "fileStatus", { root: "" }, { deadlineMs: LONG_DEADLINE_MS }),
    );
    return { remarks: new Map(roots.map(({ status, remarks }) => [status?.root ?? "", remarks])), unknown: "" };
  } catch (error) {
    return { remarks: new Map(), unknown: toPlainError(error).message };
  }
}

interface Compared {
  equal: boolean;
  differences: unknown[];
  kept_back: unknown[];
}

/** A mass delete that is kept back was told to nobody: with nothing else wrong, all that was told is equal. */
function inWords({ equal, differences, kept_back: keptBack }: Compared): string {
  if (equal) return "equal";
  if (differences.length === 0 && keptBack.length > 0) return "what was told is equal, what is kept back is not";
  return `${differences.length} rows differ`;
}

/** `scoutsync verify`: equal, or the rows that differ. */
export const registerVerify: Registration = (program, surroundings) => {
  declare<{ db?: string[]; deep?: boolean; stored?: boolean; repair?: boolean; files: boolean }>(program, surroundings, {
    usage: "verify <node> <peer>",
    summary: "compare two nodes down to single rows; exit code 1 when they differ, or one keeps a mass delete back",
    usesCoordinator: true,
    options: [
      repeatable("--db <name>", "only this database; repeat for more"),
      new Option("--no-files", "leave file roots out"),
      new Option("--stored", "trust the hashes that are stored of rows: quick, and blind to what changed a file behind everybody's back"),
      new Option("--deep", "read every file again, too, instead of trusting stored hashes"),
      new Option("--repair", "merge the rows that differ, both ways and without wiping anything, and compare again"),
    ],
    examples: [
      "scoutsync verify 127.0.0.1:7071 127.0.0.1:7072",
      "scoutsync verify pits stands --db scouting --stored --json",
      "scoutsync verify pits stands --repair",
    ],
    run: async (options, invocation, node = "", peer = "") => {
      const peerAddress = await resolveNode(peer, invocation);
      const answer = await withNode(node, invocation, (client) =>
        unary(
          client,
          "verify",
          {
            peer: peerAddress,
            databases: options.db ?? [],
            deep: options.deep === true,
            readRows: options.stored !== true,
            repair: options.repair === true,
            noFiles: !options.files,
          },
          { deadlineMs: LONG_DEADLINE_MS },
        ),
      );
      const there: LeftAloneAt = answer.files.length > 0 ? await leftAloneAt(peer, invocation) : { remarks: new Map(), unknown: "" };
      const document = {
        equal: answer.equal,
        databases: answer.databases.map(({ name, equal, differences, repaired, notCompared, keptBack }) => ({
          name,
          equal,
          differences: differences.map(({ table, key, columns }) => ({ table, key, columns })),
          not_compared: notCompared.map(({ table, reason }) => ({ table, reason })),
          kept_back: keptBack.map(({ atPeer, review, table, reason }) => ({ node: atPeer ? peer : node, review, table, reason })),
          ...(options.repair === true ? { repaired: repaired.map(({ table, key, columns }) => ({ table, key, columns })) } : {}),
        })),
        files: answer.files.map(({ root, equal, differences, leftAlone, unmet }) => ({
          root,
          equal,
          differences: differences.map(({ path, what }) => ({ path, what })),
          left_alone: [
            ...leftAlone.map(({ path, kind, reason }) => ({ path, kind, reason, node })),
            ...(there.remarks.get(root) ?? []).map(({ path, kind, reason }) => ({ path, kind, reason, node: peer })),
          ],
          unmet: unmet.map(({ path, reason }) => ({ path, reason })),
        })),
      };
      const { out } = invocation;
      out.result(document, () => {
        for (const database of document.databases) {
          out.line(`${database.name}: ${inWords(database)}`);
          for (const { table, reason } of database.not_compared) out.line(`not compared: ${table}, ${reason}`);
          for (const { node: at, review, table, reason } of database.kept_back)
            out.line(`kept back at ${at}: ${table}, ${reason}: \`scoutsync review resolve ${at} ${review}\``);
          for (const { table, key, columns } of database.repaired ?? []) {
            out.line(`merged: ${table} ${key} ${columns.join(", ")}`.trimEnd());
          }
          if (database.differences.length > 0) {
            out.table(
              ["table", "key", "columns"],
              database.differences.map(({ table, key, columns }) => [table, key, columns.join(", ")]),
            );
          }
        }
        for (const { root, equal, differences, left_alone: leftAlone, unmet } of document.files) {
          out.line(`files ${root}: ${equal ? "equal" : `${differences.length} paths differ`}`);
          for (const { path, kind, reason, node: at } of leftAlone)
            out.line(`${kind === "case" ? "note" : "left alone"} at ${at}: ${shown(path)} ${reason}`);
          for (const { path, reason } of unmet) out.line(`named by a row: ${shown(path)} ${reason}`);
          if (differences.length > 0) {
            out.table(
              ["path", "difference"],
              differences.map(({ path, what }) => [path, what]),
            );
          }
        }
      });
      if (there.unknown !== "") out.note(`What ${peer} leaves alone could not be asked: ${there.unknown}`);
      if (!document.equal) throw new Negative();
    },
  });
};

import { Option, type Command } from "commander";
import { unary, type FileRootReport } from "@scoutsync/protocol";
import { declare, wholeNumber, type Registration } from "../command.ts";
import { LONG_DEADLINE_MS, withNode } from "../connect.ts";
import { count } from "../output/json.ts";
import type { Surroundings } from "../surroundings.ts";
import { shown } from "../output/shown.ts";

const MOST_LISTED = 10_000;

/** `scoutsync files`: what file roots hold, how they are, and earlier versions back. */
export const registerFiles: Registration = (program, surroundings) => {
  const files = program.command("files").description("file roots: what they hold, how they are, earlier versions back");
  declareList(files, surroundings);
  declareStatus(files, surroundings);
  declareRestore(files, surroundings);
  declareForget(files, surroundings);
};

function declareList(files: Command, surroundings: Surroundings): void {
  declare<{ deleted?: boolean; versions?: boolean; limit?: number }>(files, surroundings, {
    usage: "list <node> <root> [path]",
    summary: "the files of a root, or of a folder in it",
    usesCoordinator: true,
    options: [
      new Option("--deleted", "also what was deleted"),
      new Option("--versions", "instead: the earlier versions of PATH that are in the store"),
      wholeNumber("--limit <n>", `at most this many (default ${MOST_LISTED})`),
    ],
    examples: [
      "scoutsync files list 127.0.0.1:7071 uploads",
      "scoutsync files list pits uploads robots/254.jpg --versions",
      "scoutsync files list pits config --deleted --json",
    ],
    run: async ({ deleted = false, versions = false, limit = MOST_LISTED }, invocation, node = "", root = "", path = "") => {
      const answer = await withNode(node, invocation, async (client) => {
        const ask = (after: string, most: number) =>
          unary(client, "listFiles", { root, path, after, limit: most, versions }, { deadlineMs: LONG_DEADLINE_MS });
        const all = await ask("", limit);
        // An answer holds as many as a message may.
        for (let page = all.files; page.length > 0 && all.files.length < limit;) {
          page = (await ask(page.at(-1)?.path ?? "", limit - all.files.length)).files;
          all.files.push(...page);
        }
        return all;
      });
      const { out } = invocation;
      if (answer.files.length + answer.versions.length >= limit) out.note(`There may be more than these ${limit}: see --limit.`);
      if (versions) {
        const document = answer.versions.map(({ sha256, size, why, author, modified, stored }) => ({
          sha256,
          size: count(size),
          why,
          author,
          modified,
          stored,
        }));
        out.result(document, () =>
          out.table(
            ["sha256", "bytes", "why", "by", "modified", "stored"],
            document.map((one) => [one.sha256, one.size, one.why, one.author, one.modified, one.stored]),
          ),
        );
        return;
      }
      const document = answer.files
        .filter(({ kind }) => deleted || kind !== "deleted")
        .map(({ path: at, kind, size, sha256, modified, author, version, state }) => ({
          path: at,
          kind,
          size: count(size),
          sha256,
          modified,
          author,
          version,
          state,
        }));
      out.result(document, () =>
        out.table(
          ["path", "kind", "bytes", "by", "modified", "state"],
          document.map((one) => [one.path, one.kind, one.size, one.author, one.modified, one.state]),
        ),
      );
    },
  });
}

function declareStatus(files: Command, surroundings: Surroundings): void {
  declare(files, surroundings, {
    usage: "status <node> [root]",
    summary: "how file roots are: counts, the store, what is left alone and why, what was refused",
    usesCoordinator: true,
    examples: ["scoutsync files status 127.0.0.1:7071", "scoutsync files status pits uploads --json"],
    run: async (_options, invocation, node = "", root = "") => {
      const { roots } = await withNode(node, invocation, (client) =>
        unary(client, "fileStatus", { root }, { deadlineMs: LONG_DEADLINE_MS }),
      );
      const { out } = invocation;
      const document = roots.map(reportDocument);
      out.result(document, () => {
        for (const one of document) {
          out.line(
            `${one.root} at ${one.path}: ${one.files} files in ${one.folders} folders, ${one.bytes} bytes; ${one.stored_versions} earlier versions, ${one.stored_bytes} bytes`,
          );
          if (one.problem !== "") out.line(`  ${one.problem}`);
          if (one.held_back) out.line(`  ${one.missing} are missing at once and held back: see \`scoutsync review list\``);
          if (one.pending > 0) out.line(`  ${one.pending} known versions are not here yet`);
          for (const { path, kind, reason } of one.left_alone)
            out.line(`  ${kind === "case" ? "note" : "left alone"}: ${shown(path)} ${reason}`);
          for (const { path, reason } of one.unmet) out.line(`  named by a row: ${shown(path)} ${reason}`);
          for (const { time, peer, what } of one.refused) out.line(`  refused: ${time} from ${shown(peer)}: ${shown(what)}`);
        }
      });
    },
  });
}

function declareRestore(files: Command, surroundings: Surroundings): void {
  declare<{ sha256?: string }>(files, surroundings, {
    usage: "restore <node> <root> <path>",
    summary: "brings an earlier or deleted version of a file back; it travels like any edit",
    usesCoordinator: true,
    options: [new Option("--sha256 <hash>", "which version, as `files list --versions` prints it (default: the last one)")],
    examples: [
      "scoutsync files restore 127.0.0.1:7071 uploads robots/254.jpg",
      "scoutsync files restore pits config app.json --sha256 9f86d08188…",
    ],
    run: async ({ sha256 = "" }, invocation, node = "", root = "", path = "") => {
      const { entry } = await withNode(node, invocation, (client) =>
        unary(client, "restoreFile", { root, path, sha256 }, { deadlineMs: LONG_DEADLINE_MS }),
      );
      const { out } = invocation;
      const document = { root, path, size: count(entry?.size ?? 0n), sha256: entry?.sha256 ?? "" };
      out.result(document, () => out.line(`${path} is back (${document.size} bytes); it travels to the other servers like any edit.`));
    },
  });
}

function declareForget(files: Command, surroundings: Surroundings): void {
  declare<{ dryRun?: boolean }>(files, surroundings, {
    usage: "forget <node> [root]",
    summary: "let go of earlier versions that were replaced longer ago than the node's retention; it does so by itself every hour",
    usesCoordinator: true,
    options: [new Option("--dry-run", "change nothing; say what would go, and what is kept and why")],
    examples: ["scoutsync files forget 127.0.0.1:7071 --dry-run", "scoutsync files forget pits uploads"],
    run: async ({ dryRun = false }, invocation, node = "", root = "") => {
      const { roots, retentionDays } = await withNode(node, invocation, (client) =>
        unary(client, "forgetFiles", { root, dryRun }, { deadlineMs: LONG_DEADLINE_MS }),
      );
      const { out } = invocation;
      const document = roots.map((one) => ({
        root: one.root,
        dry_run: dryRun,
        retention_days: retentionDays,
        versions: count(one.versions),
        version_bytes: count(one.versionBytes),
        partial: count(one.partial),
        partial_bytes: count(one.partialBytes),
        young: count(one.young),
        needed: count(one.needed),
        unacknowledged: count(one.unacknowledged),
      }));
      out.result(document, () => {
        for (const one of document) {
          const verb = dryRun ? "would go" : "went";
          out.line(
            `${one.root}: ${one.versions} earlier versions ${verb} (${one.version_bytes} bytes), and ${one.partial} files that had come in part (${one.partial_bytes} bytes).`,
          );
          out.line(
            `  Kept: ${one.young} replaced less than ${retentionDays} days ago, ${one.needed} that a conflict or a path still needs, ` +
              `${one.unacknowledged} as no other server is known to have what replaced them.`,
          );
        }
      });
    },
  });
}

function reportDocument({ status, path, storedVersions, storedBytes, remarks, unmet, refused }: FileRootReport) {
  return {
    root: status?.root ?? "",
    path,
    cursor: status?.cursor ?? "",
    digest: status?.digest ?? "",
    files: count(status?.files ?? 0n),
    folders: count(status?.folders ?? 0n),
    bytes: count(status?.bytes ?? 0n),
    conflicts: count(status?.conflicts ?? 0n),
    pending: Number(status?.pending ?? 0n),
    missing: count(status?.missing ?? 0n),
    held_back: status?.heldBack ?? false,
    problem: status?.problem ?? "",
    stored_versions: count(storedVersions),
    stored_bytes: count(storedBytes),
    left_alone: remarks.map(({ path: at, kind, reason }) => ({ path: at, kind, reason })),
    unmet: unmet.map(({ path: at, reason }) => ({ path: at, reason })),
    refused: refused.map(({ time, peer, what }) => ({ time, peer, what })),
  };
}

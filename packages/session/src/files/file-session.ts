import { SyncError, type FileRefusal } from "@scoutsync/core";
import { pullFiles, type FileExchange } from "./pull-files.ts";
import { pushFiles } from "./push-files.ts";

/** Others may write while a session runs; after this many rounds the rest is for the next one. */
const MAX_ROUNDS = 3;
/** A peer that gives nothing can still be given what it lacks; so it can where there is no room here for what it has. */
const GIVES_ALL_THE_SAME: ReadonlySet<string> = new Set(["RECEIVE_ONLY", "DISK_FULL"]);

export interface FileOutcome {
  /** Both sides were found to hold the same. False also where one of them moved meanwhile, or leaves other things alone. */
  verified: boolean;
  refused: FileRefusal[];
}

/** One exchange of a root with the same one at a peer: look, fetch, offer, compare. Throws SyncErrors. */
export async function exchangeFiles(exchange: FileExchange, { pullOnly }: { pullOnly: boolean }): Promise<FileOutcome> {
  const { root } = exchange;
  let refused: FileRefusal[] = [];
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const asKnown = exchange.asKnown || round > 0;
    if (!asKnown) await root.scan({ confirm: true });
    const outcome = await pullFiles({ ...exchange, asKnown }).catch((error: unknown) => {
      if (error instanceof SyncError && GIVES_ALL_THE_SAME.has(error.code) && !pullOnly) return error;
      throw error;
    });
    const pulled = outcome instanceof SyncError ? null : outcome;
    refused = pulled?.refused ?? [];
    let there = pulled?.end ?? null;
    if (!pullOnly && (!there || !(await root.nothingFor(there.index, there.received)))) {
      const pushed = await pushFiles(exchange);
      refused = [...refused, ...pushed.refused];
      there = pushed.end;
    }
    if (there) await root.noteAcknowledged(there.received);
    if (outcome instanceof SyncError && outcome.code === "DISK_FULL") throw outcome;
    const { digest, wanted } = root.state;
    if (there?.digest === digest && there.pending === 0 && wanted === 0) return { verified: true, refused };
    if (pullOnly || refused.length > 0) break;
  }
  return { verified: false, refused };
}

/** What was refused for good, as errors of a session: one for each reason, with the number of paths. */
export function refusalErrors(root: string, refused: readonly FileRefusal[]): SyncError[] {
  const byCode = new Map<string, FileRefusal[]>();
  // A file that is being written to is no failure: its next version is looked at like any other.
  for (const one of refused) if (one.code !== "FILE_CHANGED") byCode.set(one.code, [...(byCode.get(one.code) ?? []), one]);
  return [...byCode.values()].map((those) => {
    const [first] = those;
    const more = those.length > 1 ? ` (and ${those.length - 1} more)` : "";
    return new SyncError({
      code: (first?.code ?? "FILE_BLOCKED") as SyncError["code"],
      message: `root "${root}": ${first?.message ?? ""}${more}`.replace(/\.$/, ""),
      action: "`scoutsync files status` lists them; everything else has been synced.",
    });
  });
}

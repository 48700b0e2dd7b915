import { toPlainError } from "@scoutsync/core";
import type { FileRoot } from "@scoutsync/files";
import { connectPeer } from "@scoutsync/protocol";
import { runLiveFiles } from "@scoutsync/session";
import type { NodeContext } from "../context.ts";

/** A look at everything in a root, though nothing hinted at a change, milliseconds. */
const LOOK_EVERY_MS = 60_000;

/** Keeps looking at every root, and each in step with the same one at each of these peers, until the signal aborts. */
export async function keepFilesInStep(context: NodeContext, peers: readonly string[], signal: AbortSignal): Promise<void> {
  const roots = context.files.all();
  if (roots.length === 0) return;
  await Promise.all(roots.map((root) => root.keepLooking(LOOK_EVERY_MS)));
  await Promise.all(
    [...new Set(peers)].map(async (address) => {
      const peer = connectPeer(address, context.clock, context.dial);
      try {
        await Promise.all(
          roots.map((root) =>
            runLiveFiles({
              root,
              peer,
              nodeName: context.name,
              receiveOnly: context.receiveOnly,
              limited: context.scope !== null,
              rate: context.limits.files,
              signal,
              ...reports(context, address, root),
            }),
          ),
        );
      } finally {
        peer.close();
      }
    }),
  );
}

/** Says each trouble once, when it begins and when it is over. */
function reports(context: NodeContext, peer: string, { name: root }: FileRoot) {
  let trouble = "";
  return {
    onTrouble: (error: unknown, pauseMs: number) => {
      const { code, message } = toPlainError(error);
      context.logger[trouble === code ? "debug" : "warn"]({ peer, root, code, retry_in_ms: pauseMs }, message);
      trouble = code;
    },
    onExchanged: ({ filesUploaded, filesDownloaded, conflicts }: { filesUploaded: number; filesDownloaded: number; conflicts: number }) => {
      if (trouble !== "") context.logger.info({ peer, root }, "in step again");
      trouble = "";
      if (filesUploaded + filesDownloaded + conflicts > 0) {
        context.logger.debug({ peer, root, sent: filesUploaded, received: filesDownloaded, conflicts }, "exchanged files");
      }
    },
  };
}

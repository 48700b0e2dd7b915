import { toPlainError } from "@scoutsync/core";
import { connectPeer } from "@scoutsync/protocol";
import { keptOutOnly, keptOutText, runLive, runSession, type Peer, type Rejoined, type SessionDatabase } from "@scoutsync/session";
import type { NodeContext } from "./context.ts";

/**
 * Keeps every database in step with the same one at each of these peers until the signal aborts. One connection per
 * peer carries them all. Resolves when all of it has ended.
 */
export async function keepInStep(context: NodeContext, peers: readonly string[], signal: AbortSignal): Promise<void> {
  await Promise.all(
    [...new Set(peers)].map(async (address) => {
      const peer = connectPeer(address, context.clock, context.dial);
      try {
        const asked = context.clock.compareWith((aborted) => peer.ping({ signal: aborted }), signal);
        await Promise.all([
          asked,
          ...context.databases.all().map((database) =>
            runLive({
              ...database,
              peer,
              nodeName: context.name,
              receiveOnly: context.receiveOnly,
              pace: context.limits.rows,
              signal,
              ...reports(context, address, database.replica.name, () => explainOrMend(context, peer, database, signal)),
            }),
          ),
        ]);
      } finally {
        peer.close();
      }
    }),
  );
}

/**
 * Both have all changes and hold different rows: either rules of one side's tables keep rows out, which is listed for people
 * there, or they diverged. Never throws.
 */
async function explainOrMend(context: NodeContext, peer: Peer, database: SessionDatabase, signal: AbortSignal): Promise<void> {
  const { replica } = database;
  const about = { peer: peer.address, database: replica.name };
  try {
    const rows = await keptOutOnly({ replica, peer, signal });
    if (rows > 0) return context.logger.info({ ...about, rows }, keptOutText(replica.name, peer.address, rows));
  } catch (error) {
    if (signal.aborted) return;
    context.logger.debug({ ...about, ...toPlainError(error) }, "it could not be found out which rows differ");
  }
  const action = "a session merges them; `scoutsync verify` with both nodes shows whether any are left";
  context.logger.error({ ...about, code: "DIVERGED" }, `both know the same changes but hold different rows: ${action}`);
  await mend(context, peer.address, database, signal);
}

/** A live stream carries changes, and both have all of them: a session compares and merges the rows. Never throws. */
async function mend(context: NodeContext, address: string, database: SessionDatabase, signal: AbortSignal): Promise<void> {
  const about = { peer: address, database: database.replica.name };
  const { name: nodeName, receiveOnly: pullOnly } = context;
  try {
    const { success, stats, errors } = await context.gate.enter(address, 0n, (fenced) =>
      context.connections.using(address, (peer) =>
        runSession({ databases: [database], peer, nodeName, named: true, pullOnly, signal: AbortSignal.any([signal, fenced]) }),
      ),
    );
    context.logger.warn({ ...about, success, rows: stats.rowsRepaired, errors }, "rows that differed were merged");
  } catch (error) {
    // Another session with this peer is under way, and does the same.
    context.logger.debug({ ...about, ...toPlainError(error) }, "no session to merge rows");
  }
}

/** A person may want to see which rows went and which are there anew. */
export function sayRejoined({ logger }: Pick<NodeContext, "logger">, peer: string, database: string, rows: Rejoined): void {
  logger.warn(
    { peer, database, ...rows },
    "was away for so long that it joined again: rows deleted elsewhere went, those edited here meanwhile live on as new rows",
  );
}

/** A person has to look: a machine that was put back knows of it, and else some node tells lies. */
export function sayOriginGivenUp({ logger }: Pick<NodeContext, "logger">, peer: string, database: string): void {
  logger.error(
    { peer, database },
    "has changes of this run that it never made: either this machine was put back to an earlier state while it ran, or a node made them up. " +
      "This node writes under another origin now, and rows that differ are merged; if the machine was not put back, see where they came from",
  );
}

/** Says each trouble once, when it begins and when it is over: a peer that is away for a week is not news every 30 s. */
function reports(context: NodeContext, peer: string, database: string, differs: () => Promise<void>) {
  const troubles = new Map<string, string>();
  let different = false;
  return {
    onDoubt: (text: string) => context.logger.warn(`rows from before syncing: ${text}`),
    onRejoined: (rows: Rejoined) => sayRejoined(context, peer, database, rows),
    onOriginGivenUp: () => sayOriginGivenUp(context, peer, database),
    onTrouble: (direction: "down" | "up", error: unknown, pauseMs: number) => {
      const { code, message } = toPlainError(error);
      const level = troubles.get(direction) === code ? "debug" : "warn";
      troubles.set(direction, code);
      context.logger[level]({ peer, database, direction, code, retry_in_ms: pauseMs }, message);
    },
    onCaughtUp: (verified: boolean | null) => {
      if (troubles.delete("down")) context.logger.info({ peer, database }, "in step again");
      troubles.delete("up");
      if (verified === false && !different) void differs();
      if (verified !== null) different = !verified;
    },
  };
}

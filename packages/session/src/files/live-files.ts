import { SyncError, Wakeup } from "@scoutsync/core";
import type { FileRoot } from "@scoutsync/files";
import { backoffMs, pause } from "@scoutsync/runtime";
import { emptyStats, type SessionStats } from "../stats.ts";
import type { FilePeer } from "./file-peer.ts";
import { exchangeFiles } from "./file-session.ts";
import type { Rate } from "../rate.ts";

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 30_000;
/** What could not be taken in now is tried again after this long. */
const RETRY_MS = 3_000;

export interface LiveFilesOptions {
  root: FileRoot;
  peer: FilePeer;
  nodeName: string;
  receiveOnly: boolean;
  /** As in FileExchange. */
  limited?: boolean | undefined;
  rate: Rate;
  /** Ends live mode. */
  signal: AbortSignal;
  onTrouble?: ((error: unknown, pauseMs: number) => void) | undefined;
  onExchanged?: ((stats: SessionStats, verified: boolean) => void) | undefined;
}

/**
 * Keeps a root and the same one at a peer in step until the signal aborts: an exchange whenever either side has recorded
 * something, or the list of the root is another one, as where something is to be had back. Comes back by itself after any failure. Never throws.
 */
export async function runLiveFiles(options: LiveFilesOptions): Promise<void> {
  const { signal, onTrouble } = options;
  let failures = 0;
  while (!signal.aborted) {
    try {
      await follow(options, () => (failures = 0));
    } catch (error) {
      if (signal.aborted) return;
      // A peer without this root may be given it one day.
      const lacks = error instanceof SyncError && error.code === "ROOT_NOT_FOUND";
      const ms = lacks ? LONGEST_PAUSE_MS : backoffMs(failures, { firstMs: FIRST_PAUSE_MS, capMs: LONGEST_PAUSE_MS });
      failures += 1;
      if (!lacks) onTrouble?.(error, ms);
      await pause(ms, signal);
    }
  }
}

async function follow(
  { root, peer, nodeName, receiveOnly, limited, rate, signal, onExchanged }: LiveFilesOptions,
  progress: () => void,
): Promise<void> {
  const changed = new Wakeup();
  const stop = new AbortController();
  const both = AbortSignal.any([signal, stop.signal]);
  const unlisten = root.onChange(changed.raise);
  let news = true;
  let told = -1;
  let toldAs = "";
  let over: Error | null = null;
  const exchange = async () => {
    news = false;
    ({ seq: told, index: toldAs } = root.state);
    const stats = emptyStats();
    const { verified, refused } = await exchangeFiles(
      { root, peer, nodeName, limited, asKnown: true, rate, stats, signal: both },
      { pullOnly: receiveOnly },
    );
    progress();
    onExchanged?.(stats, verified);
    if (!refused.some(({ retry }) => retry)) return;
    const timer = setTimeout(() => {
      news = true;
      changed.raise();
    }, RETRY_MS);
    timer.unref();
  };
  try {
    await exchange();
    const listening = listen();
    while (!signal.aborted && over === null) {
      const isMoved = () => root.state.index !== toldAs || (!receiveOnly && root.state.seq > told);
      await changed.until(() => news || over !== null || isMoved(), signal);
      if (signal.aborted || over !== null) break;
      await exchange();
    }
    stop.abort(new Error("live mode was left"));
    await listening;
    if (!signal.aborted) throw over ?? new Error("live mode ended");
  } finally {
    stop.abort(new Error("live mode was left"));
    unlisten();
  }

  /** Hears of what the peer records from where its list is known here. */
  async function listen(): Promise<void> {
    try {
      const known = await root.cursors();
      const stream = peer.fileList({ root: root.name, known, callerIndex: root.state.index, follow: true, asKnown: true }, both);
      for await (const { entries, part } of stream) {
        // Started again in between, the peer may show another part.
        const isOther = limited === true && part !== null && JSON.stringify(part) !== JSON.stringify(root.state.part);
        if (entries.length === 0 && !isOther) continue;
        news = true;
        changed.raise();
      }
      over = new SyncError({ code: "PEER_FAILED", message: `${peer.address} ended its list of files`, action: "It is opened again." });
    } catch (error) {
      // A peer that only receives says nothing; it is told what is new here all the same.
      if (!(error instanceof SyncError) || error.code !== "RECEIVE_ONLY") over = error instanceof Error ? error : new Error(String(error));
    } finally {
      changed.raise();
    }
  }
}

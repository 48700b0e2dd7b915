import type { FileEntry } from "@scoutsync/core";
import type { FileRoot, Remark } from "@scoutsync/files";
import type { FilePeer } from "./file-peer.ts";

/** Paths named at most: whoever sees this many does not read on. */
const MAX_DIFFERENCES = 1_000;
const PAGE = 5_000;

export interface FileDifference {
  path: string;
  what: "only here" | "only there" | "other bytes" | "other mode" | "not here yet";
}

export interface FileVerification {
  root: string;
  equal: boolean;
  differences: FileDifference[];
  /** What is never synced as a file: databases, links, names that cannot travel. */
  leftAlone: Remark[];
}

/** Compares a root with the same one at a peer, after a fresh look on both sides; `deep` reads every file here again. */
export async function verifyFiles(
  root: FileRoot,
  peer: FilePeer,
  { deep, signal }: { deep: boolean; signal?: AbortSignal },
): Promise<FileVerification> {
  await root.scan({ deep, confirm: true });
  const here = new Map<string, FileEntry>();
  for (let seq = 0, isEnd = false; !isEnd;) {
    const page = await root.list({ index: root.state.index, seq, sinceUs: 0, tombstones: false, limit: PAGE, notFrom: "" });
    for (const entry of page.entries) here.set(entry.path, entry);
    ({ seq, isEnd } = page);
  }
  const differences: FileDifference[] = [];
  const stream = peer.fileList({ root: root.name, known: [], callerIndex: "", follow: false, asKnown: false }, signal);
  for await (const { entries } of stream) {
    for (const there of entries) {
      if (there.kind === "gone") continue;
      const ours = here.get(there.path);
      here.delete(there.path);
      const what = differenceOf(ours, there);
      if (what) differences.push({ path: there.path, what });
    }
  }
  for (const path of here.keys()) differences.push({ path, what: "only here" });
  for (const { path, state } of await notHere(root))
    if (!differences.some((one) => one.path === path)) differences.push({ path, what: state });
  const { remarks } = await root.status();
  differences.sort((a, b) => (a.path < b.path ? -1 : 1));
  return { root: root.name, equal: differences.length === 0, differences: differences.slice(0, MAX_DIFFERENCES), leftAlone: remarks };
}

async function notHere(root: FileRoot): Promise<{ path: string; state: "not here yet" }[]> {
  if (root.state.wanted === 0) return [];
  const { wants } = await root.heal();
  return wants.map(({ path }) => ({ path, state: "not here yet" }));
}

function differenceOf(ours: FileEntry | undefined, theirs: FileEntry): FileDifference["what"] | null {
  if (!ours) return "only there";
  if (ours.kind !== theirs.kind || ours.hash !== theirs.hash) return "other bytes";
  return ours.mode === theirs.mode ? null : "other mode";
}

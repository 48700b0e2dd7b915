import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { SyncError, type FileEntry, type ListedEntry } from "@scoutsync/core";
import { FileRootEngine, SMALL_BYTES, type EngineSeams, type FileRootOptions, type Intake } from "../src/index.ts";

/** Engines of a root on folders of their own, and a session between two of them without any network. */
export interface Site {
  name: string;
  root: string;
  manifest: string;
  engine: FileRootEngine;
}

export async function openSite(
  folder: string,
  name: string,
  seams: EngineSeams = {},
  options: Partial<FileRootOptions> = {},
): Promise<Site> {
  const root = join(folder, name, "root");
  mkdirSync(root, { recursive: true });
  const manifest = join(folder, name, "data", "files.db");
  const engine = await FileRootEngine.open(
    { name: "uploads", path: root, manifestPath: manifest, nodeName: name, databases: [], exclude: [], ...options },
    { sightingGapMs: 1_000, ...seams },
  );
  return { name, root, manifest, engine };
}

export interface Moved {
  entries: number;
  fetched: number;
  bytes: number;
  refused: Intake["refused"];
}

/** `to` takes in what `from` has. */
export async function pull(to: FileRootEngine, from: FileRootEngine, fromName: string): Promise<Moved> {
  const moved: Moved = { entries: 0, fetched: 0, bytes: 0, refused: [] };
  const { index } = from.state();
  const notFrom = to.state().index;
  let seq = await from.placeOf(await to.cursors());
  const gone: FileEntry[] = [];
  for (;;) {
    const page = await from.list({ index, seq, sinceUs: 0, tombstones: true, limit: 50, notFrom });
    moved.entries += page.entries.length;
    gone.push(...page.entries.filter(({ kind }) => kind === "gone"));
    await takeIn(
      to,
      from,
      page.entries.filter(({ kind }) => kind !== "gone"),
      page.index,
      fromName,
      moved,
    );
    seq = page.seq;
    if (page.isEnd) break;
  }
  gone.sort((a, b) => (a.path > b.path ? -1 : 1));
  await takeIn(to, from, gone, index, fromName, moved);
  const { wants } = await to.heal();
  for (const want of wants) {
    try {
      await fetch(to, from, want.hash, want.size, moved);
    } catch {
      // Another node may have it.
    }
  }
  if (wants.length > 0) await to.heal();
  if (!moved.refused.some(({ retry }) => retry)) await to.noteReceived(index, seq, notFrom);
  // As every session says it.
  await from.noteAcknowledged(await to.received(from.state().index));
  return moved;
}

async function takeIn(
  to: FileRootEngine,
  from: FileRootEngine,
  entries: readonly (FileEntry | ListedEntry)[],
  index: string,
  name: string,
  moved: Moved,
): Promise<void> {
  if (entries.length === 0) return;
  for (let round = 0; round < 3; round++) {
    const { wants, refused } = await to.receive(entries, index, name);
    if (wants.length === 0) {
      moved.refused.push(...refused);
      return;
    }
    let got = 0;
    for (const want of wants) {
      try {
        await fetch(to, from, want.hash, want.size, moved);
        got++;
      } catch (error) {
        // As a session does: the file changed on its disk while it was read.
        if (!["NOT_FOUND", "FILE_CORRUPT"].includes((error as { code?: string }).code ?? "")) throw error;
        await to.leave(want.hash);
      }
    }
    if (got === 0) {
      moved.refused.push(
        ...refused,
        ...wants
          .filter(({ isOptional }) => !isOptional)
          .map(({ path }) => ({ path, code: "NOT_FOUND", message: "not there any more", retry: true })),
      );
      return;
    }
  }
  moved.refused.push({ path: "", code: "FILE_CHANGED", message: "still wants", retry: true });
}

async function fetch(to: FileRootEngine, from: FileRootEngine, hash: string, size: number, moved: Moved): Promise<void> {
  // Half of the small ones as sessions move them, the other half as large ones travel.
  if (size <= SMALL_BYTES && hash < "8") {
    const [bytes] = await from.readSmall([hash]);
    if (!(bytes instanceof Uint8Array)) throw new SyncError({ code: "NOT_FOUND", message: `${hash} is not there`, action: "None." });
    await to.accept([{ hash, bytes }]);
    moved.bytes += bytes.length;
    moved.fetched += 1;
    return;
  }
  let at = await to.begin(hash, size);
  while (at < size) {
    const bytes = await from.read(hash, at, 64 * 1024);
    await to.write(hash, at, bytes);
    at += bytes.length;
    moved.bytes += bytes.length;
  }
  await to.finish(hash);
  moved.fetched += 1;
}

/** One session: a scan on both sides, then both directions. */
export async function sync(a: Site, b: Site): Promise<[Moved, Moved]> {
  await a.engine.scan({ confirm: true });
  await b.engine.scan({ confirm: true });
  const down = await pull(a.engine, b.engine, b.name);
  const up = await pull(b.engine, a.engine, a.name);
  return [down, up];
}

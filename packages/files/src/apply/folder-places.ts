import { EMPTY_VECTOR, SyncError, type FileEntry, type FileLoser } from "@scoutsync/core";
import { ownEntry, plannerOf, withRoot, type RootContext } from "../context.ts";
import { State, type ManifestRow } from "../manifest/rows.ts";
import { errorCode, inFolderOf } from "../paths/folder.ts";
import { next as bump } from "../plan/plan.ts";
import type { Scanner } from "../scan/scanner.ts";
import type { Placement } from "./placement.ts";

/** A folder is tried again after something else turned out to stand there, so often at most. */
const MAX_LOOKS = 4;

/** Folders that have to be there, or to go, for what is taken in. */
export class FolderPlaces {
  private readonly context: RootContext;
  private readonly placement: Placement;
  private readonly scanner: Scanner;

  constructor(context: RootContext, parts: { placement: Placement; scanner: Scanner }) {
    this.context = context;
    this.placement = parts.placement;
    this.scanner = parts.scanner;
  }

  /**
   * A file that stands where a folder has to be goes into the store, and the folder is there, in one step of the journal.
   * "free": no file stands there, and nothing was done. "changed": it is not what was known, and wants a look.
   */
  async inPlaceOf(
    entry: FileEntry,
    source: string,
    row: ManifestRow | null,
    why: "replaced" | "conflict",
  ): Promise<"made" | "free" | "changed"> {
    const { path } = entry;
    const there = withRoot(this.context, ({ root }) => inFolderOf(root, path, (folder, name) => folder.look(name)));
    if (!there || there.isDirectory()) return "free";
    if (!there.isFile()) throw blocked(path);
    if (row?.kind !== "file" || row.state !== State.here) return "changed";
    const [result] = await this.placement.carryOut([{ entry, source, expected: row.hash, why, displacedAuthor: row.author }]);
    if (result === "blocked") throw blocked(path);
    return result === "done" ? "made" : "changed";
  }

  /** Folders above a path exist on disk and live in the manifest, whatever tombstones say of them. */
  async makeParents(path: string): Promise<void> {
    const { manifest } = this.context;
    const components = path.split("/").slice(0, -1);
    for (let depth = 1; depth <= components.length; depth++) {
      const parent = components.slice(0, depth).join("/");
      const row = manifest.row(parent);
      if (row?.kind === "folder" && row.missingUs === 0 && row.state === State.here) continue;
      for (let looks = 0; ; looks++) {
        const made = await this.inPlaceOf(this.folderOver(parent), "", manifest.row(parent), "conflict");
        if (made !== "changed") break;
        if (looks === MAX_LOOKS) throw blocked(parent);
        await this.scanner.look(parent);
      }
      withRoot(this.context, ({ root }) => inFolderOf(root, parent, (folder, name) => folder.make(name).close()));
      await this.scanner.look(parent);
    }
  }

  /** A folder of this node's own making; a file that has its name now is a version that loses it. */
  private folderOver(path: string): FileEntry {
    const row = this.context.manifest.row(path);
    const nowUs = this.context.nowUs();
    const folder = ownEntry(this.context, {
      path,
      kind: "folder",
      hash: "",
      size: 0,
      mode: 7,
      modifiedUs: nowUs,
      version: bump(row?.version ?? EMPTY_VECTOR, plannerOf(this.context)),
      stampUs: nowUs,
    });
    if (row?.kind !== "file") return { ...folder, losers: row?.losers ?? [] };
    return { ...folder, losers: [...row.losers.filter(({ hash }) => hash !== row.hash), lostToFolder(row, folder, nowUs)] };
  }

  /** False when something is still in it. */
  remove({ path }: ManifestRow): boolean {
    try {
      withRoot(this.context, ({ root }) =>
        inFolderOf(root, path, (folder, name) => {
          if (folder.look(name)?.isDirectory()) folder.removeFolder(name);
          folder.sync();
        }),
      );
      return true;
    } catch (error) {
      const code = errorCode(error);
      if (code === "ENOENT" || code === "ENOTDIR") return true;
      if (code === "ENOTEMPTY" || code === "EEXIST" || code === "EBUSY" || code === "EACCES" || code === "EPERM") return false;
      throw error;
    }
  }

  /** False as well where it is gone, or no folder. */
  isEmpty(path: string): boolean {
    try {
      return withRoot(this.context, ({ root }) => inFolderOf(root, `${path}/.`, (folder) => folder.names().length === 0));
    } catch {
      // Gone, or no folder: the list says what it is next time.
      return false;
    }
  }
}

/** A file version whose name a folder keeps. */
export function lostToFolder({ hash, size, author, stampUs }: FileEntry, folder: FileEntry, sinceUs: number): FileLoser {
  return { hash, size, author, stampUs, sinceUs, winner: "", winnerAuthor: folder.author, winnerStampUs: folder.stampUs, resolved: false };
}

function blocked(path: string): SyncError {
  return new SyncError({
    code: "FILE_BLOCKED",
    message: `something that is not synced stands where "${path}" belongs`,
    action: "Move it away; the next session goes on.",
  });
}

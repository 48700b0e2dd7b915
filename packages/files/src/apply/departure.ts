import { withRoot, type RootContext } from "../context.ts";
import { State, type ManifestRow } from "../manifest/rows.ts";
import { errorCode } from "../paths/folder.ts";
import type { Part } from "../paths/part.ts";
import type { OpenRoot } from "../store/root-disk.ts";
import { giveBack, inFolder, newId, storedObject } from "./placement.ts";

/**
 * What a node that is limited to a part of a root has to give up when the part becomes another one. Nothing of it is a
 * deletion: no tombstone is written, and nobody hears of it.
 */
export class Departure {
  private readonly context: RootContext;

  constructor(context: RootContext) {
    this.context = context;
  }

  /**
   * From now on only this part counts; null = all of the root. Other nodes' files outside of it are to leave the folder (see
   * `carryOut`); what only this node has stays where it is, left alone. All lists are read and told anew, as what came from
   * another node would else never be sent here again.
   */
  limit(part: Part | null): void {
    const { manifest } = this.context;
    manifest.transaction(() => {
      for (const row of manifest.all()) {
        if (part === null || !part.leavesOut(row.path)) {
          // Not gone yet: the next look finds it where it is.
          if (row.state === State.leaving) manifest.observe(row.path, { state: State.forgotten });
        } else if (row.state !== State.ignored && row.state !== State.forgotten) {
          manifest.observe(row.path, { missingUs: 0, state: this.fate(row) });
        }
      }
      manifest.limit(part);
      manifest.forgetReceived();
      manifest.reindex();
    });
  }

  /** Moves what is to leave into the store, the bytes that are known and no others. What cannot be moved now stays for the next time. */
  async carryOut(): Promise<void> {
    const leaving = this.context.manifest.inState(State.leaving);
    if (leaving.length === 0) return;
    const deepestFirst = leaving.sort((a, b) => (a.path > b.path ? -1 : 1));
    await withRoot(this.context, async (open) => {
      for (const row of deepestFirst) if (row.kind === "file") await this.storeFile(open, row);
      for (const row of deepestFirst) if (row.kind === "folder") await this.removeFolder(open, row);
    });
  }

  private fate(row: ManifestRow): State {
    const { acknowledged } = this.context.manifest;
    if (row.kind === "gone" || row.missingUs > 0 || row.state === State.wanted) return State.forgotten;
    // Nobody else is known to have it: it is no copy that could be done without.
    if (row.source === "" && row.seq > acknowledged) return State.ignored;
    return State.leaving;
  }

  private async storeFile(open: OpenRoot, row: ManifestRow): Promise<void> {
    const { manifest } = this.context;
    const { path, author, hash } = row;
    const become = (state: State) => manifest.transaction(() => manifest.observe(path, { state }));
    try {
      await inFolder(open.root, path, async (folder, name) => {
        if (!folder.look(name)?.isFile()) return become(State.forgotten);
        const id = newId();
        folder.moveTo(name, open.objects, id);
        this.context.reached("leaving file moved");
        const object = await storedObject(this.context, open, id, { path, why: "left", author });
        if (object.hash !== hash) {
          // A program wrote something here that nobody else has seen.
          const isBack = giveBack(open.objects, id, folder, name);
          open.objects.sync();
          folder.sync();
          if (!isBack) manifest.transaction(() => manifest.addObject({ ...object, why: "late" }));
          return become(State.ignored);
        }
        open.objects.sync();
        folder.sync();
        manifest.transaction(() => {
          manifest.addObject(object);
          manifest.observe(path, { state: State.forgotten });
        });
      });
    } catch (error) {
      const code = errorCode(error);
      if (code === "ENOENT" || code === "ENOTDIR" || code === "ELOOP") return become(State.forgotten);
      if (code !== "EACCES" && code !== "EPERM" && code !== "EROFS") throw error;
    }
  }

  /** Only where nothing is left in it. */
  private async removeFolder(open: OpenRoot, { path }: ManifestRow): Promise<void> {
    const { manifest } = this.context;
    let state: State = State.forgotten;
    try {
      await inFolder(open.root, path, async (folder, name) => {
        if (folder.look(name)?.isDirectory()) folder.removeFolder(name);
        folder.sync();
      });
    } catch (error) {
      const code = errorCode(error);
      if (["ENOTEMPTY", "EEXIST", "EBUSY", "EACCES", "EPERM", "EROFS"].includes(code)) state = State.ignored;
      else if (code !== "ENOENT" && code !== "ENOTDIR" && code !== "ELOOP") throw error;
    }
    manifest.transaction(() => manifest.observe(path, { state }));
  }
}

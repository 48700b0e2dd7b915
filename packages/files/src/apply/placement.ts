import { randomBytes } from "node:crypto";
import { closeSync, constants, fstatSync, fsync, openSync, type BigIntStats } from "node:fs";
import { promisify } from "node:util";
import { SyncError, type FileEntry } from "@scoutsync/core";
import { withRoot, type RootContext } from "../context.ts";
import { State, type JournalStep, type ManifestRow, type StoredObject } from "../manifest/rows.ts";
import { errorCode, type Folder, inFolderOf, permissionsOf } from "../paths/folder.ts";
import { isRacyAsPlaced, printOf } from "../scan/print.ts";
import { copyVerified, examine, isAsRead, readInPlace, type ReadInPlace, unshare } from "../store/objects.ts";
import type { OpenRoot } from "../store/root-disk.ts";
import { stagedName, type Staging } from "../store/staging.ts";

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants;
const sync = promisify(fsync);
/** Of a file of another user, which Linux lets nobody link who may not write it, for a confined process, and on file systems without links. */
const NO_SECOND_NAME = ["EPERM", "EACCES", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"];

/** From this size on a file is read before it is moved, bytes: its name would be free for as long as that takes. */
const READ_FIRST_BYTES = 1024n * 1024n;

/** One step to take on disk. */
export interface Step {
  /** What the manifest says afterwards: a file to place, a folder in the place of a file, or a tombstone. */
  entry: FileEntry;
  /** The manifest that the entry came from unchanged; "" when it is this node's own. */
  source: string;
  /** The bytes that have to be at the path now; "" = nothing. */
  expected: string;
  /** Why what is displaced goes into the store. */
  why: StoredObject["why"];
  /** Who wrote what is displaced. */
  displacedAuthor: string;
}

/** "changed": the path holds something else by now; nothing was done, and it wants a look. "blocked": something that is not synced is in the way. */
export type StepResult = "done" | "changed" | "blocked";

export const newId = (): string => randomBytes(12).toString("hex");

/**
 * Puts files into place and takes them away, so that no bytes that a program wrote are lost whatever it does meanwhile:
 * what is at the path is moved into the store first and looked at there; the new file is then put under the name only if
 * the name is free. Every step is in the journal before it begins, and `Recovery` finishes or undoes it after a crash.
 */
export class Placement {
  private readonly context: RootContext;
  private readonly staging: Staging;

  constructor(context: RootContext, staging: Staging) {
    this.context = context;
    this.staging = staging;
  }

  /** True when the bytes can be had without asking anyone. */
  has(hash: string): boolean {
    const { manifest } = this.context;
    return this.staging.has(hash) || manifest.object(hash) !== null || manifest.withHash(hash).length > 0;
  }

  /** The bytes that are at a path, as far as is known: of a suspect file those that are there, whatever they are. */
  async expectedAt(row: ManifestRow | null): Promise<string> {
    if (row?.kind !== "file") return "";
    if (row.state !== State.suspect) return row.state === State.here ? row.hash : "";
    try {
      return await withRoot(this.context, ({ root }) =>
        inFolder(root, row.path, async (folder, name) => (await examine(folder, name)).hash),
      );
    } catch (error) {
      if (errorCode(error) === "ENOENT") return "";
      throw error;
    }
  }

  /** All of it durable when it returns; the results are in the order of the steps. */
  async carryOut(steps: readonly Step[]): Promise<StepResult[]> {
    if (steps.length === 0) return [];
    return withRoot(this.context, async (open) => {
      const { manifest } = this.context;
      const results: StepResult[] = steps.map(() => "changed");
      const ready: { at: number; step: Step; journal: JournalStep }[] = [];
      for (const [at, asked] of steps.entries()) {
        const id = newId();
        const isPlace = asked.entry.kind === "file";
        if (isPlace && !(await this.prepare(open, asked, id, this.usesAfter(steps, at)))) continue;
        const { source, expected } = asked;
        // Nobody gets the file under a size that it has not: the one that counts is that of the bytes.
        const size = isPlace ? Number(open.staging.look(id)?.size ?? asked.entry.size) : 0;
        const entry = { ...asked.entry, size };
        ready.push({
          at,
          step: { ...asked, entry },
          journal: {
            id,
            path: entry.path,
            step: entry.kind === "gone" ? "remove" : "place",
            staged: isPlace ? id : "",
            expected,
            entry,
            source,
          },
        });
      }
      await syncFolder(open.staging);
      manifest.transaction(() => manifest.begin(ready.map(({ journal }) => journal)));
      this.context.reached("journal written");
      const commits: (() => void)[] = [];
      const touched = new Set<string>();
      for (const { at, step, journal } of ready) {
        results[at] = await this.one(open, step, journal, commits);
        if (results[at] === "done") touched.add(folderOf(step.entry.path));
        else commits.push(() => manifest.finish(journal.id));
      }
      this.context.reached("names changed");
      for (const folder of touched) await this.syncNamed(open, folder);
      await syncFolder(open.objects);
      this.context.reached("folders durable");
      manifest.transaction(() => {
        for (const commit of commits) commit();
      });
      this.context.reached("manifest written");
      return results;
    });
  }

  /** The bytes of a step as a file of its own in staging, dressed and durable; false when they are not here any more. */
  private async prepare(open: OpenRoot, { entry, expected }: Step, id: string, usedAgain: boolean): Promise<boolean> {
    const { hash, path } = entry;
    if (this.staging.has(hash) && !usedAgain) {
      open.staging.moveTo(stagedName(hash), open.staging, id);
      this.staging.used(hash);
    } else if (!(await this.copy(open, hash, id))) return false;
    const before = expected === "" ? null : lookAt(open.root, path);
    open.staging.dress(id, permissionsOf(entry.mode, before), entry.modifiedUs > 0 ? entry.modifiedUs : null);
    return true;
  }

  /** From wherever the bytes are: staged for another path as well, in place elsewhere in the root, or in the store. */
  async copy(open: OpenRoot, hash: string, id: string): Promise<boolean> {
    const { manifest } = this.context;
    if (this.staging.has(hash)) return copyVerified(open.staging, stagedName(hash), open.staging, id, hash);
    for (const row of manifest.withHash(hash)) {
      try {
        const copied = await inFolder(open.root, row.path, (folder, name) => copyVerified(folder, name, open.staging, id, hash));
        if (copied) return true;
      } catch (error) {
        if (isNoRoom(error)) throw noRoom(this.context, error);
        // Gone or changed since it was looked at: another copy may do.
      }
    }
    const object = manifest.object(hash);
    if (!object || !open.objects.look(object.id)) return false;
    try {
      return await copyVerified(open.objects, object.id, open.staging, id, hash);
    } catch (error) {
      if (isNoRoom(error)) throw noRoom(this.context, error);
      throw error;
    }
  }

  private usesAfter(steps: readonly Step[], at: number): boolean {
    const hash = steps[at]?.entry.hash;
    return steps.slice(at + 1).some(({ entry }) => entry.kind === "file" && entry.hash === hash);
  }

  private async one(open: OpenRoot, step: Step, journal: JournalStep, commits: (() => void)[]): Promise<StepResult> {
    try {
      return await inFolder(
        open.root,
        step.entry.path,
        (folder, name) => this.inPlace(open, folder, name, step, journal, commits),
        step.entry.kind !== "gone",
      );
    } catch (error) {
      this.drop(open, journal);
      const code = errorCode(error);
      if (isNoRoom(error)) throw noRoom(this.context, error);
      if (code === "ENOENT" && step.entry.kind === "gone") {
        // Its folder is gone already: so is the file.
        commits.push(() => this.commit(step, journal, null, null));
        return "done";
      }
      if (["ENOTDIR", "ELOOP", "EISDIR", "EACCES", "EPERM", "EROFS", "ENAMETOOLONG", "EXDEV", "ENOENT"].includes(code)) return "blocked";
      throw error;
    }
  }

  private async inPlace(
    open: OpenRoot,
    folder: Folder,
    name: string,
    step: Step,
    journal: JournalStep,
    commits: (() => void)[],
  ): Promise<StepResult> {
    const there = folder.look(name);
    const { expected, entry } = step;
    if (there && !there.isFile()) {
      this.drop(open, journal);
      return "blocked";
    }
    if ((there === null) !== (expected === "")) {
      if (there === null && entry.kind === "gone") {
        commits.push(() => this.commit(step, journal, null, null));
        return "done";
      }
      if (there !== null || entry.kind === "gone") {
        this.drop(open, journal);
        return "changed";
      }
      // What was expected has been taken away by a person a moment ago; the newer version comes all the same.
    }
    let displaced: StoredObject | null = null;
    if (there) {
      const read = there.size < READ_FIRST_BYTES ? null : await readInPlace(this.context, folder, name);
      if (read && read.hash !== expected && isAsRead(read, folder.look(name))) {
        this.drop(open, journal);
        return "changed";
      }
      displaced = await this.displace(open, folder, name, { step, journal, read });
      if (displaced?.hash !== expected) {
        // A newer version of this node's own, or no file at all: it goes back, and is looked at like any edit.
        if (!this.putBack(open, folder, name, journal) && displaced) {
          const late: StoredObject = { ...displaced, why: "late" };
          commits.push(() => this.context.manifest.addObject(late));
        }
        this.drop(open, journal);
        return "changed";
      }
    }
    let print: { text: string; racy: boolean } | null = null;
    const staged = journal.staged === "" ? null : open.staging.look(journal.staged);
    if (entry.kind !== "gone") {
      try {
        if (entry.kind === "folder") folder.make(name).close();
        else open.staging.linkTo(journal.staged, folder, name);
      } catch (error) {
        if (!["EEXIST", "ENOTDIR", "ELOOP"].includes(errorCode(error))) {
          if (displaced && !this.putBack(open, folder, name, journal)) await this.keep(open, displaced, commits);
          throw error;
        }
        // A program has made the file anew this moment: that is the newest version here. What was displaced stays in the store.
        this.drop(open, journal);
        if (displaced) await this.keep(open, displaced, commits);
        return "changed";
      }
      this.context.reached(entry.kind === "folder" ? "folder made" : "file linked");
    }
    if (entry.kind === "file") {
      open.staging.remove(journal.staged);
      const stats = folder.look(name);
      // A program may have renamed a file of its own over it already, or written into it and set its time: then nothing is known of
      // what is there.
      if (stats && stats.ino === staged?.ino && stats.size === staged.size && stats.mtimeNs === staged.mtimeNs)
        print = { text: printOf(stats), racy: isRacyAsPlaced(stats, this.context.diskClock.nowUs()) };
    }
    // Its name is taken again by now: copying a large file takes its time.
    const kept = displaced && (await unshare(open, displaced, newId()));
    commits.push(() => this.commit(step, journal, kept, print));
    return "done";
  }

  /** What was displaced stays in the store though nothing was put in its place. */
  private async keep(open: OpenRoot, displaced: StoredObject, commits: (() => void)[]): Promise<void> {
    const kept = await unshare(open, displaced, newId());
    commits.push(() => this.context.manifest.addObject(kept));
  }

  /**
   * Moves what is at the path into the store, and says what it is; null when that cannot be read. What was `read` before
   * counts where nobody has written to it since.
   */
  private async displace(
    open: OpenRoot,
    folder: Folder,
    name: string,
    { step, journal, read }: { step: Step; journal: JournalStep; read: ReadInPlace | null },
  ): Promise<StoredObject | null> {
    const isRead = read !== null && isAsRead(read, folder.look(name));
    folder.moveTo(name, open.objects, journal.id);
    this.context.reached("old file moved");
    const moved = open.objects.look(journal.id);
    if (!moved?.isFile()) return null;
    const about = { path: step.entry.path, why: step.why, author: step.displacedAuthor };
    if (isRead && isAsRead(read, moved, true)) {
      const { hash, size } = read;
      const modifiedUs = Number(moved.mtimeNs / 1000n);
      return { ...about, id: journal.id, hash, size, print: printOf(moved), modifiedUs, storedUs: this.context.nowUs() };
    }
    try {
      return await storedObject(this.context, open, journal.id, about);
    } catch (error) {
      if (errorCode(error) === "EACCES") return null;
      throw error;
    }
  }

  /** Never over anything: false where the program has made the file anew; what was displaced then stays in the store. */
  private putBack(open: OpenRoot, folder: Folder, name: string, journal: JournalStep): boolean {
    return giveBack(open.objects, journal.id, folder, name, () => this.context.reached("old file put back"));
  }

  private drop(open: OpenRoot, journal: JournalStep): void {
    if (journal.staged !== "" && open.staging.look(journal.staged)) open.staging.remove(journal.staged);
  }

  private commit(step: Step, journal: JournalStep, displaced: StoredObject | null, print: { text: string; racy: boolean } | null): void {
    const { manifest } = this.context;
    if (displaced) manifest.addObject(displaced);
    const { entry, source } = step;
    manifest.write({ entry, source, print: print?.text ?? "", racy: print?.racy ?? false, state: State.here }, this.context.nowUs());
    manifest.finish(journal.id);
  }

  private async syncNamed(open: OpenRoot, path: string): Promise<void> {
    if (path === "") return syncFolder(open.root);
    try {
      await inFolder(open.root, `${path}/.`, (folder) => syncFolder(folder));
    } catch (error) {
      // The folder itself went meanwhile: nothing in it needs to last.
      if (errorCode(error) !== "ENOENT" && errorCode(error) !== "ENOTDIR") throw error;
    }
  }
}

/**
 * Moves what was displaced back under its name, never over anything: false where a program has made the name anew, saved over
 * what was back already, or taken its folder away; it is in the store then. A folder that a program had put under the name at
 * the last moment goes back as well. Throws ROOT_UNAVAILABLE where it can go nowhere: nothing else happens in the root then, since
 * its name is empty and would count as deleted.
 */
export function giveBack(objects: Folder, id: string, folder: Folder, name: string, named = (): void => {}): boolean {
  try {
    if (objects.look(id)?.isDirectory()) {
      // Over an empty folder at most.
      objects.moveTo(id, folder, name);
      return true;
    }
    objects.linkTo(id, folder, name);
  } catch (error) {
    const code = errorCode(error);
    if (["EEXIST", "ENOTEMPTY", "ENOTDIR", "ENOENT"].includes(code)) return false;
    if (!NO_SECOND_NAME.includes(code)) throw stuck(name, error);
    // The one that it has is moved, then. Left in the store, it would count as deleted.
    if (folder.look(name)) return false;
    try {
      objects.moveTo(id, folder, name);
    } catch (cause) {
      throw stuck(name, cause);
    }
    named();
    return true;
  }
  named();
  return unstore(objects, id);
}

function stuck(name: string, cause: unknown): unknown {
  if (isNoRoom(cause)) return cause;
  return new SyncError({
    code: "ROOT_UNAVAILABLE",
    message: `${JSON.stringify(name)} was moved into the store and cannot go back under its name: ${cause instanceof Error ? cause.message : String(cause)}`,
    action: "Nothing was lost, and nothing counts as deleted. Let the node write into that folder; it goes on by itself.",
    cause,
  });
}

/**
 * Takes the store's name from what is back under its own. False where a program has saved over that one meanwhile: the
 * store's is the last name of these bytes then, and stays; or they are stored anew.
 */
export function unstore(objects: Folder, id: string): boolean {
  let fd: number;
  try {
    fd = objects.read(id);
  } catch (error) {
    // A link, or not this user's to read: no version.
    if (errorCode(error) === "ENOENT") throw error;
    objects.remove(id);
    return true;
  }
  try {
    if (fstatSync(fd).nlink === 1) return false;
    objects.remove(id);
    const { nlink } = fstatSync(fd);
    // A program may have come between these two as well.
    if (nlink > 0) return true;
    objects.write(id, fd);
    objects.sync();
    return false;
  } finally {
    closeSync(fd);
  }
}

/** What a file in the store holds, as the manifest notes it. */
export async function storedObject(
  context: RootContext,
  open: OpenRoot,
  id: string,
  about: Pick<StoredObject, "path" | "why" | "author">,
): Promise<StoredObject> {
  const { hash, size, print, modifiedUs } = await examine(open.objects, id);
  return { ...about, id, hash, size, print, modifiedUs, storedUs: context.nowUs() };
}

/** As `inFolderOf`, for work that takes turns: the folders stay open until it is over. */
export async function inFolder<T>(
  root: Folder,
  path: string,
  work: (folder: Folder, name: string) => Promise<T>,
  make = false,
): Promise<T> {
  const components = path.split("/");
  const name = components.pop() ?? "";
  const opened: Folder[] = [];
  try {
    let folder = root;
    for (const component of components) {
      folder = make ? folder.make(component) : folder.enter(component);
      opened.push(folder);
    }
    return await work(folder, name);
  } finally {
    for (const folder of opened) folder.close();
  }
}

function lookAt(root: Folder, path: string): BigIntStats | null {
  try {
    return inFolderOf(root, path, (folder, name) => folder.look(name));
  } catch {
    // Whatever stands there is met again when the file is placed.
    return null;
  }
}

async function syncFolder(folder: Folder): Promise<void> {
  const fd = openSync(folder.at("."), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  try {
    await sync(fd);
  } finally {
    closeSync(fd);
  }
}

const folderOf = (path: string): string => path.split("/").slice(0, -1).join("/");

const isNoRoom = (error: unknown): boolean => errorCode(error) === "ENOSPC" || errorCode(error) === "EDQUOT";

function noRoom({ name, disk }: RootContext, cause: unknown): SyncError {
  return new SyncError({
    code: "DISK_FULL",
    message: `there is no room left on the disk of the root "${name}" (${disk.path})`,
    action: "Free space there. Nothing was lost; it goes on by itself.",
    cause,
  });
}

import { type BigIntStats, closeSync, constants, copyFileSync, fstatSync, fsync, fsyncSync, openSync } from "node:fs";
import { promisify } from "node:util";
import type { RootContext } from "../context.ts";
import { isRacy, printOf } from "../scan/print.ts";
import { errorCode, type Folder } from "../paths/folder.ts";
import type { StoredObject } from "../manifest/rows.ts";
import { hashOpen } from "./hash.ts";
import type { OpenRoot } from "./root-disk.ts";

const sync = promisify(fsync);

/** A program that still has a displaced file open may write into it: after this long without a write it is settled, µs. */
const SETTLED_AFTER_US = 60_000_000;

/** Hash, size and print of a file in the store or staging. */
export async function examine(folder: Folder, name: string): Promise<{ hash: string; size: number; print: string; modifiedUs: number }> {
  const fd = folder.read(name);
  try {
    const { hash, size } = await hashOpen(fd);
    const stats = fstatSync(fd, { bigint: true });
    return { hash, size, print: printOf(stats), modifiedUs: Number(stats.mtimeNs / 1000n) };
  } finally {
    closeSync(fd);
  }
}

/** A file as it was read under its own name. */
export interface ReadInPlace {
  hash: string;
  size: number;
  stats: BigIntStats;
}

/**
 * Reads a file that is about to be displaced while it still has its name. Null where a write during that could leave no trace
 * (it was written to this moment), or it cannot be read: then it is read in the store.
 */
export async function readInPlace({ diskClock }: RootContext, folder: Folder, name: string): Promise<ReadInPlace | null> {
  let fd: number;
  try {
    fd = folder.read(name);
  } catch {
    return null;
  }
  try {
    // Whoever has it mapped changes its time by the next write after this, and by no later one.
    await sync(fd);
    const stats = fstatSync(fd, { bigint: true });
    if (!stats.isFile() || isRacy(stats, diskClock.nowUs())) return null;
    return { ...(await hashOpen(fd)), stats };
  } finally {
    closeSync(fd);
  }
}

/** True where the file is the one that was read, and nobody has written to it since. `moved`: its status has changed by that alone. */
export function isAsRead({ stats }: ReadInPlace, now: BigIntStats | null, moved = false): boolean {
  const { ino, size, mtimeNs, ctimeNs } = stats;
  return now !== null && now.ino === ino && now.size === size && now.mtimeNs === mtimeNs && (moved || now.ctimeNs === ctimeNs);
}

/** A copy of a file, durable, whose bytes were read back; false when they are not those of `hash`. The source may change meanwhile. */
export async function copyVerified(from: Folder, name: string, to: Folder, newName: string, hash: string): Promise<boolean> {
  const source = from.read(name);
  try {
    copyFileSync(from.opened(source, name), to.at(newName), constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL);
  } finally {
    closeSync(source);
  }
  const fd = openSync(to.at(newName), "r");
  try {
    const copied = await hashOpen(fd);
    fsyncSync(fd);
    if (copied.hash === hash) return true;
  } finally {
    closeSync(fd);
  }
  to.remove(newName);
  return false;
}

/**
 * Looks again at what was displaced: bytes that a program wrote into it afterwards are a version of their own, and
 * become an object that the path's conflicts list. What was not written to for a minute is done with.
 */
export async function settleObjects(context: RootContext, open: OpenRoot): Promise<StoredObject[]> {
  const { manifest } = context;
  const late: StoredObject[] = [];
  for (const object of manifest.unsettledObjects()) {
    const stats = open.objects.look(object.id);
    if (!stats) continue;
    const print = printOf(stats);
    if (print !== object.print) {
      const found = await examine(open.objects, object.id);
      const changed = found.hash !== object.hash;
      const next = { ...object, hash: found.hash, size: found.size, print: found.print, why: changed ? ("late" as const) : object.why };
      manifest.transaction(() => manifest.changeObject(object.id, next));
      if (changed) late.push(next);
    } else if (context.nowUs() - object.storedUs > SETTLED_AFTER_US) {
      manifest.transaction(() => manifest.changeObject(object.id, { ...object, print: "" }));
    }
  }
  return late;
}

/**
 * A displaced file that has another name somewhere is given bytes of its own: whoever writes under that name would change
 * what is stored. True when what is stored is what it was said to be; then its print is another one.
 */
export async function unshare(open: OpenRoot, object: StoredObject, copyId: string): Promise<StoredObject> {
  const stats = open.objects.look(object.id);
  if (!stats || stats.nlink < 2n || !(await copyVerified(open.objects, object.id, open.staging, copyId, object.hash))) return object;
  open.staging.moveTo(copyId, open.objects, object.id);
  const own = open.objects.look(object.id);
  return { ...object, print: own ? printOf(own) : object.print };
}

/** As `examine`; null for a file that this user may not read. */
export async function examineReadable(folder: Folder, name: string): Promise<Awaited<ReturnType<typeof examine>> | null> {
  try {
    return await examine(folder, name);
  } catch (error) {
    if (errorCode(error) === "EACCES") return null;
    throw error;
  }
}

/**
 * What the store holds and the manifest does not know of: its path is not known any more. What the manifest knows of and the
 * store does not hold, in a copy of the root from before, has to be fetched like anything else.
 */
export async function adoptObjects(context: RootContext, open: OpenRoot): Promise<void> {
  const { manifest } = context;
  const known = manifest.objectIds();
  const names = open.objects.names();
  const there = new Set(names.map((dirent) => dirent.name.toString()));
  manifest.transaction(() => {
    for (const id of known) if (!there.has(id)) manifest.removeObject(id);
  });
  for (const dirent of names) {
    const id = dirent.name.toString();
    if (known.has(id) || !dirent.isFile()) continue;
    const found = await examineReadable(open.objects, id);
    if (!found) continue;
    manifest.transaction(() =>
      manifest.addObject({
        id,
        hash: found.hash,
        size: found.size,
        path: "",
        why: "replaced",
        author: context.nodeName,
        print: found.print,
        modifiedUs: found.modifiedUs,
        storedUs: context.nowUs(),
      }),
    );
  }
}

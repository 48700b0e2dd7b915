import { lstatSync } from "node:fs";
import type { RootContext } from "../context.ts";
import { State, type StoredObject } from "../manifest/rows.ts";
import { examineReadable } from "./objects.ts";
import type { OpenRoot } from "./root-disk.ts";
import type { Staging } from "./staging.ts";

const DAY_US = 86_400_000_000;
/** So much of the time between two of its looks counts at most, µs: it looks each hour while the node runs. */
const COUNTED_US = 7 * DAY_US;
/** What came of a file in part, and nobody went on with for so long, is fetched anew if it is ever wanted again, µs. */
const PARTIAL_KEPT_US = 24 * 3_600_000_000;

interface Amount {
  files: number;
  bytes: number;
}

export interface ForgetOptions {
  retentionDays: number;
  /** Only count. */
  dryRun: boolean;
  /** What is added to the machine's clock as others show it to be wrong, µs. */
  correctionUs: number;
}

/** What was let go of, or with a dry run would be, and what is kept although its time is over, and why. */
export interface Forgotten {
  /** Earlier versions. */
  versions: Amount;
  /** Files that came in part, of transfers that are over. */
  partial: Amount;
  /** Earlier versions displaced more recently than the retention. */
  young: number;
  /** Kept until a person decides about a conflict, or as they are wanted back in place. */
  needed: number;
  /** Kept as no other node is known to have what replaced them. */
  unacknowledged: number;
}

/**
 * Lets go of earlier versions that were displaced longer ago than the retention and that nothing needs any more: no conflict
 * is undecided about them, their path does not want them back, and another node has what replaced them. What a program
 * has written into one meanwhile is a version of its own, and stays.
 */
export async function forgetVersions(
  context: RootContext,
  open: OpenRoot,
  staging: Staging,
  { retentionDays, dryRun, correctionUs }: ForgetOptions,
): Promise<Forgotten> {
  const { manifest } = context;
  const result: Forgotten = { versions: { files: 0, bytes: 0 }, partial: { files: 0, bytes: 0 }, young: 0, needed: 0, unacknowledged: 0 };
  const undecided = new Set(manifest.withLosers().flatMap(({ losers }) => losers.filter((one) => !one.resolved).map(({ hash }) => hash)));
  const wanted = new Set([State.wanted, State.suspect].flatMap((state) => manifest.inState(state).map(({ hash }) => hash)));
  // What the clock said when they were displaced nobody can tell any more: neither time may let one go too soon.
  const nowUs = context.nowUs() + Math.min(correctionUs, 0);
  manifest.age(nowUs, COUNTED_US);
  for (const object of manifest.storedBefore(nowUs - retentionDays * DAY_US)) {
    if (undecided.has(object.hash) || wanted.has(object.hash) || object.why === "late" || object.print !== "") result.needed += 1;
    else if (!isReplacedElsewhere(context, object)) result.unacknowledged += 1;
    else if (dryRun || (await remove(context, open, object))) {
      result.versions.files += 1;
      result.versions.bytes += object.size;
    } else result.needed += 1;
  }
  result.young = manifest.storedCount().objects - result.needed - result.unacknowledged - (dryRun ? result.versions.files : 0);
  for (const dirent of open.staging.names()) {
    const name = dirent.name.toString();
    if (!dirent.isFile() || staging.isUsing(name)) continue;
    const { mtimeMs, size } = lstatSync(open.staging.at(name));
    if (mtimeMs * 1000 > context.nowUs() - PARTIAL_KEPT_US) continue;
    if (!dryRun) open.staging.remove(name);
    result.partial.files += 1;
    result.partial.bytes += size;
  }
  return result;
}

/**
 * Another node has what is known of the path now: it came from there, or some node has taken our list in up to it. Nothing
 * replaced what has left with its part of the root, also where something else has come under its name since: it is there for whoever
 * wrote it, as a node that has taken the list in may have left it alone.
 */
function isReplacedElsewhere({ manifest, nodeName }: RootContext, { path, hash, why, author }: StoredObject): boolean {
  const row = manifest.row(path);
  const isOwn = why === "left" && author === nodeName && row?.hash !== hash;
  if (row && !isOwn && (row.source !== "" || (why !== "left" && row.seq <= manifest.acknowledged))) return true;
  // The very bytes are in place here.
  return manifest.withHash(hash).length > 0;
}

/** False where the bytes are not those that were stored: then they are a version that nobody has seen, and stay. */
async function remove({ manifest }: RootContext, { objects }: OpenRoot, object: StoredObject): Promise<boolean> {
  const found = objects.look(object.id) ? await examineReadable(objects, object.id) : { hash: object.hash, size: 0, print: "" };
  if (!found) return false;
  if (found.hash !== object.hash) {
    const { hash, size, print } = found;
    manifest.transaction(() => manifest.changeObject(object.id, { hash, size, print, why: "late" }));
    return false;
  }
  manifest.transaction(() => manifest.removeObject(object.id));
  if (objects.look(object.id)) objects.remove(object.id);
  return true;
}

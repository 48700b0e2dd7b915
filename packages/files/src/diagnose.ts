import { accessSync, constants, readFileSync, type BigIntStats } from "node:fs";
import { join } from "node:path";
import { IGNORE_FILE, lengthProblem, nameProblem, OWN_ROOT, STORE_FOLDER } from "./paths/check-path.ts";
import { errorCode, Folder } from "./paths/folder.ts";
import { excludedName, IgnoreRules } from "./scan/exclusions.ts";
import { isRootLocked, rootAround } from "./store/root-lock.ts";

/** What sync would do with a folder, and what stands in the way. */
export interface RootDiagnosis {
  path: string;
  /** "attached": it is a root already; "ready"; "refused": see `problems`. */
  status: "attached" | "ready" | "refused";
  files: number;
  folders: number;
  bytes: number;
  ignored: number;
  /** A node runs on it now. */
  inUse: boolean;
  leftAlone: { path: string; reason: string }[];
  problems: { message: string; action: string }[];
}

/** Looks at a folder by names and sizes only: opens no file but the root's ignore rules, and changes nothing. */
export function diagnoseRoot(path: string, exclude: readonly string[]): RootDiagnosis {
  const found: RootDiagnosis = {
    path,
    status: "ready",
    files: 0,
    folders: 0,
    bytes: 0,
    ignored: 0,
    inUse: false,
    leftAlone: [],
    problems: [],
  };
  let root: Folder;
  try {
    root = Folder.open(path);
  } catch (error) {
    const message = `${path} cannot be opened as a folder (${errorCode(error)})`;
    return { ...found, status: "refused", problems: [{ message, action: "Check the path and its permissions." }] };
  }
  try {
    accessSync(path, constants.W_OK);
  } catch {
    found.status = "refused";
    found.problems.push({
      message: `${path} may not be written by this user`,
      action: "The store is a folder in it: give write permission.",
    });
  }
  const around = rootAround(path);
  if (around !== null) {
    found.status = "refused";
    found.problems.push({
      message: `${path} lies in the file root ${around}`,
      action: `A file belongs to one root: choose folders apart, or delete ${join(around, STORE_FOLDER)} if that is none any more.`,
    });
  }
  found.inUse = isRootLocked(path);
  const rules = new IgnoreRules(exclude, ignoreText(path));
  try {
    walk(root, "", root.dev, rules, found);
  } finally {
    root.close();
  }
  return found;
}

function walk(folder: Folder, path: string, dev: bigint, rules: IgnoreRules, found: RootDiagnosis): void {
  const dirents = folder.names();
  const siblings = new Set(dirents.map(({ name }) => name.toString()));
  for (const dirent of dirents) {
    const name = dirent.name.toString();
    if (path === "" && name === STORE_FOLDER) {
      if (found.status === "ready") found.status = "attached";
      continue;
    }
    const full = path === "" ? name : `${path}/${name}`;
    const isUtf8 = Buffer.from(name).equals(Buffer.from(dirent.name));
    const stats: BigIntStats | null = isUtf8 ? folder.look(name) : null;
    const reason = !isUtf8 ? "is not valid UTF-8" : (nameProblem(name) ?? lengthProblem(full) ?? reasonOf(name, stats, siblings, dev));
    if (reason !== null) {
      found.leftAlone.push({ path: full, reason });
    } else if (stats && rules.ignores(full, stats.isDirectory())) {
      found.ignored += 1;
    } else if (stats?.isDirectory()) {
      found.folders += 1;
      try {
        const below = folder.enter(name);
        try {
          if (below.look(STORE_FOLDER)) found.leftAlone.push({ path: full, reason: OWN_ROOT });
          else walk(below, full, dev, rules, found);
        } finally {
          below.close();
        }
      } catch (error) {
        found.leftAlone.push({ path: full, reason: `cannot be read (${errorCode(error)})` });
      }
    } else if (stats) {
      found.files += 1;
      found.bytes += Number(stats.size);
    }
  }
}

function reasonOf(name: string, stats: BigIntStats | null, siblings: ReadonlySet<string>, dev: bigint): string | null {
  if (!stats) return "went away while it was looked at";
  if (stats.isDirectory()) return stats.dev === dev ? null : "is another file system";
  if (stats.isSymbolicLink()) return "is a link; links are left alone";
  if (!stats.isFile()) return "is no regular file";
  return excludedName(name, siblings);
}

function ignoreText(path: string): string {
  try {
    return readFileSync(join(path, IGNORE_FILE), "utf8");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return "";
    throw error;
  }
}

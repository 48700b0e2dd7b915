import { createHash } from "node:crypto";
import { closeSync, readSync, statSync } from "node:fs";
import ignore, { type Ignore } from "ignore";
import { errorCode, inFolderOf, type Folder } from "../paths/folder.ts";
import type { Part } from "../paths/part.ts";

const DATABASE = /\.(db3?|sqlite3?)$/i;
/** What SQLite keeps beside a database. */
const BESIDE = /^(.+)-(wal|shm|journal)$/i;
/** What programs write before they rename it, or keep while a file is open. */
const TEMPORARY = /(\.(tmp|swp|part|partial|crdownload)|~)$|^\.~lock\..*#$/i;
const SQLITE_HEADER = "SQLite format 3\0";

/** True for a file that SQLite would open, by its first bytes. */
export function isDatabase(fd: number): boolean {
  const head = Buffer.alloc(SQLITE_HEADER.length);
  return readSync(fd, head, 0, head.length, 0) === head.length && head.toString("latin1") === SQLITE_HEADER;
}

/** Why a name is never opened or synced, whatever the rules say; null when it may be. Looks at nothing but names. */
export function excludedName(name: string, siblings: ReadonlySet<string> = new Set()): string | null {
  if (DATABASE.test(name)) return "a database is synced as rows (--db), not as a file";
  const beside = BESIDE.exec(name);
  const base = beside?.[1] ?? "";
  if (beside && (DATABASE.test(base) || (siblings.has(base) && !/journal$/i.test(name)))) return "belongs to a database";
  // Any name may be a database; one with a live write-ahead log is not opened to find out.
  if (siblings.has(`${name}-wal`) || siblings.has(`${name}-shm`)) return "a live database is synced as rows (--db), not as a file";
  if (TEMPORARY.test(name)) return "is a temporary name";
  return null;
}

/**
 * The databases of this very process, by what they are and not by name: opening and closing one would drop the locks that
 * SQLite holds on it.
 */
export class KnownDatabases {
  private readonly paths: readonly string[];
  private inodes = new Set<string>();

  constructor(paths: readonly string[]) {
    this.paths = paths.flatMap((path) => [path, `${path}-wal`, `${path}-shm`, `${path}-journal`]);
  }

  /** Looks again where they are, without opening them. */
  refresh(): void {
    const found = new Set<string>();
    for (const path of this.paths) {
      try {
        const { dev, ino } = statSync(path, { bigint: true });
        found.add(`${dev}:${ino}`);
      } catch (error) {
        if (errorCode(error) !== "ENOENT") throw error;
      }
    }
    this.inodes = found;
  }

  has({ dev, ino }: { dev: bigint; ino: bigint }): boolean {
    return this.inodes.has(`${dev}:${ino}`);
  }
}

/**
 * What a root leaves alone: gitignore patterns of the configuration, then those of the root's own file; and what is outside of
 * the part that the node is limited to.
 */
export class IgnoreRules {
  /** Changes when what is left alone may have changed. */
  readonly print: string;
  private readonly rules: Ignore | null;
  private readonly part: Part | null;

  constructor(configured: readonly string[], file: string, part: Part | null = null) {
    this.part = part;
    const lines = [...configured, ...file.split(/\r?\n/)].filter((line) => line.trim() !== "" && !line.startsWith("#"));
    this.print = createHash("sha256").update(lines.join("\n")).digest("hex");
    this.rules = lines.length === 0 ? null : ignore({ ignorecase: false }).add(lines);
  }

  ignores(path: string, isFolder: boolean): boolean {
    return this.part?.leavesOut(path) === true || (this.rules !== null && this.rules.ignores(isFolder ? `${path}/` : path));
  }
}

/**
 * True for what SQLite keeps beside a database that is here, whatever that is called: put beside another server's database of
 * that name, a journal would be rolled back into it. A live database is not opened to find out.
 */
export function belongsToDatabase(root: Folder, databases: KnownDatabases, path: string): boolean {
  const base = BESIDE.exec(path)?.[1];
  if (base === undefined || base.endsWith("/")) return false;
  try {
    return inFolderOf(root, base, (folder, name) => {
      const stats = folder.look(name);
      if (!stats?.isFile()) return false;
      if (databases.has(stats) || folder.look(`${name}-wal`) !== null || folder.look(`${name}-shm`) !== null) return true;
      const fd = folder.read(name);
      try {
        return isDatabase(fd);
      } finally {
        closeSync(fd);
      }
    });
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "ELOOP"].includes(errorCode(error))) return false;
    // Nobody can say what it is.
    if (errorCode(error) === "EACCES" || errorCode(error) === "EPERM") return true;
    throw error;
  }
}

import { SyncError, toPlainError, type FileEntry, type FileRefusal } from "@scoutsync/core";
import type { RootContext } from "../context.ts";
import { State } from "../manifest/rows.ts";
import { checkPath } from "../paths/check-path.ts";
import { inFolderOf, type Folder } from "../paths/folder.ts";
import type { Part } from "../paths/part.ts";
import { excludedName } from "../scan/exclusions.ts";
import type { Remark } from "../scan/report.ts";

/** So many files that are too large are remembered by name. */
const MOST_TOO_LARGE = 1_000;

/** What other nodes say, judged before anything is looked up by it: refused, left alone here, or to be taken in. */
export class Claims {
  private readonly context: RootContext;
  /** What others have of which this node takes none, as far as it has heard. */
  readonly tooLarge = new Map<string, Remark>();
  /** What has been refused and is not written down yet. */
  private readonly refusals: string[] = [];

  constructor(context: RootContext) {
    this.context = context;
    for (const remark of JSON.parse(context.manifest.get("too_large") ?? "[]") as Remark[]) this.tooLarge.set(remark.path, remark);
  }

  /** The entries to take in, what is refused of the others, and how many are left alone. */
  judge(entries: readonly FileEntry[]): { sound: FileEntry[]; refused: FileRefusal[]; leftAlone: number } {
    const refused: FileRefusal[] = [];
    const allowed = entries.filter((entry) => this.isAllowed(entry, refused));
    const sound = allowed.filter((entry) => !this.isLeftAlone(entry));
    this.noteTooLarge();
    return { sound, refused, leftAlone: allowed.length - sound.length };
  }

  /** Something that was tried is to be written down. */
  refuse(what: string): void {
    this.refusals.push(what);
  }

  /** What others have and this node takes none of, in words; "" where there is nothing. */
  tooLargeText(): string {
    const [first] = this.tooLarge.values();
    if (!first) return "";
    const more = this.tooLarge.size > 1 ? ` (and ${this.tooLarge.size - 1} more)` : "";
    return `${JSON.stringify(first.path)} ${first.reason}${more}`;
  }

  /** Checked as text. */
  private isAllowed(entry: FileEntry, refused: FileRefusal[]): boolean {
    const { manifest } = this.context;
    try {
      checkPath(entry.path);
      checkEntry(entry);
      if (manifest.part) checkPart(manifest.part, entry);
    } catch (error) {
      const { code, message } = toPlainError(error);
      this.refusals.push(message);
      // Who lost a folder a moment ago hears of it in its next session: its list is not to count as taken in until then.
      refused.push({ path: entry.path.slice(0, 200), code, message, retry: code === "FORBIDDEN" });
      return false;
    }
    return true;
  }

  private isLeftAlone({ path, kind, size }: FileEntry): boolean {
    const { rules, limits, manifest } = this.context;
    const components = path.split("/");
    const name = components.at(-1) ?? "";
    if (kind !== "folder" && excludedName(name) !== null) return true;
    for (let depth = 1; depth < components.length; depth++) if (rules.ignores(components.slice(0, depth).join("/"), true)) return true;
    if (rules.ignores(path, kind === "folder") || (kind === "gone" && rules.ignores(path, true))) return true;
    if (size > limits.maxSizeBytes) {
      const reason = `has ${size} bytes at another node, more than the ${limits.maxSizeBytes} that are synced`;
      this.tooLarge.set(path, { path, kind: "size", reason });
      return true;
    }
    this.tooLarge.delete(path);
    return manifest.row(path)?.state === State.ignored;
  }

  /** What is refused of an offer is written down once for all of it, and told from there. */
  note(peer: string): void {
    const what = this.refusals.splice(0);
    const { manifest } = this.context;
    if (what.length > 0) manifest.transaction(() => manifest.refuse(peer, what, this.context.nowUs()));
  }

  /** Remembered over a restart: others list it once only. */
  private noteTooLarge(): void {
    const { manifest } = this.context;
    const text = JSON.stringify([...this.tooLarge.values()].slice(0, MOST_TOO_LARGE));
    if (text !== (manifest.get("too_large") ?? "[]")) manifest.transaction(() => manifest.set("too_large", text));
  }
}

/** The first link on the way to a path, or at it; null where there is none (any more). */
export function linkOnTheWayTo(root: Folder, path: string): string | null {
  const components = path.split("/");
  for (let depth = 1; depth <= components.length; depth++) {
    const part = components.slice(0, depth).join("/");
    try {
      if (inFolderOf(root, part, (folder, name) => folder.look(name))?.isSymbolicLink()) return part;
    } catch {
      // Swapped once more meanwhile: it is met again when the entry is listed again.
      return null;
    }
  }
  return null;
}

/** Throws FORBIDDEN. Folders on the way to the part may be told of. */
function checkPart(part: Part, { path, kind }: FileEntry): void {
  if (part.has(path) || (kind !== "file" && part.leadsTo(path))) return;
  throw new SyncError({
    code: "FORBIDDEN",
    message: `${JSON.stringify(path.slice(0, 200))} is outside of the folders that the scope has of this root`,
    action: "Nothing was touched. Put the file below one of the folders of the scope, or have the scope say more.",
  });
}

function checkEntry({ kind, hash, size, mode, path, losers }: FileEntry): void {
  const isHash = (text: string) => /^[0-9a-f]{64}$/.test(text);
  const sound =
    (kind === "file" ? isHash(hash) && Number.isSafeInteger(size) && size >= 0 : (kind === "folder" || kind === "gone") && hash === "") &&
    Number.isInteger(mode) &&
    mode >= 0 &&
    mode <= 7 &&
    losers.every((loser) => isHash(loser.hash) && Number.isSafeInteger(loser.size) && loser.size >= 0);
  if (sound) return;
  throw new SyncError({
    code: "INVALID_ARGUMENT",
    message: `the entry for ${JSON.stringify(path)} is not one of a file, a folder or a deletion`,
    action: "Nothing was touched. Look at the node that it came from.",
  });
}

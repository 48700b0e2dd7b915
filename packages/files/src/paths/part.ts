import { SyncError } from "@scoutsync/core";
import { checkPath } from "./check-path.ts";

/**
 * The part of a root that a node is limited to: what lies below these folders. Prefixes end with a slash, so that `545/` is
 * not the beginning of `5454/`; "" is all of the root, and no prefix at all is nothing of it.
 */
export class Part {
  readonly prefixes: readonly string[];

  /** Throws INVALID_ARGUMENT for what is no prefix. */
  constructor(prefixes: readonly string[]) {
    for (const prefix of prefixes) checkPrefix(prefix);
    this.prefixes = [...new Set(prefixes)].sort();
  }

  /** True for what lies below one of the folders; the folders themselves do not. */
  has(path: string): boolean {
    return this.prefixes.some((prefix) => path.startsWith(prefix));
  }

  /** True for one of the folders, and for those above them: there they are, and no more is known of them. */
  leadsTo(path: string): boolean {
    return this.prefixes.some((prefix) => prefix.startsWith(`${path}/`));
  }

  /** Neither in the part nor on the way to it. */
  leavesOut(path: string): boolean {
    return !this.has(path) && !this.leadsTo(path);
  }
}

function checkPrefix(prefix: string): void {
  if (prefix === "") return;
  if (prefix.endsWith("/")) return checkPath(prefix.slice(0, -1));
  throw new SyncError({
    code: "INVALID_ARGUMENT",
    message: `${JSON.stringify(prefix.slice(0, 200))} is no folder of a root: its name would be the beginning of others`,
    action: "Write folders with a slash at the end, for example `5454/`.",
  });
}

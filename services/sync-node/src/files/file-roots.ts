import { SyncError } from "@scoutsync/core";
import type { FileRoot } from "@scoutsync/files";

/** The file roots this node serves, by the names the fleet knows them by. */
export class FileRoots {
  readonly #roots = new Map<string, FileRoot>();
  readonly #looks = new Map<string, () => Promise<unknown>>();
  readonly #nodeName: string;

  constructor(nodeName: string) {
    this.#nodeName = nodeName;
  }

  /** `look` is how a fresh look at it is taken, where that is more than looking at its own folder. */
  add(root: FileRoot, look: () => Promise<unknown> = () => root.scan({ confirm: true })): void {
    this.#roots.set(root.name, root);
    this.#looks.set(root.name, look);
  }

  /** Has a root of these know what is in its folder now. Throws as a scan. */
  async look({ name }: FileRoot): Promise<void> {
    await this.#looks.get(name)?.();
  }

  all(): FileRoot[] {
    return [...this.#roots.values()];
  }

  /** Throws ROOT_NOT_FOUND, naming those there are. */
  get(name: string): FileRoot {
    const found = this.#roots.get(name);
    if (found) return found;
    const names = [...this.#roots.keys()].join(", ");
    throw new SyncError({
      code: "ROOT_NOT_FOUND",
      message: `node "${this.#nodeName}" has no file root "${name.slice(0, 100)}"`,
      action: names === "" ? "Start it with --files ROOT=DIR." : `Use one of: ${names}.`,
    });
  }

  /** All of them for "". */
  select(name: string): FileRoot[] {
    return name === "" ? this.all() : [this.get(name)];
  }
}

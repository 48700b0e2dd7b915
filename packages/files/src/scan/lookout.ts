import { watch, type FSWatcher } from "node:fs";
import { join } from "node:path";

/** What an application writes in one go is looked at in one go, milliseconds. */
const SETTLE_MS = 150;
/** Kernel watches are few; folders beyond these are seen by the next look at everything. */
const MAX_WATCHES = 8_192;

export interface LookoutOptions {
  /** The root's folder. */
  path: string;
  /** Looks at everything this often, give or take a quarter, milliseconds. */
  everyMs: number;
  /** The folders to watch, "" for the root itself. */
  folders(): Iterable<string>;
  /** Looks at these folders, or at everything. */
  look(folders?: readonly string[]): Promise<unknown>;
}

/**
 * Keeps looking at a root. What the kernel says of changes is a hint, since it drops some when there are many: it only
 * makes a look come sooner, and a look at everything comes regularly.
 */
export class Lookout {
  private readonly options: LookoutOptions;
  private readonly watchers = new Map<string, FSWatcher>();
  private readonly dirty = new Set<string>();
  private soon: NodeJS.Timeout | null = null;
  private regular: NodeJS.Timeout | null = null;
  private isLooking = false;
  private isOver = false;

  constructor(options: LookoutOptions) {
    this.options = options;
  }

  start(): void {
    void this.lookAt();
  }

  stop(): void {
    this.isOver = true;
    for (const timer of [this.soon, this.regular]) if (timer) clearTimeout(timer);
    for (const watcher of this.watchers.values()) watcher.close();
    this.watchers.clear();
  }

  /** Never throws: what stands in the way of a look is part of the root's state, and the next one tries again. */
  private async lookAt(folders?: readonly string[]): Promise<void> {
    if (this.isOver) return;
    if (!folders) this.lookLater();
    if (this.isLooking) return;
    this.isLooking = true;
    try {
      await this.options.look(folders);
      this.follow();
    } catch {
      // In the root's state.
    } finally {
      this.isLooking = false;
    }
    if (this.dirty.size > 0) this.hint(null);
  }

  /** The next look at everything, whatever becomes of this one. */
  private lookLater(): void {
    const { everyMs } = this.options;
    if (this.regular) clearTimeout(this.regular);
    this.regular = setTimeout(() => void this.lookAt(), everyMs * (0.75 + Math.random() / 2));
    this.regular.unref();
  }

  private hint(folder: string | null): void {
    if (folder !== null) this.dirty.add(folder);
    if (this.isOver || this.soon) return;
    this.soon = setTimeout(() => {
      this.soon = null;
      // Else the look under way asks again when it is over.
      if (this.isLooking) return;
      const folders = [...this.dirty];
      this.dirty.clear();
      void this.lookAt(folders);
    }, SETTLE_MS);
    this.soon.unref();
  }

  /** Watches the folders there are now. */
  private follow(): void {
    const wanted = new Set<string>();
    for (const folder of this.options.folders()) {
      if (wanted.size >= MAX_WATCHES) break;
      wanted.add(folder);
    }
    for (const [folder, watcher] of this.watchers) {
      if (wanted.has(folder)) continue;
      watcher.close();
      this.watchers.delete(folder);
    }
    for (const folder of wanted) {
      if (this.watchers.has(folder)) continue;
      try {
        const watcher = watch(join(this.options.path, folder), { persistent: false }, () => this.hint(folder));
        watcher.on("error", () => {
          watcher.close();
          this.watchers.delete(folder);
        });
        this.watchers.set(folder, watcher);
        // What happened between the look and the watch had no hint.
        this.dirty.add(folder);
      } catch {
        // Gone already, or no watches left: the next look at everything sees it.
      }
    }
  }
}

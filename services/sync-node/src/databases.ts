import { mkdtempSync, rmSync, statfsSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type NodeName, SyncError } from "@scoutsync/core";
import type { Replica } from "@scoutsync/replica";
import { Acquaintances, Namesakes, Receipts, type SessionDatabase } from "@scoutsync/session";

/** The databases this node serves, by the names the fleet knows them by. */
export class Databases {
  readonly #databases = new Map<string, SessionDatabase>();
  readonly #nodeName: string;
  readonly #openers = new Map<string, (path: string) => Promise<Replica>>();
  readonly #failed: (database: string, error: unknown) => void;
  readonly #namesakes: (database: string, node: NodeName, isSelf: boolean) => void;

  /** `failed` hears of receipts that could not be stored, `namesakes` of nodes, this one too, whose identity several run under. */
  constructor(
    nodeName: string,
    failed: (database: string, error: unknown) => void = () => {},
    namesakes: (database: string, node: NodeName, isSelf: boolean) => void = () => {},
  ) {
    this.#nodeName = nodeName;
    this.#failed = failed;
    this.#namesakes = namesakes;
  }

  /** `openCopy` opens a copy of its file as a replica to try something on. */
  add(replica: Replica, openCopy: (path: string) => Promise<Replica>): void {
    this.#openers.set(replica.name, openCopy);
    const receipts = new Receipts(
      (node, vector) => replica.acknowledge(node, vector),
      (error) => this.#failed(replica.name, error),
    );
    const namesakes = new Namesakes(
      () => ({ id: replica.node.id, run: replica.run }),
      (node, isSelf) => this.#namesakes(replica.name, node, isSelf),
    );
    this.#databases.set(replica.name, { replica, acquaintances: new Acquaintances(receipts, namesakes) });
  }

  /** Lends a copy of a database, gone afterwards. Throws DISK_FULL where there is no room for one. */
  async withCopy<T>(name: string, work: (copy: Replica) => Promise<T>): Promise<T> {
    const { replica } = this.get(name);
    const folder = mkdtempSync(join(tmpdir(), "scoutsync-copy-"));
    try {
      const { size } = statSync(replica.path);
      const { bavail, bsize } = statfsSync(folder);
      // The copy, and what is fetched into it.
      if (bavail * bsize < 2 * size) {
        throw new SyncError({
          code: "DISK_FULL",
          message: `a copy of "${name}" (${Math.ceil(size / 2 ** 20)} MiB) and what is fetched into it have no room in ${tmpdir()}`,
          action: "Make room there, or name another folder with the environment variable TMPDIR.",
        });
      }
      const path = join(folder, "copy.db");
      await replica.copyTo(path);
      const copy = await (this.#openers.get(name) as (path: string) => Promise<Replica>)(path);
      try {
        return await work(copy);
      } finally {
        await copy.close();
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }

  all(): SessionDatabase[] {
    return [...this.#databases.values()];
  }

  /** Throws DATABASE_NOT_FOUND, naming those there are. */
  get(name: string): SessionDatabase {
    const found = this.#databases.get(name);
    if (found) return found;
    const names = [...this.#databases.keys()].join(", ");
    throw new SyncError({
      code: "DATABASE_NOT_FOUND",
      message: `node "${this.#nodeName}" has no database "${name}"`,
      action: names === "" ? "Start it with --db NAME=PATH." : `Use one of: ${names}.`,
    });
  }

  /** All of them when no name is given. Throws DATABASE_NOT_FOUND. */
  select(names: readonly string[]): SessionDatabase[] {
    return names.length === 0 ? this.all() : [...new Set(names)].map((name) => this.get(name));
  }
}

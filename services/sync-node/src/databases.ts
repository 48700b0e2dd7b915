import { SyncError } from "@scoutsync/core";
import type { Replica } from "@scoutsync/replica";
import { Acquaintances, Receipts, type SessionDatabase } from "@scoutsync/session";

/** The databases this node serves, by the names the fleet knows them by. */
export class Databases {
  readonly #databases = new Map<string, SessionDatabase>();
  readonly #nodeName: string;
  readonly #failed: (database: string, error: unknown) => void;

  /** `failed` hears of receipts that could not be stored. */
  constructor(nodeName: string, failed: (database: string, error: unknown) => void = () => {}) {
    this.#nodeName = nodeName;
    this.#failed = failed;
  }

  add(replica: Replica): void {
    const receipts = new Receipts(
      (node, vector) => replica.acknowledge(node, vector),
      (error) => this.#failed(replica.name, error),
    );
    this.#databases.set(replica.name, { replica, acquaintances: new Acquaintances(receipts) });
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

import type { NodeName, VersionVector } from "@scoutsync/core";

/** In live mode vectors are told many times a second; what is stored of them follows at this distance, milliseconds. */
const STORE_AFTER_MS = 1_000;

/** Where what a node said it has is kept. */
export type StoreReceipt = (node: NodeName, vector: VersionVector) => Promise<void>;

/**
 * What nodes say they have, on its way into the database: the last word of each, at most once a second. A word that
 * could not be stored is dropped, and told to `failed`: the next contact says it again.
 */
export class Receipts {
  readonly #store: StoreReceipt;
  readonly #failed: (error: unknown) => void;
  readonly #told = new Map<string, { node: NodeName; vector: VersionVector }>();
  #timer: NodeJS.Timeout | null = null;
  #storing: Promise<void> = Promise.resolve();

  constructor(store: StoreReceipt, failed: (error: unknown) => void = () => {}) {
    this.#store = store;
    this.#failed = failed;
  }

  /** The node has everything up to `vector`, durably. */
  note(node: NodeName, vector: VersionVector): void {
    this.#told.set(node.id, { node, vector });
    this.#timer ??= setTimeout(() => void this.settle(), STORE_AFTER_MS).unref();
  }

  /** Resolves when everything noted so far is stored. Never throws. */
  settle(): Promise<void> {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    this.#storing = this.#storing.then(() => this.#storeAll());
    return this.#storing;
  }

  async #storeAll(): Promise<void> {
    const told = [...this.#told.values()];
    this.#told.clear();
    for (const { node, vector } of told) {
      try {
        await this.#store(node, vector);
      } catch (error) {
        this.#failed(error);
      }
    }
  }
}

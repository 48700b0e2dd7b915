import { equalVectors, type NodeName, SyncError, type VersionVector } from "@scoutsync/core";

/** In live mode vectors are told many times a second; what is stored of them follows at this distance, milliseconds. */
const STORE_AFTER_MS = 1_000;
/** What could not be stored just now is tried again at this distance, milliseconds. */
const AGAIN_AFTER_MS = 10_000;
/** Nodes whose last word is remembered; that of one more is taken for news when it says the same again. */
const MOST_REMEMBERED = 1_000;

interface Word {
  node: NodeName;
  vector: VersionVector;
}

/** Where what a node said it has is kept. */
export type StoreReceipt = (node: NodeName, vector: VersionVector) => Promise<void>;

/**
 * What nodes say they have, on its way into the database: the last word of each, at most once a second. A word that
 * could not be stored is told to `failed`, and tried again where that may help, as a node that has nothing new says nothing again.
 * One that comes when the database is closed is let go of.
 */
export class Receipts {
  readonly #store: StoreReceipt;
  readonly #failed: (error: unknown) => void;
  readonly #told = new Map<string, Word>();
  /** The word of each node that is stored, or is being stored now. */
  readonly #last = new Map<string, Word>();
  #timer: NodeJS.Timeout | null = null;
  #storing: Promise<void> = Promise.resolve();
  /** As `#storing`, as far as a word was news. */
  #storingNews: Promise<void> = Promise.resolve();

  constructor(store: StoreReceipt, failed: (error: unknown) => void = () => {}) {
    this.#store = store;
    this.#failed = failed;
  }

  /** The node has everything up to `vector`, durably. */
  note(node: NodeName, vector: VersionVector): void {
    this.#told.set(node.id, { node, vector });
    this.#storeAfter(STORE_AFTER_MS);
  }

  #storeAfter(ms: number): void {
    this.#timer ??= setTimeout(() => void this.settle(), ms).unref();
  }

  /**
   * Resolves when everything noted so far is stored. Never throws. What a node only says again is handed on as well, as it
   * may have been retired since, but nobody waits for that.
   */
  settle(): Promise<void> {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    const told = [...this.#told.values()];
    this.#told.clear();
    const isNews = told.filter((word) => this.#isNews(word)).length > 0;
    this.#storing = this.#storing.then(() => this.#storeAll(told));
    if (isNews) this.#storingNews = this.#storing;
    return this.#storingNews;
  }

  /** Remembers the word, too. */
  #isNews(word: Word): boolean {
    const { node, vector } = word;
    const last = this.#last.get(node.id);
    if (last?.node.name === node.name && equalVectors(last.vector, vector)) return false;
    this.#last.delete(node.id);
    this.#last.set(node.id, word);
    if (this.#last.size > MOST_REMEMBERED) this.#last.delete(this.#last.keys().next().value ?? "");
    return true;
  }

  async #storeAll(told: readonly Word[]): Promise<void> {
    for (const word of told) {
      try {
        await this.#store(word.node, word.vector);
      } catch (error) {
        // The database is closed, as a node that stops does in the middle of what others say: they say it again to its next run.
        if (error instanceof SyncError && error.code === "SHUTTING_DOWN") return;
        this.#failed(error);
        this.#tryAgain(word, error instanceof SyncError && error.retryable);
      }
    }
  }

  /** Forgets a word that was not stored, or keeps it for another try; where the node has said another one since, that counts. */
  #tryAgain(word: Word, mayHelp: boolean): void {
    const { id } = word.node;
    const last = this.#last.get(id);
    if (last && !equalVectors(last.vector, word.vector)) return;
    this.#last.delete(id);
    if (!mayHelp || this.#told.has(id)) return;
    this.#told.set(id, word);
    this.#storeAfter(AGAIN_AFTER_MS);
  }
}

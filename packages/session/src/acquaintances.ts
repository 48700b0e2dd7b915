import { EMPTY_VECTOR, join, type NodeName, type VersionVector } from "@scoutsync/core";
import type { Namesakes, Word } from "./namesakes.ts";
import { Receipts } from "./receipts.ts";

/** Runs are forgotten beyond this many, oldest first: forgetting one costs an echo, never a change. */
const MAX_RUNS = 1_000;

interface Acquaintance {
  vector: VersionVector;
  followers: number;
}

/**
 * What one database here knows of the runs it is in touch with: what each of them certainly has, so that it is not sent
 * back to them, and whether they follow this database, so that nothing needs to be pushed to them. A run is known by its
 * node, too, which has shown who it is: what another node says under its run must not keep anything from it.
 */
export class Acquaintances {
  readonly #runs = new Map<string, Acquaintance>();
  readonly #listeners = new Set<() => void>();

  /** What nodes said they have, on its way into the database. */
  readonly receipts: Receipts;

  readonly #namesakes: Namesakes | null;

  constructor(receipts = new Receipts(async () => {}), namesakes: Namesakes | null = null) {
    this.receipts = receipts;
    this.#namesakes = namesakes;
  }

  /** The run, of this node, has everything up to `vector`: it said so, or its own final batch did, as `word` has it. */
  learn(run: string, vector: VersionVector, node?: NodeName | null, word: Word = "own"): void {
    if (node) this.receipts.note(node, this.#namesakes?.heard(node, run, vector, word) ?? vector);
    if (run === "") return;
    const known = this.#meet(keyOf(run, node));
    known.vector = join(known.vector, vector);
  }

  /** What the run of that node certainly has. */
  known(run: string, node: NodeName | null): VersionVector {
    return this.#runs.get(keyOf(run, node))?.vector ?? EMPTY_VECTOR;
  }

  /** The run of that node has opened a stream that follows this database. Returns what to call when that stream is over. */
  follow(run: string, node: NodeName | null): () => void {
    if (run === "") return () => {};
    const key = keyOf(run, node);
    this.#meet(key).followers += 1;
    this.#notify();
    let over = false;
    return () => {
      if (over) return;
      over = true;
      this.#meet(key).followers -= 1;
      this.#notify();
    };
  }

  follows(run: string, node: NodeName | null): boolean {
    return (this.#runs.get(keyOf(run, node))?.followers ?? 0) > 0;
  }

  /** Calls back when a run begins or ceases to follow; returns how to stop. */
  onFollow(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #meet(key: string): Acquaintance {
    const known = this.#runs.get(key) ?? { vector: EMPTY_VECTOR, followers: 0 };
    this.#runs.delete(key);
    this.#runs.set(key, known);
    if (this.#runs.size > MAX_RUNS) {
      for (const [oldest, { followers }] of this.#runs) {
        if (followers > 0) continue;
        this.#runs.delete(oldest);
        break;
      }
    }
    return known;
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }
}

const keyOf = (run: string, node: NodeName | null | undefined): string => `${node?.id ?? ""}/${run}`;

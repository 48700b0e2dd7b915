import { inBoth, join, type NodeName, type VersionVector } from "@scoutsync/core";

/** A run that was followed by another one and speaks again, so often: both go on. Once may be a word that was on its way. */
const RETURNS = 2;
/** What a run last said is kept for this long, milliseconds: a day, for nodes that meet by the hour. */
const REMEMBERED_MS = 24 * 60 * 60 * 1_000;
/** Runs of one node that are told apart, and nodes whose runs are. The oldest go. */
const MOST_RUNS = 16;
const MOST_NODES = 1_000;

/**
 * How it is known what a run has: it says so itself, now; an answer says so that does not tell of which run it is, and is taken for the one that was last
 * known where it came from; or a file says what it had once.
 */
export type Word = "own" | "answer" | "file";

interface Run {
  vector: VersionVector;
  heardMs: number;
  /** Its own last word was the node's so many-th. */
  word: number;
  /** How often it spoke after one that was first heard later. */
  returns: number;
}

interface Runs {
  /** In the order in which they were first heard. */
  readonly heard: Map<string, Run>;
  words: number;
  /** Those that count, once several are known to go on; else empty. */
  counting: Set<string>;
  /** So many are known to go on at once. */
  several: number;
}

/**
 * Replicas of one database that say they are one node, as after a machine was copied with the node's data directory. A restart
 * or a restored backup replaces a run by another for good; two machines take turns. Then the node has only what all of them have.
 * Remembered by this process only: after its restart the turns are seen anew.
 */
export class Namesakes {
  readonly #self: () => { id: string; run: string };
  readonly #found: (node: NodeName, isSelf: boolean) => void;
  readonly #now: () => number;
  readonly #nodes = new Map<string, Runs>();
  #metSelf = false;

  /** `self` is the node here and its run. `found` is told of each node once, until it is one again. */
  constructor(
    self: () => { id: string; run: string },
    found: (node: NodeName, isSelf: boolean) => void,
    now: () => number = () => performance.now(),
  ) {
    this.#self = self;
    this.#found = found;
    this.#now = now;
  }

  /** A run of the node has everything up to `vector`; returns what the node has, all its replicas. */
  heard(node: NodeName, run: string, vector: VersionVector, word: Word): VersionVector {
    if (run === "") return vector;
    const self = this.#self();
    const isOwnWord = word === "own";
    if (isOwnWord && node.id === self.id && run !== self.run && !this.#metSelf) {
      this.#metSelf = true;
      this.#found(node, true);
    }
    const runs = this.#meet(node.id);
    this.#forget(runs);
    const isOne = runs.counting.size === 0;
    if (word === "file") return this.#filed(runs, run, vector);
    this.#note(runs, run, vector, isOwnWord);
    if (runs.counting.size === 0) return vector;
    if (isOne) this.#found(node, false);
    return hadByAll(runs);
  }

  /**
   * A file may be older than what its run said since, and of a run that another one has followed, which may have less: of a backup that was put
   * back. What nobody has said anything of here has what the file says.
   */
  #filed(runs: Runs, run: string, vector: VersionVector): VersionVector {
    const newest = [...runs.heard].at(-1);
    if (!newest) return vector;
    const [latest, said] = newest;
    if (run === latest) said.vector = join(said.vector, vector);
    return runs.counting.size > 0 ? hadByAll(runs) : said.vector;
  }

  #meet(id: string): Runs {
    const runs = this.#nodes.get(id) ?? { heard: new Map<string, Run>(), words: 0, counting: new Set<string>(), several: 0 };
    this.#nodes.delete(id);
    this.#nodes.set(id, runs);
    if (this.#nodes.size > MOST_NODES) this.#nodes.delete(this.#nodes.keys().next().value as string);
    return runs;
  }

  #note(runs: Runs, run: string, vector: VersionVector, isOwnWord: boolean): void {
    const { heard, counting } = runs;
    const known = heard.get(run);
    if (!known && !isOwnWord) return;
    const said = { vector, heardMs: this.#now(), word: known?.word ?? 0, returns: known?.returns ?? 0 };
    heard.set(run, said);
    if (!isOwnWord) return;
    said.word = ++runs.words;
    if (!known) {
      // It is one of those from before, started anew, or one more: the turns that are taken from here on tell which.
      for (const each of heard.values()) each.returns = 0;
      if (counting.size > 0) counting.add(run);
      return;
    }
    const order = [...heard];
    const later = order.slice(order.findIndex(([each]) => each === run) + 1);
    if (!later.some(([, { word }]) => word > known.word)) return;
    said.returns += 1;
    const newest = order.at(-1)?.[0];
    const goOn = order.filter(([each, { returns }]) => each === newest || returns >= RETURNS).map(([each]) => each);
    if (goOn.length < 2) return;
    if (goOn.length >= runs.several) runs.counting = new Set(goOn);
    else for (const each of goOn) counting.add(each);
    runs.several = Math.max(runs.several, goOn.length);
  }

  /** Lets go of those that have been silent for long: what is left may be one node again. */
  #forget(runs: Runs): void {
    const { heard, counting } = runs;
    const untilMs = this.#now() - REMEMBERED_MS;
    for (const [run, { heardMs }] of heard) {
      if (heardMs >= untilMs && heard.size <= MOST_RUNS) continue;
      heard.delete(run);
      counting.delete(run);
    }
    if (counting.size < 2) counting.clear();
    runs.several = Math.min(runs.several, counting.size);
  }
}

/** What all have that count. */
const hadByAll = ({ counting, heard }: Runs): VersionVector => [...counting].map((run) => (heard.get(run) as Run).vector).reduce(inBoth);

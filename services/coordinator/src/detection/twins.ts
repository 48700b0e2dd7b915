/** A process that was replaced by another one and speaks again, so often: they take turns, so both run. */
const TURNS = 2;
/** Nothing more of the other one for this long, and it runs no more. Several heartbeats, milliseconds. */
const REMEMBERED_MS = 60_000;
/** Runs of one node that are told apart. */
const MOST_RUNS = 16;

/**
 * Processes that say they are one node. A restart replaces a run by another for good; a machine that was copied with the data
 * directory of its node makes two that take turns, of which only the one that registered last can be dialled.
 */
export class Runs {
  /** Each with the address that it registered with, empty where it was not said, the latest to speak last. */
  readonly #heard = new Map<string, string>();
  #registered: string | null = null;
  #turns = 0;
  #lastTurnMs = 0;

  /** A process spoke. `address` is what it registered with; null in a heartbeat. */
  spoke(run: string, address: string | null, nowMs: number): void {
    if (run === "") return;
    if (address !== null) this.#registered = run;
    const known = this.#heard.get(run);
    if (known !== undefined && run !== [...this.#heard.keys()].at(-1)) {
      this.#turns = nowMs - this.#lastTurnMs > REMEMBERED_MS ? 1 : this.#turns + 1;
      this.#lastTurnMs = nowMs;
    }
    this.#heard.delete(run);
    this.#heard.set(run, address ?? known ?? "");
    const [oldest] = this.#heard.keys();
    if (this.#heard.size > MOST_RUNS && oldest !== undefined) this.#heard.delete(oldest);
  }

  /** Where the two that take turns are, as far as they said; null while there is only one. */
  twins(nowMs: number): readonly string[] | null {
    if (this.#turns < TURNS || nowMs - this.#lastTurnMs > REMEMBERED_MS) return null;
    const addresses = [...this.#heard.values()].slice(-2).filter((address) => address !== "");
    return [...new Set(addresses)].sort();
  }

  /** True when another process registered after this one: what is known of the node's address is of that one. */
  isReplaced(run: string): boolean {
    return run !== "" && this.#registered !== null && this.#registered !== run;
  }
}

import type { CellValue } from "./bytes.ts";

/**
 * One write to a register. `origin` and `context` are local numbers of an origin and of a vector;
 * (origin, sequence) is the write's dot, `time` its timestamp in Unix microseconds.
 */
export interface Write {
  origin: number;
  sequence: number;
  time: number;
  context: number;
}

/** A write together with the value it wrote. Winners of rows in a table leave the value to the table. */
export interface ValuedWrite extends Write {
  value: CellValue | undefined;
}

/** What the rule has to know about numbers that stand for origins and contexts. */
export interface Causality {
  /** Origins in the order that all replicas agree on: negative when `a` comes first. */
  compareOrigins(a: number, b: number): number;
  /** True when the vector numbered `context` contains the dot. */
  contextCovers(context: number, origin: number, sequence: number): boolean;
  /**
   * The origin whose changes this one holds again, under the same sequences; undefined for most. See `knew`.
   */
  sourceOf(origin: number): number | undefined;
}

/** The order of concurrent writes: (timestamp, origin, sequence). A write that was issued again keeps its place. */
export function compareWrites(a: Write, b: Write, causality: Causality): number {
  return a.time - b.time || causality.compareOrigins(rootOf(a.origin, causality), rootOf(b.origin, causality)) || a.sequence - b.sequence;
}

/** The origin under which a change of this one was made first. */
export function rootOf(origin: number, causality: Causality): number {
  let root = origin;
  for (let source = causality.sourceOf(root); source !== undefined; source = causality.sourceOf(root)) root = source;
  return root;
}

/** One order of all dots, in which a change that was issued again comes after the one it was issued from. */
export function compareDots(
  a: { origin: number; sequence: number },
  b: { origin: number; sequence: number },
  causality: Causality,
): number {
  const order = generation(a.origin, causality) - generation(b.origin, causality);
  return order || causality.compareOrigins(a.origin, b.origin) || a.sequence - b.sequence;
}

/**
 * True when the author of `later` knew the dot. An author knows everything it wrote before.
 *
 * What an origin left behind that ended for good is issued again under another: the same write with another name. Its
 * author knew what the first one's author knew, and that one; and whoever knew a write by one name knew it by the other.
 */
export function knew(later: Write, origin: number, sequence: number, causality: Causality): boolean {
  for (let named: number | undefined = origin; named !== undefined; named = causality.sourceOf(named)) {
    if (later.origin === named && sequence < later.sequence) return true;
    if (causality.contextCovers(later.context, named, sequence)) return true;
    for (let source = causality.sourceOf(later.origin); source !== undefined; source = causality.sourceOf(source)) {
      if (source === named && sequence <= later.sequence) return true;
    }
  }
  return false;
}

/** How often a write of this origin has been issued again. */
function generation(origin: number, causality: Causality): number {
  let generations = 0;
  for (let source = causality.sourceOf(origin); source !== undefined; source = causality.sourceOf(source)) generations++;
  return generations;
}

/** True when `write` makes `other` superfluous. Two copies of one write know each other: the later copy stays. */
function replaces(write: Write, other: Write, causality: Causality): boolean {
  if (!knew(write, other.origin, other.sequence, causality)) return false;
  if (!knew(other, write.origin, write.sequence, causality)) return true;
  return compareDots(write, other, causality) > 0;
}

export function concurrent(a: Write, b: Write, causality: Causality): boolean {
  return !knew(a, b.origin, b.sequence, causality) && !knew(b, a.origin, a.sequence, causality);
}

/** The winner among writes none of which knew another. */
export function winnerOf<W extends Write>(writes: readonly W[], causality: Causality): W | undefined {
  let best = writes[0];
  for (const write of writes) if (best && compareWrites(write, best, causality) > 0) best = write;
  return best;
}

/**
 * Merges one write into a register: the writes that nobody who wrote later knew. Commutative, associative, idempotent.
 * Returns the same array when nothing changes.
 */
export function mergeWrite<W extends Write>(register: readonly W[], write: W, causality: Causality): readonly W[] {
  for (const held of register) {
    if (held.origin === write.origin && held.sequence === write.sequence) return register;
    if (replaces(held, write, causality)) return register;
  }
  const kept = register.filter((held) => !replaces(write, held, causality));
  kept.push(write);
  return kept;
}

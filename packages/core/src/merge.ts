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
}

/** The order of concurrent writes: (timestamp, origin, sequence). */
export function compareWrites(a: Write, b: Write, causality: Causality): number {
  return a.time - b.time || causality.compareOrigins(a.origin, b.origin) || a.sequence - b.sequence;
}

/** True when the author of `later` knew the dot. An author knows everything it wrote before. */
export function knew(later: Write, origin: number, sequence: number, causality: Causality): boolean {
  if (later.origin === origin && sequence < later.sequence) return true;
  return causality.contextCovers(later.context, origin, sequence);
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
    if (knew(held, write.origin, write.sequence, causality)) return register;
  }
  const kept = register.filter((held) => !knew(write, held.origin, held.sequence, causality));
  kept.push(write);
  return kept;
}

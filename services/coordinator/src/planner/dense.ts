import { EMPTY_VECTOR, type Origin, type VersionVector } from "@scoutsync/core";

/** Below this, going through the entries is as fast as anything. */
const DENSE_FROM_ORIGINS = 16;
/** A numbering of this many times the origins of its largest vector has mostly origins that nobody has any more. */
const STALE_NUMBERING = 4;
const STALE_AT_LEAST = 1_024;

/**
 * The origins of one database, numbered. In a large fleet every vector has an entry per node and each is compared with
 * many others: over one numbering they are plain arrays, and a comparison costs a microsecond instead of fifty.
 */
interface Numbering {
  readonly numbers: Map<Origin, number>;
  /** The other way round. */
  readonly origins: Origin[];
  readonly arrays: WeakMap<VersionVector, Float64Array>;
  largest: number;
}

const numberings = new Map<string, Numbering>();

function numberingOf(database: string): Numbering {
  const known = numberings.get(database);
  if (known !== undefined && known.numbers.size <= STALE_NUMBERING * known.largest + STALE_AT_LEAST) return known;
  const fresh: Numbering = { numbers: new Map(), origins: [], arrays: new WeakMap(), largest: 0 };
  numberings.set(database, fresh);
  return fresh;
}

/** The vector as an array by number; what is beyond its end stands at 0. */
function arrayOf(numbering: Numbering, vector: VersionVector): Float64Array {
  const known = numbering.arrays.get(vector);
  if (known !== undefined) return known;
  const { numbers, origins } = numbering;
  let length = 0;
  for (const origin of vector.keys()) {
    let number = numbers.get(origin);
    if (number === undefined) {
      number = origins.push(origin) - 1;
      numbers.set(origin, number);
    }
    length = Math.max(length, number + 1);
  }
  const array = new Float64Array(length);
  for (const [origin, sequence] of vector) array[numbers.get(origin) as number] = sequence;
  numbering.largest = Math.max(numbering.largest, vector.size);
  numbering.arrays.set(vector, array);
  return array;
}

/** How much `offered` holds beyond `have`, in sequence numbers. Vectors must not be changed once they were given here. */
export function beyond(database: string, have: VersionVector, offered: VersionVector): number {
  if (offered === have) return 0;
  let sum = 0;
  if (offered.size < DENSE_FROM_ORIGINS) {
    for (const [origin, sequence] of offered) sum += Math.max(0, sequence - (have.get(origin) ?? 0));
    return sum;
  }
  const numbering = numberingOf(database);
  const more = arrayOf(numbering, offered);
  const less = arrayOf(numbering, have);
  const shared = Math.min(more.length, less.length);
  for (let at = 0; at < shared; at++) {
    const difference = (more[at] as number) - (less[at] as number);
    if (difference > 0) sum += difference;
  }
  for (let at = shared; at < more.length; at++) sum += more[at] as number;
  return sum;
}

/** The least vector that contains all of these: one of them itself where it does. */
export function joinAll(database: string, vectors: ReadonlySet<VersionVector>): VersionVector {
  let largest: VersionVector = EMPTY_VECTOR;
  for (const vector of vectors) if (total(vector) >= total(largest)) largest = vector;
  const others = [...vectors].filter((vector) => beyond(database, largest, vector) > 0);
  if (others.length === 0) return largest;
  const numbering = numberingOf(database);
  const arrays = [largest, ...others].map((vector) => arrayOf(numbering, vector));
  const joined = new Float64Array(numbering.origins.length);
  for (const array of arrays) {
    for (let at = 0; at < array.length; at++) if ((array[at] as number) > (joined[at] as number)) joined[at] = array[at] as number;
  }
  const vector = new Map<Origin, number>();
  for (let at = 0; at < joined.length; at++)
    if ((joined[at] as number) > 0) vector.set(numbering.origins[at] as Origin, joined[at] as number);
  return vector;
}

const totals = new WeakMap<VersionVector, number>();

/** The sum of a vector's sequences: of two vectors the one that lacks less of their union has the larger one. */
export function total(vector: VersionVector): number {
  let sum = totals.get(vector);
  if (sum === undefined) {
    sum = 0;
    for (const sequence of vector.values()) sum += sequence;
    totals.set(vector, sum);
  }
  return sum;
}

import { SyncError } from "./errors.ts";

/** 16 lower-case base32 characters (80 random bits) naming one run of one replica. */
export type Origin = string & { readonly __brand?: "Origin" };

/**
 * Per origin, the sequence up to which everything is known and nothing beyond is missing.
 * An origin that is not in the map stands at 0. Sequences are integers below 2^53.
 */
export type VersionVector = ReadonlyMap<Origin, number>;

export const EMPTY_VECTOR: VersionVector = new Map();

const ENTRY = /^([a-z2-7]{16}):(\d{1,16})$/;

/** True when `vector` contains the dot (origin, sequence). */
export function covers(vector: VersionVector, origin: Origin, sequence: number): boolean {
  return (vector.get(origin) ?? 0) >= sequence;
}

/** The least vector that contains both. */
export function join(a: VersionVector, b: VersionVector): VersionVector {
  if (a.size === 0) return b;
  const joined = new Map(a);
  for (const [origin, sequence] of b) if (sequence > (joined.get(origin) ?? 0)) joined.set(origin, sequence);
  return joined;
}

/** The greatest vector that both contain. */
export function inBoth(a: VersionVector, b: VersionVector): VersionVector {
  return new Map([...a].map(([origin, sequence]) => [origin, Math.min(sequence, b.get(origin) ?? 0)]));
}

/** True when everything in `a` is in `b`. */
export function isCovered(a: VersionVector, b: VersionVector): boolean {
  for (const [origin, sequence] of a) if (sequence > (b.get(origin) ?? 0)) return false;
  return true;
}

export function equalVectors(a: VersionVector, b: VersionVector): boolean {
  return isCovered(a, b) && isCovered(b, a);
}

/** `origin:sequence` joined by commas, origins in order: what `ping` prints and `--since` takes. */
export function formatVector(vector: VersionVector): string {
  return [...vector]
    .filter(([, sequence]) => sequence > 0)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([origin, sequence]) => `${origin}:${sequence}`)
    .join(",");
}

/** The inverse of `formatVector`. Throws INVALID_ARGUMENT on anything else. */
export function parseVector(text: string): VersionVector {
  const vector = new Map<Origin, number>();
  for (const part of text.split(",").map((piece) => piece.trim())) {
    if (part === "") continue;
    const match = ENTRY.exec(part);
    const sequence = Number(match?.[2]);
    if (!match || !Number.isSafeInteger(sequence)) {
      throw new SyncError({
        code: "INVALID_ARGUMENT",
        message: `"${part.slice(0, 60)}" is not a version vector entry`,
        action: "Use origin:sequence entries joined by commas, as `scoutsync ping` prints them.",
      });
    }
    const origin = match[1] as Origin;
    vector.set(origin, Math.max(sequence, vector.get(origin) ?? 0));
  }
  return vector;
}

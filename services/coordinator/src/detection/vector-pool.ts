import { formatVector, parseVector, type VersionVector } from "@scoutsync/core";

interface Standing {
  readonly text: string;
  readonly vector: VersionVector;
  holders: number;
}

/**
 * One object per standing, however many nodes are at it: what is equal is then the same object, which is most of what
 * a large fleet ever asks, and a text of thirty kilobytes is read once instead of a thousand times.
 */
export class VectorPool {
  readonly #standings = new Map<string, Standing>();

  /** The standing that `text` names. Give it back with `release` when nobody is there any more. */
  take(text: string): { readonly text: string; readonly vector: VersionVector } {
    let standing = this.#standings.get(text);
    if (standing === undefined) {
      standing = { text, vector: readVector(text), holders: 0 };
      this.#standings.set(text, standing);
    }
    standing.holders++;
    return standing;
  }

  release(text: string): void {
    const standing = this.#standings.get(text);
    if (standing === undefined) return;
    standing.holders--;
    if (standing.holders === 0) this.#standings.delete(text);
  }
}

const texts = new WeakMap<VersionVector, string>();

/** `formatVector`, remembered: sorting a thousand origins takes a millisecond. The vector must not be changed. */
export function textOf(vector: VersionVector): string {
  let text = texts.get(vector);
  if (text === undefined) {
    text = formatVector(vector);
    texts.set(vector, text);
  }
  return text;
}

/** A vector that cannot be read counts as empty: a session then finds out what the node really has. */
function readVector(text: string): VersionVector {
  try {
    return parseVector(text);
  } catch {
    return new Map();
  }
}

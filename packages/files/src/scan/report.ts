/** Something in a root that is left alone, and why. */
export interface Remark {
  path: string;
  /** "more" stands for those that are not named. */
  kind: "excluded" | "name" | "kind" | "mount" | "unreadable" | "size" | "case" | "way" | "more";
  reason: string;
}

/** Named at most: whoever sees this many does not read on. */
const MOST_NAMED = 1_000;

/** As many as are named, and how many more there are. */
export function inBrief(remarks: readonly Remark[]): Remark[] {
  const more = remarks.length - MOST_NAMED;
  return more <= 0 ? [...remarks] : [...remarks.slice(0, MOST_NAMED), { path: "", kind: "more", reason: `and ${more} more` }];
}

/** What one look at a root found. */
export interface ScanReport {
  /** Entries written: new, changed and gone. */
  changed: number;
  /** Missing, but not yet for long enough, or held by the brake. */
  missing: number;
  /** Files whose bytes were read. */
  hashed: number;
  /** Being written to while it was read: looked at again next time. */
  busy: number;
}

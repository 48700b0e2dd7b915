/** Something in a root that is left alone, and why. */
export interface Remark {
  path: string;
  /** "database", "name", "kind", "mount", "unreadable", "size", "way" */
  kind: "excluded" | "name" | "kind" | "mount" | "unreadable" | "size" | "case" | "way";
  reason: string;
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

/** What writers were told is committed: values by row marker and column, with the values each write replaced knowingly. */
export class Ledger {
  /** Markers of all rows, with their table. */
  readonly rows = new Map<string, string>();
  readonly deleted = new Set<string>();
  /** Deleted rows that may live all the same: somebody wrote to them, or to a row below them, who did not know of the delete. */
  readonly mayLive = new Set<string>();
  /** Deleted rows that may be back, once: a copy that nobody who deleted them had met has them from before it was attached. */
  readonly mayReturn = new Set<string>();
  /** marker.column -> value -> values that the writer saw. */
  readonly writes = new Map<string, Map<string, Set<string>>>();
  readonly parents = new Map<string, string>();
  /** marker.column=value that some copy had before it was attached: it stays beside a write that knew it on another copy only. */
  readonly before = new Set<string>();

  /** Increments of a row's counter. */
  readonly hits = new Map<string, number>();
  /** Elements of a row's set: every one is added once only, and gone when somebody removed it. */
  readonly tags = new Map<string, Set<string>>();
  readonly removed = new Set<string>();

  counted(marker: string, by: number, seen: readonly string[], tags: readonly string[]): void {
    this.hits.set(marker, (this.hits.get(marker) ?? 0) + by);
    const all = this.tags.get(marker) ?? new Set();
    for (const tag of tags) all.add(tag);
    this.tags.set(marker, all);
    for (const tag of seen) if (!tags.includes(tag)) this.removed.add(tag);
    this.noteApart(marker);
  }

  /** A deleted row may live, and what it hangs on. */
  lives(marker: string): void {
    this.mayLive.add(marker);
    const parent = this.parents.get(marker);
    if (parent !== undefined) this.lives(parent);
  }

  /** A deleted row may be back, and what it hangs on. */
  returns(marker: string): void {
    this.mayReturn.add(marker);
    const parent = this.parents.get(marker);
    if (parent !== undefined) this.returns(parent);
  }

  wrote(marker: string, column: string, value: string, saw: readonly string[]): void {
    const cell = `${marker}.${column}`;
    let values = this.writes.get(cell);
    if (!values) this.writes.set(cell, (values = new Map()));
    values.set(value, new Set(saw));
    this.noteApart(marker);
  }

  /** Somebody wrote to a row that is deleted, or to one below it. */
  private noteApart(marker: string): void {
    if (this.deleted.has(marker)) this.lives(marker);
    const parent = this.parents.get(marker);
    if (parent !== undefined && this.deleted.has(parent)) this.lives(parent);
  }

  /** Values that no later write knew. */
  maximal(cell: string): string[] {
    const values = this.writes.get(cell) ?? new Map<string, Set<string>>();
    const known = new Set<string>();
    const open = [...values.values()].flatMap((saw) => [...saw]);
    for (let value = open.pop(); value !== undefined; value = open.pop()) {
      if (known.has(value)) continue;
      known.add(value);
      open.push(...(values.get(value) ?? []));
    }
    return [...values.keys()].filter((value) => !known.has(value)).sort();
  }
}

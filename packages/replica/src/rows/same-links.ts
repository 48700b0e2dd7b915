import type { Database, Statement } from "better-sqlite3";

/** Names a surrogate row: the dot that created it, in local numbers. */
export interface Identity {
  origin: number;
  sequence: number;
}

/** Which rows are decided to be one: the facts that rows carry, found from both ends. */
export class SameLinks {
  private readonly db: Database;
  private readonly find: Statement;
  private readonly put: Statement;
  private readonly drop: Statement;
  private readonly mark: Statement;
  /** Whether there is any link; null = not looked yet. */
  private some: boolean | null = null;

  constructor(db: Database) {
    this.db = db;
    this.find = db.prepare("SELECT other_oid, other_sequence FROM _scoutsync_same WHERE oid = ? AND sequence = ?").raw(true);
    this.put = db.prepare(
      "INSERT INTO _scoutsync_same(oid, sequence, other_oid, other_sequence) VALUES(?, ?, ?, ?) ON CONFLICT DO NOTHING",
    );
    this.drop = db.prepare("DELETE FROM _scoutsync_same WHERE oid = ? AND sequence = ? AND other_oid = ? AND other_sequence = ?");
    this.mark = db.prepare(
      "UPDATE _scoutsync_same SET due = ? WHERE oid = ? AND sequence = ? AND other_oid = ? AND other_sequence = ? AND due <> ?",
    );
  }

  /** Call after a rollback: what was remembered may not be so. */
  forget(): void {
    this.some = null;
  }

  /** False while no two rows are one, or were until they are arranged: then nothing of this has to be looked at. */
  get exist(): boolean {
    if (this.some !== null) return this.some;
    const linked = this.db.prepare("SELECT 1 FROM _scoutsync_same LIMIT 1").get();
    const joined = this.db.prepare("SELECT 1 FROM _scoutsync_out INDEXED BY _scoutsync_out_joined WHERE state = 3 LIMIT 1").get();
    return (this.some = linked !== undefined || joined !== undefined);
  }

  /** True when this row is decided to be one with another, whether or not that one is here. */
  names(identity: Identity): boolean {
    return this.exist && this.find.get(identity.origin, identity.sequence) !== undefined;
  }

  /** The rows that this one is directly decided to be one with. */
  of({ origin, sequence }: Identity): Identity[] {
    return (this.find.all(origin, sequence) as [number, number][]).map(([oid, number]) => ({ origin: oid, sequence: number }));
  }

  /** Takes up a fact, from both ends. */
  set(a: Identity, b: Identity, apart: boolean): void {
    for (const [one, other] of [
      [a, b],
      [b, a],
    ] as const)
      (apart ? this.drop : this.put).run(one.origin, one.sequence, other.origin, other.sequence);
    if (!apart) this.some = true;
  }

  /** All rows that are decided to be one with another. */
  get named(): Identity[] {
    if (!this.exist) return [];
    const rows = this.db.prepare("SELECT DISTINCT oid, sequence FROM _scoutsync_same").raw(true).all() as [number, number][];
    return rows.map(([origin, sequence]) => ({ origin, sequence }));
  }

  /** A row goes with everything there is to it. */
  leave(identity: Identity): void {
    if (!this.exist) return;
    for (const other of this.of(identity)) this.set(identity, other, true);
  }

  /** Forgets every link: rows that are stored again bring theirs. */
  clear(): void {
    this.db.exec("DELETE FROM _scoutsync_same");
  }

  /** Notes whether two rows that are one by decision have come to differ, so that somebody has to say that they are two. */
  setDue(a: Identity, b: Identity, due: boolean): void {
    const value = due ? 1 : 0;
    this.mark.run(value, a.origin, a.sequence, b.origin, b.sequence, value);
  }

  /** Pairs that have come to differ. */
  get due(): [Identity, Identity][] {
    if (!this.exist) return [];
    const rows = this.db.prepare("SELECT oid, sequence, other_oid, other_sequence FROM _scoutsync_same WHERE due = 1").raw(true).all();
    return (rows as [number, number, number, number][]).map(([oid, sequence, other, otherSequence]) => [
      { origin: oid, sequence },
      { origin: other, sequence: otherSequence },
    ]);
  }
}

import type { Database } from "better-sqlite3";
import type { Identity } from "./same-links.ts";

/** Stands where a column's number would: the whole row. */
const WHOLE_ROW = 0;

/** Something about a row of this node, named by the dot of its birth, that a person may want to know. */
export interface Notice {
  birth: Identity;
  atUs: number;
  /**
   * What the row refers to: column, integer as it was written, and the other row that may be meant; null where that is not known. Null: the
   * row lives on as a new one.
   */
  refers: { cid: number; id: bigint; meant: Identity | null } | null;
}

type Stored = [
  oid: bigint,
  sequence: bigint,
  cid: bigint,
  id: bigint | null,
  meantOid: bigint | null,
  meantSequence: bigint | null,
  at: bigint,
];

/** What this node notes for a person about rows that may not be those that somebody means. Nobody else is told. */
export class Notices {
  private readonly db: Database;

  constructor(db: Database) {
    this.db = db;
  }

  /** The row lives on as a new one: others had deleted and forgotten it when this database joined again. */
  reborn(birth: Identity, atUs: number): void {
    this.put(birth, WHOLE_ROW, null, null, atUs);
  }

  /** The row was written here to refer to an integer by which another row than the one that it names now may be meant. */
  refers(birth: Identity, { cid, id, meant }: { cid: number; id: bigint; meant: Identity | null }, atUs: number): void {
    this.put(birth, cid, id, meant, atUs);
  }

  private put({ origin, sequence }: Identity, cid: number, id: bigint | null, meant: Identity | null, atUs: number): void {
    this.db
      .prepare(
        "INSERT INTO _scoutsync_notice(oid, sequence, cid, id, meant_oid, meant_sequence, at) VALUES(?, ?, ?, ?, ?, ?, ?) ON CONFLICT(oid, sequence, cid) " +
          "DO UPDATE SET id = excluded.id, meant_oid = excluded.meant_oid, meant_sequence = excluded.meant_sequence, at = excluded.at",
      )
      .run(origin, sequence, cid, id, meant?.origin ?? null, meant?.sequence ?? null, atUs);
  }

  /** All of them, oldest first. */
  all(): Notice[] {
    const stored = this.db
      .prepare("SELECT oid, sequence, cid, id, meant_oid, meant_sequence, at FROM _scoutsync_notice ORDER BY at, oid, sequence, cid")
      .safeIntegers(true)
      .raw(true)
      .all() as Stored[];
    return stored.map(([oid, sequence, cid, id, meantOid, meantSequence, at]) => ({
      birth: { origin: Number(oid), sequence: Number(sequence) },
      atUs: Number(at),
      refers:
        id === null
          ? null
          : {
              cid: Number(cid),
              id,
              meant: meantOid === null || meantSequence === null ? null : { origin: Number(meantOid), sequence: Number(meantSequence) },
            },
    }));
  }

  forget({ birth, refers }: Pick<Notice, "birth"> & { refers: { cid: number } | null }): void {
    this.db
      .prepare("DELETE FROM _scoutsync_notice WHERE oid = ? AND sequence = ? AND cid = ?")
      .run(birth.origin, birth.sequence, refers?.cid ?? WHOLE_ROW);
  }
}

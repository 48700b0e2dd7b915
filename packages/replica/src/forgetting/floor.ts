import type { Database } from "better-sqlite3";
import { formatVector, isCovered, parseVector, SyncError, type VersionVector } from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";

/** What a batch says of its sender. */
interface FromSender {
  run: string;
  final: boolean;
  vector: VersionVector;
  floor?: VersionVector;
}

/**
 * The vector below which deleted rows may have been forgotten here. Between two replicas of which one does not have all
 * that the other has forgotten, vectors say nothing: a row that one holds may be new, or deleted and forgotten.
 */
export class Floor {
  private readonly db: Database;
  private readonly knowledge: Knowledge;
  private entries = new Map<number, number>();

  constructor(options: { db: Database; knowledge: Knowledge }) {
    this.db = options.db;
    this.knowledge = options.knowledge;
    this.reload();
  }

  /** Reads again what is stored: after a rollback. */
  reload(): void {
    const rows = this.db.prepare("SELECT oid, sequence FROM _scoutsync_floor").all() as { oid: number; sequence: number }[];
    this.entries = new Map(rows.map(({ oid, sequence }) => [oid, sequence]));
  }

  get vector(): VersionVector {
    return new Map([...this.entries].map(([oid, sequence]) => [this.knowledge.nameOf(oid), sequence]));
  }

  /** True when what this dot did may have been forgotten here. */
  covers(oid: number, sequence: number): boolean {
    return (this.entries.get(oid) ?? 0) >= sequence;
  }

  /** Raises it to cover a dot, in the transaction that forgets what the dot did. */
  raise(oid: number, sequence: number): void {
    if (this.covers(oid, sequence)) return;
    this.entries.set(oid, sequence);
    this.db
      .prepare("INSERT INTO _scoutsync_floor(oid, sequence) VALUES(?, ?) ON CONFLICT(oid) DO UPDATE SET sequence = excluded.sequence")
      .run(oid, sequence);
  }

  /** Before a batch is applied. Throws REJOIN_NEEDED, or PEER_BEHIND where it is the sender that has to join again. */
  check(batch: FromSender): void {
    const { vector } = this.knowledge;
    const floor = batch.floor ?? new Map<string, number>();
    if (!isCovered(floor, vector) && !this.isFilling(batch, floor, vector)) {
      throw rejoinNeeded("the peer has forgotten rows that were deleted while this node was away");
    }
    // What is here already changes nothing, as an old bundle.
    if (batch.final && !isCovered(this.vector, batch.vector) && !isCovered(batch.vector, vector)) {
      // Whoever sends compares first, so that nothing did. An import by an older version does not.
      const cameBefore = this.db.prepare("SELECT 1 FROM _scoutsync_position WHERE run = ?").get(batch.run) !== undefined;
      throw new SyncError({
        code: "PEER_BEHIND",
        message: "the sender was away for so long that rows deleted meanwhile have been forgotten here",
        action:
          (cameBefore
            ? "The end of this stream was not applied; what came before stays, rows that had been deleted maybe among it: `scoutsync verify` with another node finds those. "
            : "Nothing was applied. ") +
          "The next session that the sender runs itself joins it again; nothing that is new there is lost. " +
          "Where it is gone and this is a bundle with all that it held (exported without --since and --for): start a new node on a database with the same tables, empty, import the bundle there, and have that one run a session.",
      });
    }
  }

  /**
   * A replica with nothing takes what one stream brings, as long as nothing more is forgotten while it runs: in the end
   * it holds what the server does. What other streams brought could have been forgotten since.
   */
  private isFilling(batch: FromSender, floor: VersionVector, vector: VersionVector): boolean {
    if (vector.size > 0) return false;
    if (this.db.prepare("SELECT 1 FROM _scoutsync_position WHERE run <> ?").get(batch.run) !== undefined) return false;
    const text = this.db.prepare("SELECT floor FROM _scoutsync_stream WHERE run = ?").pluck().get(batch.run) as string | undefined;
    if (text !== undefined) return isCovered(floor, parseVector(text));
    if (this.db.prepare("SELECT 1 FROM _scoutsync_log LIMIT 1").get() !== undefined) return false;
    if (!batch.final) this.db.prepare("INSERT INTO _scoutsync_stream(run, floor) VALUES(?, ?)").run(batch.run, formatVector(floor));
    return true;
  }

  /**
   * A stream has ended. A replica that was filled or joined again by it never had what is forgotten there, and takes the
   * floor over. Any other one still has the deletes itself: what a peer says was forgotten is not its own to say, and whoever
   * lacks it is told of them here.
   */
  ended(batch: FromSender, isFilled: boolean): void {
    this.db.prepare("DELETE FROM _scoutsync_stream WHERE run = ?").run(batch.run);
    if (!batch.floor || !isFilled) return;
    for (const [origin, sequence] of batch.floor) this.raise(this.knowledge.origin(origin, ""), sequence);
  }
}

export function rejoinNeeded(why: string): SyncError {
  return new SyncError({
    code: "REJOIN_NEEDED",
    message: why,
    action:
      "Nothing was applied. The next session that this node runs with a peer compares everything and joins it again: what is new here is kept.",
  });
}

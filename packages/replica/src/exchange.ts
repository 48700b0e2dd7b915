import type { Database } from "better-sqlite3";
import {
  type ApplyResult,
  type ChangeBatch,
  checkTerms,
  equalVectors,
  formatTerms,
  isComparable,
  MalformedBytes,
  ownedMemory,
  SyncError,
  type Terms,
} from "@scoutsync/core";
import { type Applier } from "./apply/apply.ts";
import { NeverMade } from "./apply/never-made.ts";
import { unpackBatch } from "./apply/payload.ts";
import type { Joining } from "./apply/joining.ts";
import type { Silence } from "./capture/silence.ts";
import type { DigestSums } from "./digest/digest-sums.ts";
import type { Rejoin } from "./forgetting/rejoin.ts";
import type { Knowledge } from "./identity/knowledge.ts";
import { CACHE_KIB } from "./identity/open.ts";
import type { Restored } from "./identity/restored.ts";
import type { SameFile } from "./identity/same-file.ts";
import type { LogReader } from "./log/read.ts";
import type { ReadRequest, ReplicaOptions } from "./replica.ts";
import type { SchemaFollower } from "./schema/follow.ts";
import type { ReplicaClock } from "./time/replica-clock.ts";
import type { Turns } from "./turns.ts";

/** A batch larger than this is mostly one value, of which SQLite holds two copies: the cache makes room, bytes. */
const LARGE_BATCH = 32 * 1024 * 1024;
const CACHE_BESIDE_LARGE_KIB = 4 * 1024;

/** A run gives up its origin no more often than this: whoever makes up its changes must not have every vector grow. */
const GIVE_UP_INTERVAL_US = 3_600_000_000;

interface Parts {
  db: Database;
  options: Pick<ReplicaOptions, "name" | "trial">;
  terms: Terms;
  nowUs: () => number;
  file: SameFile;
  knowledge: Knowledge;
  digest: DigestSums;
  clock: ReplicaClock;
  restored: Restored;
  reader: LogReader;
  applier: Applier;
  joining: Joining;
  rejoining: Rejoin;
  silence: Silence;
  follower: SchemaFollower;
  turns: Turns;
}

/** What a replica gives to others and takes from them, batch by batch. */
export class Exchange {
  private readonly db: Parts["db"];
  private readonly options: Parts["options"];
  private readonly terms: Parts["terms"];
  private readonly nowUs: Parts["nowUs"];
  private readonly file: Parts["file"];
  private readonly knowledge: Parts["knowledge"];
  private readonly digest: Parts["digest"];
  private readonly clock: Parts["clock"];
  private readonly restored: Parts["restored"];
  private readonly reader: Parts["reader"];
  private readonly applier: Parts["applier"];
  private readonly joining: Parts["joining"];
  private readonly rejoining: Parts["rejoining"];
  private readonly silence: Parts["silence"];
  private readonly follower: Parts["follower"];
  private readonly turns: Parts["turns"];
  private gaveUpAtUs: number | null = null;

  constructor(parts: Parts) {
    this.db = parts.db;
    this.options = parts.options;
    this.terms = parts.terms;
    this.nowUs = parts.nowUs;
    this.file = parts.file;
    this.knowledge = parts.knowledge;
    this.digest = parts.digest;
    this.clock = parts.clock;
    this.restored = parts.restored;
    this.reader = parts.reader;
    this.applier = parts.applier;
    this.joining = parts.joining;
    this.rejoining = parts.rejoining;
    this.silence = parts.silence;
    this.follower = parts.follower;
    this.turns = parts.turns;
  }

  read(request: ReadRequest): ChangeBatch {
    this.file.check();
    if (this.knowledge.neverMade(request.from)) this.giveUpOrigin();
    if (!this.restored.isKnown && this.restored.isOutlived(request.from))
      this.noteRestored("another node has more of its changes than it has itself");
    this.restored.check();
    return this.turns.snapshot(() => this.reader.read(request));
  }

  apply(batch: ChangeBatch): ApplyResult {
    if (batch.payloadSize <= LARGE_BATCH) return this.applyBatch(batch);
    this.db.pragma(`cache_size = -${CACHE_BESIDE_LARGE_KIB}`);
    this.db.pragma("shrink_memory");
    try {
      return this.applyBatch(batch);
    } finally {
      this.db.pragma(`cache_size = -${CACHE_KIB}`);
    }
  }

  private applyBatch(batch: ChangeBatch): ApplyResult {
    try {
      return this.applyOnce(batch);
    } catch (error) {
      if (!(error instanceof NeverMade) || !this.giveUpOrigin()) throw error;
      return { ...this.applyOnce(batch), originGivenUp: true };
    }
  }

  /**
   * Others have changes of this run that it never made: its machine was put back to an earlier moment while it ran, or
   * somebody made them up. Either way nothing may be written under this origin any more: others would take it for known.
   * What it wrote under it and others lack shows in the digests, and is merged row by row. False when that was done a
   * short while ago.
   */
  private giveUpOrigin(): boolean {
    const nowUs = this.nowUs();
    if (this.gaveUpAtUs !== null && nowUs - this.gaveUpAtUs < GIVE_UP_INTERVAL_US) return false;
    this.turns.drain();
    this.turns.write(() => {
      this.knowledge.renew();
      this.clock.restart();
    });
    this.gaveUpAtUs = nowUs;
    if (!this.restored.isKnown) this.noteRestored("another node has changes of this run that it never made");
    return true;
  }

  private applyOnce(batch: ChangeBatch): ApplyResult {
    const unpacked = unpackBatch(batch);
    try {
      return this.applyUnpacked(batch, unpacked);
    } finally {
      // What was unpacked of the next batch would be there beside it until the collector comes by.
      if (unpacked && batch.codec !== "identity") ownedMemory(unpacked)?.transfer(0);
    }
  }

  private applyUnpacked(batch: ChangeBatch, unpacked: Buffer | null): ApplyResult {
    this.turns.drain();
    this.meet(batch.baseline, batch.count > 0);
    if (batch.count > 0 && !this.options.trial) this.joining.checkNames(batch.baseline);
    // What was committed since is drained under the integers as they are before anything moves.
    const applied = this.turns.write(
      () => {
        const whole =
          batch.payloadSize <= LARGE_BATCH ? <T>(work: () => T) => work() : <T>(work: () => T) => this.silence.withoutCapture(work);
        return whole(() =>
          this.turns.silently(() => {
            checkTerms(this.options.name, formatTerms(this.terms), batch.terms ?? "");
            try {
              const done = this.applier.apply(batch, unpacked);
              return { ...done, pulled: batch.final ? this.restored.pulled() : null };
            } catch (error) {
              if (!(error instanceof MalformedBytes)) throw error;
              throw new SyncError({
                code: "BATCH_CORRUPT",
                message: `a batch cannot be read: ${error.message}`,
                action: "Nothing of it was applied; it is asked for again.",
                cause: error,
              });
            }
          }),
        );
      },
      () => this.follower.makeRoomFor(unpacked) || this.turns.catchUp(),
    );
    applied.pulled?.keep();
    if (applied.rejoined) this.rejoining.end();
    this.turns.unsettled = !applied.settled;
    this.turns.settle();
    const { vector } = this.knowledge;
    const { digest } = this.digest;
    // Digests say something only where neither side holds anything beyond its vector.
    const comparable =
      batch.final &&
      equalVectors(vector, batch.vector) &&
      batch.beyondDigest.length === 0 &&
      this.turns.snapshot(() => this.reader.beyondDigest()).length === 0 &&
      this.hasSchemaOf(batch);
    const verified = comparable ? Buffer.compare(digest, batch.digest) === 0 : null;
    const { received, conflicts, parked } = applied;
    const { rejoined } = applied;
    return { received, applied: applied.applied, conflicts, parked, vector, digest, verified, ...(rejoined && { rejoined }) };
  }

  /** False where digests are of different tables or columns. The first version does not say: then nothing may be held here. */
  private hasSchemaOf(batch: ChangeBatch): boolean {
    if (batch.schema !== "") return isComparable(batch.schema, this.reader.schemaPrint());
    return this.db.prepare("SELECT 1 FROM _scoutsync_lacking LIMIT 1").get() === undefined;
  }

  /**
   * Takes note of what another replica says of rows from before syncing, before anything is exchanged with it. Rows of
   * copies that are joined as shared get their common names here. `filling`: its rows are about to come. Throws
   * BASELINE_CHOICE when a person has to say whether the rows are the same, SCOPE_OTHER_SERVER when the rows
   * of both sides belong to different copies of scopes.
   */
  meet(statement: string, filling = false): void {
    if (!this.joining.plan(statement, filling)) return;
    this.turns.write(() => {
      const plan = this.joining.plan(statement, filling);
      if (plan) this.turns.silently(() => this.joining.carryOut(plan));
    });
    this.turns.decideWaiting();
  }

  noteRestored(why: string): void {
    this.turns.write(() => this.restored.note(why)).keep();
  }
}

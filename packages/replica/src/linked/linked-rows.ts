import { hash } from "node:crypto";
import type { Database } from "better-sqlite3";
import { Ref, SyncError } from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import type { Identity } from "../rows/same-links.ts";
import type { LinkedTarget } from "../schema/tables.ts";
import type { FoundRow, LinkedParent, RowName } from "./linked-parent.ts";

/** What a database of the node offers to those that refer to it. */
export interface Neighbour {
  linkedRows: LinkedParent;
  /** Throws DATABASE_REPLACED when its path leads to another database than the one that is open. */
  checkFile(): void;
  /** Captured writes of its application wait to become changes. */
  isBehind: boolean;
  /** It had more before, or was another node's: another file came in its place. Until others' changes come, or another of the node's files is replaced. */
  wasPutBack: boolean;
  /** As `LinkedParent.answered`, in a transaction of its own. */
  answered(table: string, id: bigint): void;
}

/** An integer was written that another database of the node may know once it has drained. */
export class ParentBehind extends Error {
  readonly database: string;

  constructor(database: string) {
    super(`database "${database}" has to be drained first`);
    this.database = database;
  }
}

/** How an integer and a row of another database belong together; `state` as in _scoutsync_linked. */
export interface Link {
  id: bigint;
  /** Null: the integer named nobody when it was written. */
  ref: Ref | null;
  state: typeof HAS | typeof OPEN | typeof STOOD_FOR;
}

export const HAS = 1;
export const OPEN = 2;
export const STOOD_FOR = 3;

/** Integers of rows that are not known yet: above all that SQLite hands out in ordinary use, and 32 bits are enough for them. */
const NOBODY_FROM = 2 ** 30 + 2 ** 29;
const NOBODY_BELOW = 2 ** 31;

/** An integer that has come to name a row. */
export interface Taken {
  target: LinkedTarget;
  id: bigint;
  /** It had named nobody. */
  isFirst: boolean;
}

interface Links {
  byId: Map<bigint, Link>;
  byRef: Map<string, Link>;
}

export const targetName = ({ database, table }: LinkedTarget): string => `${database}.${table}`;
/** As `targetName`, of a table of this database itself, by its number: no other database has an empty name. */
export const targetWithin = (tid: number): string => `.${tid}`;
/** The state of an integer kept under such a target: rows hold it, no row has or had it, and so they mean nobody. */
export const NAMES_NOBODY = 1n;
const metName = (target: LinkedTarget, id: bigint): string => `${targetName(target)} ${id}`;
const refName = ({ origin, sequence }: Identity): string => `${origin}:${sequence}`;

/**
 * Which integers in columns of this database mean which rows of other databases of the node. The two files have no common
 * commit, so this one keeps for itself under which integer it refers to a row: integers in its tables are read by that,
 * and when the row moves there, `LinkedFollower` brings both in line in one transaction here.
 */
export class LinkedRows {
  private readonly db: Database;
  private readonly knowledge: Knowledge;
  private readonly neighbour: (database: string) => Neighbour | null;
  private readonly links = new Map<string, Links>();
  /** False in a transaction that only reads. */
  mayWrite = true;
  /** Integers that named nobody, or a deleted row, and name a row now, by target: what shows them is to be written anew. */
  private taken: Taken[] = [];
  /** While what waited when the node was started is drained: whether this database had been put back from a backup. */
  private waited: { wasPutBack: boolean } | null = null;
  /** Integers that were first met meanwhile, by target. */
  private readonly met = new Set<string>();
  /** Integers of which somebody has decided whom they mean. */
  private answers: { target: LinkedTarget; id: bigint }[] = [];

  constructor(db: Database, knowledge: Knowledge, neighbour: (database: string) => Neighbour | null) {
    this.db = db;
    this.knowledge = knowledge;
    this.neighbour = neighbour;
  }

  /** Call after a rollback. */
  reload(): void {
    this.links.clear();
    this.taken = [];
    this.answers = [];
  }

  /** The database that a column refers to; null while it is not open. */
  parentOf(database: string): Neighbour | null {
    return this.neighbour(database);
  }

  /** Throws INVALID_ARGUMENT where a column refers to what is no integer key there. */
  check(from: string, { database, table, key }: LinkedTarget): void {
    const why = this.neighbour(database)?.linkedRows.refusal(table, key) ?? null;
    if (why === null) return;
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `"${from}" cannot refer to "${database}.${table}.${key}": ${why}`,
      action: "Name a column, and the INTEGER PRIMARY KEY of the table whose rows it refers to.",
    });
  }

  private of(target: LinkedTarget): Links {
    const name = targetName(target);
    let links = this.links.get(name);
    if (!links) {
      this.links.set(name, (links = { byId: new Map(), byRef: new Map() }));
      const stored = this.db
        .prepare("SELECT oid, sequence, id, state FROM _scoutsync_linked WHERE target = ?")
        .safeIntegers(true)
        .raw(true)
        .all(name) as [bigint, bigint, bigint, bigint][];
      for (const [oid, sequence, id, state] of stored)
        this.note(links, { id, ref: oid === 0n ? null : new Ref(Number(oid), Number(sequence)), state: Number(state) as Link["state"] });
    }
    return links;
  }

  private note(links: Links, link: Link): void {
    if (link.ref) links.byRef.set(refName(link.ref), link);
    if (link.state !== STOOD_FOR) links.byId.set(link.id, link);
  }

  /** Every row of a database that is referred to, with the target. */
  *linksOf(target: LinkedTarget): Generator<Link> {
    const { byId, byRef } = this.of(target);
    yield* byRef.values();
    for (const link of byId.values()) if (link.ref === null) yield link;
  }

  linkOf(target: LinkedTarget, name: RowName): Link | undefined {
    const oid = this.knowledge.numberOf(name.origin);
    return oid === undefined ? undefined : this.of(target).byRef.get(`${oid}:${name.sequence}`);
  }

  linkAt(target: LinkedTarget, id: bigint): Link | undefined {
    return this.of(target).byId.get(id);
  }

  /** True when some row is referred to for which another one stands: its integer then means that one. */
  hasStoodFor(target: LinkedTarget): boolean {
    const { byId, byRef } = this.of(target);
    return byRef.size > byId.size;
  }

  nameOf({ origin, sequence }: Identity): RowName {
    return { origin: this.knowledge.nameOf(origin), sequence };
  }

  /** A row's name as a value, the same on every replica. */
  textOf({ origin, sequence }: Identity): string {
    return `${this.knowledge.nameOf(origin)}:${sequence}`;
  }

  private refOfName({ origin, sequence }: RowName): Ref {
    return new Ref(this.knowledge.origin(origin, ""), sequence);
  }

  store(target: LinkedTarget, link: Link): void {
    const links = this.of(target);
    this.note(links, link);
    const [oid, sequence] = link.ref ? [link.ref.origin, link.ref.sequence] : [0, link.id];
    this.db
      .prepare(
        "INSERT INTO _scoutsync_linked(target, oid, sequence, id, state) VALUES(?, ?, ?, ?, ?) " +
          "ON CONFLICT(target, oid, sequence) DO UPDATE SET id = excluded.id, state = excluded.state",
      )
      .run(targetName(target), oid, sequence, link.id, link.state);
  }

  drop(target: LinkedTarget, link: Link): void {
    const { byId, byRef } = this.of(target);
    if (link.ref) byRef.delete(refName(link.ref));
    if (byId.get(link.id) === link) byId.delete(link.id);
    const [oid, sequence] = link.ref ? [link.ref.origin, link.ref.sequence] : [0, link.id];
    this.db.prepare("DELETE FROM _scoutsync_linked WHERE target = ? AND oid = ? AND sequence = ?").run(targetName(target), oid, sequence);
  }

  /** Call before what waits in a file that is opened is drained. `wasPutBack`: as a neighbour's, of this database. */
  beginWaited(wasPutBack: boolean): void {
    this.waited = { wasPutBack };
  }

  /** Call when that has been drained. */
  endWaited(): void {
    this.waited = null;
    this.met.clear();
  }

  /**
   * True while what is drained may mean another file than the one that is there, in a database that is referred to: one of the two alone was
   * put back from a backup. What is known here of its integers is of the time when these were written, mostly.
   */
  isDoubtful(database: string): boolean {
    return this.waited !== null && (this.neighbour(database)?.wasPutBack ?? false) !== this.waited.wasPutBack;
  }

  /**
   * Of an integer that the application wrote at `atUs`: `other` is the row that may be meant instead of the one it is taken for, null where it is not
   * known who had it when it was written. Null where there is no doubt, which is nearly always. Throws DATABASE_FAILED, and ParentBehind.
   */
  doubtAt(target: LinkedTarget, id: bigint, atUs: number): { other: Ref | null } | null {
    this.checkStillHeld(target, id);
    const known = this.met.has(metName(target, id)) ? undefined : this.linkAt(target, id);
    if (!this.isDoubtful(target.database)) {
      const rows = this.neighbour(target.database)?.linkedRows;
      const former = rows?.formerAt(target.table, id);
      if (former) return { other: this.refOfName(former) };
      // It means one that this file never had, as nobody has two that were put back to when the node ended.
      return this.waited && !known && rows?.isBornHereAfter(target.table, id, atUs) ? { other: null } : null;
    }
    const holder = this.open(target).linkedRows.holder(target.table, id);
    if (!known) return { other: null };
    if (!holder) return null;
    const other = this.refOfName(holder);
    if (!known.ref) return { other: null };
    return refName(known.ref) === refName(other) ? null : { other };
  }

  /**
   * Throws ParentBehind where no row has an integer there any more that one is known by here, as in an older file, and what waits there may be
   * a new row that has it: the application that wrote it means that one.
   */
  private checkStillHeld(target: LinkedTarget, id: bigint): void {
    const parent = this.linkAt(target, id)?.ref ? this.neighbour(target.database) : null;
    if (parent?.isBehind && !parent.linkedRows.holder(target.table, id)) throw new ParentBehind(target.database);
  }

  /** The row that an integer in a column means; null where it means none. Throws ParentBehind. */
  refOf(target: LinkedTarget, id: bigint): Ref | null {
    const known = this.of(target).byId.get(id);
    if (known || !this.mayWrite) return known?.ref ?? null;
    if (this.waited) this.met.add(metName(target, id));
    const parent = this.open(target);
    const name = parent.linkedRows.rowAt(target.table, id);
    // Where it is known under another integer, nobody has this one.
    const ref = name && !this.linkOf(target, name) ? this.refOfName(name) : null;
    if (!ref && parent.isBehind) throw new ParentBehind(target.database);
    this.store(target, { id, ref, state: HAS });
    return ref;
  }

  /** The integer that a row has in its table there; null when it is not there. Writes nothing. */
  liveId({ database, table }: LinkedTarget, ref: Identity): bigint | null {
    const found = this.neighbour(database)?.linkedRows.find(table, this.nameOf(ref));
    return found?.live ? found.id : null;
  }

  /** Somebody has decided whom an integer means. `tellAnswered` when that has committed: the other database notes it. */
  noteAnswered(target: LinkedTarget, id: bigint): void {
    this.answers.push({ target, id });
  }

  /** Outside of any transaction: the other one is locked before this one. */
  tellAnswered(): void {
    for (const { target, id } of this.answers.splice(0)) {
      try {
        this.neighbour(target.database)?.answered(target.table, id);
      } catch {
        // It is locked: of the next row it is asked again.
      }
    }
  }

  /** The integer under which a row is referred to here. */
  idOf(target: LinkedTarget, ref: Identity): bigint {
    const known = this.of(target).byRef.get(refName(ref));
    if (known) return known.id;
    if (!this.mayWrite) return nobody(this.nameOf(ref), 0);
    return this.add(target, new Ref(ref.origin, ref.sequence)).id;
  }

  private add(target: LinkedTarget, ref: Ref): Link {
    const name = this.nameOf(ref);
    const found = this.open(target).linkedRows.find(target.table, name);
    const link = this.linkFor(target, ref, found);
    this.store(target, link);
    return link;
  }

  /** How a row is to be referred to, as its database has it now. Takes an integer from nobody who has it. */
  linkFor(target: LinkedTarget, ref: Ref, found: FoundRow | null): Link {
    const { linkedRows } = this.open(target);
    if (!found || (!found.live && linkedRows.holder(target.table, found.id))) return { id: this.unused(target, ref), ref, state: OPEN };
    const holder = this.linkAt(target, found.id);
    const stands = this.refOfName(found.stands);
    const itself = refName(stands) === refName(ref);
    if (holder?.ref && refName(holder.ref) !== refName(stands)) return { id: this.unused(target, ref), ref, state: OPEN };
    if (holder && !holder.ref) {
      this.drop(target, holder);
      this.taken.push({ target, id: found.id, isFirst: true });
    }
    if (itself) return { id: found.id, ref, state: HAS };
    if (!holder?.ref) this.store(target, { id: found.id, ref: stands, state: HAS });
    return { id: found.id, ref, state: STOOD_FOR };
  }

  /** The integer goes from the row that had it, which is deleted, to the one that has it now. */
  takeOver(target: LinkedTarget, from: Link, to: RowName): void {
    this.drop(target, from);
    this.store(target, { id: from.id, ref: this.refOfName(to), state: HAS });
    this.taken.push({ target, id: from.id, isFirst: from.ref === null });
  }

  /** What shows these integers was written before they meant a row, and is to be written anew. */
  takeTaken(): Taken[] {
    const { taken } = this;
    this.taken = [];
    return taken;
  }

  private unused(target: LinkedTarget, ref: Identity): bigint {
    const { linkedRows } = this.open(target);
    for (let generation = 0; ; generation++) {
      const id = nobody(this.nameOf(ref), generation);
      const held = this.linkAt(target, id);
      if ((!held || (held.ref && refName(held.ref) === refName(ref))) && !linkedRows.holder(target.table, id)) return id;
    }
  }

  /** The database that a column refers to. Throws DATABASE_FAILED while it is not open. */
  open({ database }: Pick<LinkedTarget, "database">): Neighbour {
    const parent = this.neighbour(database);
    if (parent) return parent;
    throw new SyncError({
      code: "DATABASE_FAILED",
      message: `rows here refer to database "${database}" of this node, which is not open`,
      action: "See what is wrong with that database; what is written here waits until it is back, and nothing is lost.",
    });
  }
}

/** An integer that no row has, always the same for a row. */
function nobody({ origin, sequence }: RowName, generation: number): bigint {
  const mixed = hash("sha256", `${origin}:${sequence}:nobody:${generation}`, "buffer").readUInt32BE(0);
  return BigInt(NOBODY_FROM + (mixed % (NOBODY_BELOW - NOBODY_FROM)));
}

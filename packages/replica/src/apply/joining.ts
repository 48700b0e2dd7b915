import type { Database } from "better-sqlite3";
import { type CellValue, Ref, SyncError, type Write } from "@scoutsync/core";
import {
  type BaselineChoice,
  type BaselineStatement,
  BASELINE_AUTHOR,
  baselinesOf,
  formatStatement,
  inheritBaseline,
  ownBaseline,
  parseStatement,
} from "../identity/baseline.ts";
import type { Knowledge } from "../identity/knowledge.ts";
import { ownedDots, type RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { homeFrom, homeOf, noteHome } from "../scope/home.ts";
import { packKey } from "../rows/values.ts";
import type { Placement } from "./placement.ts";

/** What has to be noted before anything is exchanged with a replica. */
interface Plan {
  /** Origins whose rows are the same where their keys are equal; those known to be so already included. */
  shared: string[];
  origins: string[];
  /** The origin that an empty replica is filled from. */
  inherit: string | null;
  /** The copy of a scope that the rows here belong to from now on. */
  home: string | null;
}

/**
 * Decides whether two replicas may exchange rows at all, and whether rows that both had before syncing are the same rows;
 * makes what is stored follow.
 */
export class Joining {
  private readonly db: Database;
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  private readonly placement: Placement;
  private readonly choice: BaselineChoice | null;
  private readonly limited: boolean;

  constructor(options: {
    db: Database;
    rows: RowStore;
    knowledge: Knowledge;
    placement: Placement;
    choice: BaselineChoice | null;
    /** As in ReplicaOptions. */
    limited: boolean;
  }) {
    this.db = options.db;
    this.rows = options.rows;
    this.knowledge = options.knowledge;
    this.placement = options.placement;
    this.choice = options.choice;
    this.limited = options.limited;
  }

  /** What this replica says of itself to every other. */
  get statement(): BaselineStatement {
    return {
      origins: baselinesOf(this.db),
      choice: this.choice ?? "",
      own: this.own,
      shared: this.rows.shared.names,
      home: homeOf(this.db),
    };
  }

  get statementText(): string {
    return formatStatement(this.statement);
  }

  /** The origins that this replica's own rows from before syncing come from. */
  private get own(): string[] {
    const own = ownBaseline(this.db);
    if (own === null) return [];
    const { names } = this.rows.shared;
    return names.includes(own) ? names : [own];
  }

  /**
   * What meeting a replica that says `text` of itself asks to be noted here; null when nothing does. `filling`: its rows
   * are about to come. Throws BASELINE_CHOICE where a person has to say what the rows are, or has said two things, and
   * SCOPE_OTHER_SERVER as `homeFrom`.
   */
  plan(text: string, filling: boolean): Plan | null {
    const peer = parseStatement(text);
    const home = homeFrom(homeOf(this.db), peer.home, { limited: this.limited, exchanges: filling || this.knowledge.vector.size > 0 });
    const here = this.rows.shared.names;
    const mine = this.own;
    const isJoined = here.length > 0 && peer.shared.some((origin) => here.includes(origin));
    const shared = new Set(here);
    if (here.length === 0 || isJoined) for (const origin of peer.shared) shared.add(origin);
    const inherit = filling && mine.length === 0 && peer.own.length > 0 ? (peer.own[0] as string) : null;
    if (!this.isDecided(mine, peer, shared)) {
      if (this.choose(peer) === "shared") for (const origin of [...mine, ...peer.own, ...peer.shared]) shared.add(origin);
      else if (here.length > 0 && peer.shared.length > 0 && !isJoined) throw twoGroups();
    }
    this.refuseDistinct([...shared].filter((origin) => !here.includes(origin)));
    const known = new Set(baselinesOf(this.db));
    const origins = [...new Set([...peer.origins, ...peer.own, ...shared])].filter((origin) => !known.has(origin));
    if (origins.length === 0 && shared.size === here.length && inherit === null && home === null) return null;
    return { shared: shared.size === here.length ? [] : [...shared], origins, inherit, home };
  }

  /** What the rows of both sides are about to be joined as, where they are joined now; null where that was decided before. */
  choiceFor(text: string): BaselineChoice | null {
    const plan = this.plan(text, true);
    const mine = this.own;
    const peer = parseStatement(text);
    if (mine.length === 0 || peer.own.length === 0) return null;
    if (plan && plan.shared.length > 0) return "shared";
    // What was noted by the other side a moment ago is not carried out yet: its rows are not here.
    const isCarriedOut = peer.own.some((origin) => mine.includes(origin)) || peer.own.every((origin) => this.isHere(origin));
    return isCarriedOut || (this.choice ?? peer.choice) !== "distinct" ? null : "distinct";
  }

  /** True when it needs no one to say what the rows of both sides are to each other. */
  private isDecided(mine: readonly string[], peer: BaselineStatement, shared: ReadonlySet<string>): boolean {
    if (mine.length === 0 || peer.own.length === 0) return true;
    if (peer.own.some((origin) => mine.includes(origin))) return true;
    if (mine.every((origin) => shared.has(origin)) && peer.own.every((origin) => shared.has(origin))) return true;
    // Their rows are here, or ours are there: it was decided when they came.
    return peer.own.every((origin) => this.isHere(origin)) || mine.some((origin) => peer.origins.includes(origin));
  }

  private choose(peer: BaselineStatement): BaselineChoice {
    const ours = this.choice ?? "";
    if (ours !== "" && peer.choice !== "" && ours !== peer.choice) {
      throw new SyncError({
        code: "BASELINE_CHOICE",
        message: `this node was started with --baseline ${ours} and the other one with --baseline ${peer.choice}`,
        action: "Start both with the same choice.",
      });
    }
    const choice = ours || peer.choice;
    if (choice !== "") return choice;
    throw new SyncError({
      code: "BASELINE_CHOICE",
      message:
        "both databases hold rows from before syncing, these were not the same when each was attached, and nobody said whether they mean the same rows",
      action:
        "Start one of the two nodes with --baseline shared if both began as copies of one file, or with --baseline distinct if they were filled independently; nothing was exchanged.",
    });
  }

  /** Origins whose rows are here as rows of their own cannot become the same rows any more. */
  private refuseDistinct(added: readonly string[]): void {
    const apart = added.filter((origin) => this.isHere(origin));
    const groups = apart.length + (this.rows.shared.names.some((origin) => this.isHere(origin)) ? 1 : 0);
    if (added.length === 0 || groups < 2) return;
    throw new SyncError({
      code: "BASELINE_CHOICE",
      message: "the rows of two copies were joined as distinct here, and as shared on the other node",
      action: "Start over on one of the two: `scoutsync detach`, then from a fresh copy or an empty database.",
    });
  }

  private isHere(name: string): boolean {
    const oid = this.knowledge.numberOf(name);
    return oid !== undefined && ((this.knowledge.entries.get(oid) ?? 0) > 0 || this.rows.lastSequence(oid) > 0);
  }

  /** Notes what was planned. Inside the caller's write transaction, drained and silent. */
  carryOut({ shared, origins, inherit, home }: Plan): void {
    for (const origin of origins) this.knowledge.origin(origin, BASELINE_AUTHOR);
    if (inherit !== null) inheritBaseline(this.db, inherit);
    if (home !== null) noteHome(this.db, home);
    if (shared.length === 0) return;
    const before = this.rows.shared.names;
    const isRenamed = shared.some((origin) => !before.includes(origin) && this.isHere(origin));
    this.rows.shared.add(shared);
    this.rows.shared.nameTables([...this.rows.tables, ...this.rows.absent]);
    if (isRenamed) this.rename();
  }

  /**
   * Throws BATCH_GAP for changes of a replica that holds rows of joined copies and did not know, when it wrote the
   * batch, that they are named by key now. It learns that from our next word to it.
   */
  checkNames(text: string): void {
    const { names } = this.rows.shared;
    if (names.length === 0) return;
    const peer = parseStatement(text);
    if (!peer.origins.some((origin) => names.includes(origin) && !peer.shared.includes(origin))) return;
    throw new SyncError({
      code: "BATCH_GAP",
      message: "a batch was written by a node that did not know yet which copies were joined as shared",
      action:
        "Nothing was applied; the next session tells it. If this was a bundle file, carry one from here to that node first, then export again. A node of an older version has to be upgraded.",
    });
  }

  // ---- giving rows their new names

  /** References to rows of joined copies, wherever they are stored by name, follow their new names. */
  private rename(): void {
    const linked = this.rows.same.named.flatMap((identity) => this.rows.ofIdentity(identity)?.birth ?? []);
    const moved: RowState[] = [];
    for (const table of [...this.rows.tables, ...this.rows.absent]) {
      const inTable = table.absent === null ? this.rows.of(table).slotsToRename(this.rows.shared.origins) : [];
      for (const slot of inTable) {
        const state = this.rows.atLog(table.tid, slot);
        if (!state) continue;
        this.renameIn(state);
        this.rows.of(table).rename(slot, this.rows.packed(state), state.key);
        this.rows.log.alias(state);
        if (state.rekey && this.isShared(state)) moved.push(state);
      }
      for (const slot of this.rows.out.slots(table.tid)) {
        const state = this.rows.atLog(-table.tid, slot);
        if (!state) continue;
        this.renameIn(state);
        this.rows.renameOut(state, this.cells(this.rows.cells(state)));
        this.rows.log.alias(state);
        if (state.rekey && this.isShared(state)) moved.push(state);
      }
    }
    this.renameFacts(linked);
    // A re-keyed row's integer follows from its name.
    for (const { birth } of moved) {
      const state = this.placement.related.again(birth);
      if (state) this.placement.settle(state, this.rows.cells(state), [], ownedDots(state));
    }
    this.placement.kept.bury();
  }

  /** Decisions that rows are one, or are two, name them by what they are called now. */
  private renameFacts(births: readonly Write[]): void {
    if (births.length === 0) return;
    this.rows.same.clear();
    for (const birth of births) {
      const state = this.placement.related.again(birth);
      if (!state) continue;
      const before = ownedDots(state);
      const cells = this.rows.cells(state);
      state.same = state.same.map((fact) => ({ ...fact, other: this.cell(new Ref(fact.other.origin, fact.other.sequence)) as Ref }));
      this.rows.saveRegisters(state, cells, before);
    }
    for (const birth of births) this.placement.entities.touch(birth);
    this.placement.entities.arrangeTouched();
  }

  private isShared(state: RowState): boolean {
    return state.table.surrogate && this.rows.shared.has(state.birth.origin);
  }

  private renameIn(state: RowState): void {
    for (const [cid, writes] of state.columns)
      state.columns.set(
        cid,
        writes.map((write) => (write.value instanceof Ref ? { ...write, value: this.cell(write.value) } : write)),
      );
    state.closed = state.closed.map((record) => ({ ...record, value: this.cell(record.value) }));
    const { shared } = this.rows;
    if (state.table.keyless)
      state.key = packKey(
        state.table.key,
        this.rows.keys.keyCells(state).map((cell) => shared.nameOfKeyless(cell)),
      );
    else if (state.key) state.key = packKey(state.table.key, this.cells(this.rows.keys.keyCells(state)));
    for (const [cid, value] of state.own) state.own.set(cid, this.cell(value));
    if (state.place.kind === "joined" && state.place.rep) {
      const { origin, sequence } = state.place.rep;
      state.place = { kind: "joined", rep: this.cell(new Ref(origin, sequence)) as Ref };
    }
    if (state.place.kind === "waiting" && state.place.blocker) {
      const { origin, sequence } = state.place.blocker;
      state.place = { ...state.place, blocker: this.cell(new Ref(origin, sequence)) as Ref };
    }
  }

  private cells(values: readonly CellValue[]): CellValue[] {
    return values.map((value) => this.cell(value));
  }

  /** A reference by the name that its row has now. */
  cell(value: CellValue): CellValue {
    if (!(value instanceof Ref) || !this.rows.shared.has(value.origin)) return value;
    const state = this.rows.byDot(value.origin, value.sequence);
    return state ? new Ref(state.identity.origin, state.identity.sequence) : value;
  }
}

const twoGroups = (): SyncError =>
  new SyncError({
    code: "BASELINE_CHOICE",
    message: "on both sides copies were joined as shared before, and the two groups of copies are not the same rows",
    action: "Only one group of shared copies can be in a fleet; start over on one side: `scoutsync detach`, then as one database.",
  });

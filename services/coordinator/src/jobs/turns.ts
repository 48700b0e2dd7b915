import { SyncError } from "@scoutsync/core";
import type { SyncProgress } from "@scoutsync/protocol";
import type { Fleet, FleetNode } from "../detection/fleet.ts";
import { gain, type PlannerNode } from "../planner/plan.ts";
import type { LeaseRow } from "../registry/leases.ts";
import type { Settings } from "../registry/settings.ts";
import type { RunningSession } from "./running-sessions.ts";
import type { SourceChoice } from "./source-choice.ts";

/** A node that was told to wait asks again sooner than this, as long as it wants a session. */
const WAITING_MS = 10_000;
/** Who gave way comes after those who waited: all of them ask again within this time. */
const REST_MS = 6_000;
/** A session that nobody waits for ends after so many turns, so that one that never ends is noticed. */
const TURNS_ALONE = 60;
/** A turn is doubled with each in a row that brought nothing, up to this. */
const LONGEST_TURN_MS = 3_600_000;
/** A node may report more rows than were known of when its session began, because others write meanwhile; not any number of them. */
const MOST_TIMES_KNOWN = 2;

/** How both ends of a session stood when it began. */
export interface Beginning {
  node: PlannerNode & Pick<FleetNode, "files">;
  source: PlannerNode & Pick<FleetNode, "files">;
}

/**
 * Lets sessions that run for long give way to nodes that wait for one of their two: a node that reports progress without end
 * must not hold itself and its source for ever. Who gave way goes on where it stopped, after the others.
 */
export class Turns {
  readonly #settings: Settings;
  readonly #fleet: Fleet;
  readonly #sources: SourceChoice;
  /** When nodes were told last that they have to wait, milliseconds of `performance.now`. */
  readonly #waiting = new Map<number, number>();
  /** Turns in a row that brought a node nothing. */
  readonly #inVain = new Map<number, number>();
  readonly #restsUntil = new Map<number, number>();

  constructor(parts: { settings: Settings; fleet: Fleet; sources: SourceChoice }) {
    this.#settings = parts.settings;
    this.#fleet = parts.fleet;
    this.#sources = parts.sources;
  }

  /** The node was told to wait. */
  waits(serverId: number): void {
    if (!this.rests(serverId)) this.#waiting.set(serverId, performance.now());
  }

  /** The node has its session, or needs none. */
  settled(serverId: number): void {
    this.#waiting.delete(serverId);
  }

  /** True while a node that gave way lets the others go first. */
  rests(serverId: number): boolean {
    return (this.#restsUntil.get(serverId) ?? 0) > performance.now();
  }

  /** The sessions that have to give way now: at most one for each node that waits. `full`: no place is free for more sessions. */
  due(leases: readonly LeaseRow[], busy: ReadonlySet<number>, full: boolean): LeaseRow[] {
    const now = Date.now();
    const ran = (lease: LeaseRow) => (now - Date.parse(lease.acquired_at)) / this.#turnMs(lease.server_id);
    const over = leases.filter((lease) => ran(lease) >= 1).sort((a, b) => a.acquired_at.localeCompare(b.acquired_at));
    const ending = new Set(over.filter((lease) => ran(lease) >= TURNS_ALONE));
    if (over.length === 0) return [];
    for (const [serverId, at] of this.#waiting) {
      if (performance.now() - at > WAITING_MS) this.#waiting.delete(serverId);
      else {
        const first = over.find((lease) => !ending.has(lease) && (full || this.#helps(serverId, lease, busy)));
        if (first !== undefined) ending.add(first);
      }
    }
    return [...ending];
  }

  /**
   * The session of a node had its turn and ends. Returns what it is called: giving way where it brought something, which costs no
   * attempt, else a failure of the node.
   */
  ended({ server_id: serverId, acquired_at }: LeaseRow, moved: boolean): SyncError {
    const seconds = Math.round((Date.now() - Date.parse(acquired_at)) / 1_000);
    this.#restsUntil.set(serverId, performance.now() + REST_MS);
    this.#waiting.delete(serverId);
    if (moved) {
      this.#inVain.delete(serverId);
      return new SyncError({
        code: "BUSY",
        message: `Gave way to others after ${seconds} s; it goes on where it stopped`,
        action: "Nothing has to be done.",
      });
    }
    this.#inVain.set(serverId, (this.#inVain.get(serverId) ?? 0) + 1);
    return new SyncError({
      code: "PEER_FAILED",
      message: `Reported progress for ${seconds} s and nothing arrived`,
      action: "Look at the node's log.",
    });
  }

  #turnMs(serverId: number): number {
    const turnMs = this.#settings.get("session_turn_seconds") * 1_000;
    if (turnMs === 0) return Infinity;
    return Math.max(turnMs, Math.min(LONGEST_TURN_MS, turnMs * 2 ** (this.#inVain.get(serverId) ?? 0)));
  }

  /** True when the node that waits could go on if the session ended. */
  #helps(serverId: number, { server_id, source_id }: LeaseRow, busy: ReadonlySet<number>): boolean {
    if (serverId === server_id || serverId === source_id) return true;
    const node = this.#fleet.node(serverId);
    if (node === null || !node.enabled || busy.has(serverId)) return false;
    const others = new Set([...busy].filter((id) => id !== server_id && id !== source_id));
    const source = this.#sources.choose(node, others, { demanded: false, moving: false });
    return typeof source === "object" && source !== null && (source.id === server_id || source.id === source_id);
  }
}

/**
 * True when a session has brought either end something since it began: by what both say they hold, or, as long as it is in the
 * middle of it, by rows that it reports and that there can be.
 */
export function hasMoved(began: Beginning, now: Beginning, session: RunningSession | null): boolean {
  const [missing, unsent] = [gain(began.node, began.source), gain(began.source, began.node)];
  if (gain(now.node, began.source) < missing || gain(now.source, began.node) < unsent) return true;
  if (now.node.files !== began.node.files || now.source.files !== began.source.files) return true;
  return session !== null && session.progress !== null && isPlausible(session.progress, began, missing + unsent);
}

function isPlausible({ database, done }: SyncProgress, { node }: Beginning, known: number): boolean {
  // Of files nobody knows beforehand how much there is to do.
  if (node.files.some(({ root }) => root === database)) return done > 0n;
  return done > 1n && done <= BigInt(MOST_TIMES_KNOWN * Math.ceil(known));
}

import { type ApplyResult, type ChangeBatch, isCovered, SyncError } from "@scoutsync/core";
import type { ReplicaDatabase } from "../src/index.ts";
import { rejoin } from "./rejoin.ts";

interface Node {
  name: string;
  replica: ReplicaDatabase;
}

/**
 * Of a simulated fleet: who is away meanwhile, who forgets what all others know, and who has to join again. What sessions
 * say to each other about what they have is said here.
 */
export class Absences<N extends Node> {
  forgot = 0;
  readonly rejoins = { times: 0, gone: 0, reborn: 0 };
  private readonly nodes: readonly N[];
  private readonly random: () => number;
  private readonly trace: (text: string) => void;
  private readonly forgetting: (node: N, forget: () => number) => number;
  /** It writes, and meets nobody. */
  private away: N | null = null;

  /** `forgetting` is called around every forgetting, which it has to do. */
  constructor(options: {
    nodes: readonly N[];
    random: () => number;
    trace: (text: string) => void;
    forgetting: (node: N, forget: () => number) => number;
  }) {
    this.nodes = options.nodes;
    this.random = options.random;
    this.trace = options.trace;
    this.forgetting = options.forgetting;
  }

  private pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.random() * list.length)] as T;
  }

  isAway(node: N): boolean {
    return node === this.away;
  }

  allBack(): void {
    this.away = null;
  }

  /** Long absences from early on: only who lacks what was forgotten meanwhile joins again. `part` is how much of the history is over, 0 to 1. */
  mayLeave(part: number): void {
    if (this.away !== null || part > 0.7 || this.random() > 0.1) return;
    this.away = this.pick(this.nodes);
    this.trace(`${this.away.name} is away`);
  }

  /** Comes back, retires somebody by mistake, or forgets. */
  step(node: N): void {
    const choice = this.random();
    if (choice < 0.25) {
      if (this.away) this.trace(`${this.away.name} is back`);
      this.away = null;
    } else if (choice < 0.4) this.forget(node, [this.pick(this.nodes.filter((other) => other !== node)).name]);
    else this.forget(node, this.random() < 0.5 ? this.absent(node) : []);
  }

  /** Those who are there forget: most of them, without whoever is away. */
  forgetAll(): void {
    for (const node of this.nodes) if (this.random() < 0.7) this.forget(node, this.absent(node));
  }

  private absent(node: N): string[] {
    return this.away && this.away !== node ? [this.away.name] : [];
  }

  private forget(node: N, retire: string[]): void {
    const known = new Set(node.replica.memberWords().map((word) => word.node.name));
    for (const name of retire) if (known.has(name)) node.replica.retire(name);
    const forgotten = this.forgetting(node, () => node.replica.forget({ retentionDays: 0, dryRun: false }).forgotten);
    this.forgot += forgotten;
    this.trace(`${node.name} forgets ${forgotten} rows, retired ${retire.join()}`);
  }

  /** What sessions do before vectors are compared. False when nothing may be exchanged: the sender has to come back by itself. */
  meet(to: N, from: N): boolean {
    const [mine, theirs] = [to.replica.state(), from.replica.state()];
    if (mine.vector.size > 0 && !isCovered(theirs.floor, mine.vector)) this.rejoin(to, from);
    return isCovered(to.replica.state().floor, from.replica.state().vector);
  }

  private rejoin(to: N, from: N): void {
    const { gone, reborn } = rejoin(to.replica, from.replica, 3);
    this.rejoins.times++;
    this.rejoins.gone += gone;
    this.rejoins.reborn += reborn;
    this.trace(`${to.name} re-joins from ${from.name}: ${gone} rows gone, ${reborn} new ones`);
  }

  /** Null where the receiver has to join again first: it had begun to be filled when more was forgotten. */
  take(to: N, from: N, batch: ChangeBatch): ApplyResult | null {
    try {
      return to.replica.apply(batch);
    } catch (error) {
      if (!(error instanceof SyncError) || (error.code !== "REJOIN_NEEDED" && error.code !== "PEER_BEHIND")) throw error;
      if (error.code === "REJOIN_NEEDED") this.rejoin(to, from);
      return null;
    }
  }

  /** What a node asks with says what it has; what it is told at the end says what the other has. */
  heard(to: N, from: N, batch: ChangeBatch): void {
    if (!batch.final) return from.replica.acknowledge({ id: to.name, name: to.name }, to.replica.state().vector);
    to.replica.acknowledge({ id: from.name, name: from.name }, batch.vector);
    if (this.random() < 0.8) to.replica.learnMembers(from.replica.memberWords());
    if (this.random() < 0.8) from.replica.learnMembers(to.replica.memberWords());
  }
}

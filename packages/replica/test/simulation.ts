import { rmSync } from "node:fs";
import { join as joinPath } from "node:path";
import { memoryFolder } from "@scoutsync/testkit/memory";
import Database from "better-sqlite3";
import { type ApplyResult, type ChangeBatch, formatVector, isCovered, join, SyncError, type VersionVector } from "@scoutsync/core";
import { ReplicaDatabase } from "../src/index.ts";
import { BAG_SCHEMA, CopiedBags } from "./copied-bags.ts";
import { EarlyRows } from "./early-rows.ts";
import { Ledger } from "./ledger.ts";
import { rejoin } from "./rejoin.ts";
import { seeded } from "./seeded.ts";
import { RULED, SCHEMA, SimulatedApplications, type SimulatedHistory } from "./simulated-applications.ts";
import { ORDINARY, type Outcome, type SimulationOptions } from "./simulation-options.ts";
import { type Node, Verdict } from "./verdict.ts";

/** One seeded history of several replicas on real SQLite files, then quiescence, then the checks against the ledger. */
export class Simulation implements SimulatedHistory {
  readonly random: () => number;
  readonly options: SimulationOptions;
  private readonly folder: string;
  readonly nodes: Node[] = [];
  readonly ledger = new Ledger();
  private readonly old: ChangeBatch[] = [];
  private readonly failures: string[] = [];
  /** Rows without a key that copies had before they were attached; null in other histories. */
  readonly bags: CopiedBags | null;
  readonly early: EarlyRows | null;
  /** Some reference may mean nobody yet: it leads to rows that only some nodes have. */
  private isEarly: boolean;
  private values = 0;
  private readonly applications = new SimulatedApplications(this);
  private changes = 0;
  nowUs = 1_700_000_000_000_000;

  constructor(seed: number, options: Partial<SimulationOptions> = {}) {
    this.random = seeded(seed * 7919 + 13);
    this.options = { ...ORDINARY, ...options };
    this.bags = this.options.copies
      ? new CopiedBags({ random: this.random, value: () => this.value(), trace: (text) => this.trace(text) })
      : null;
    this.isEarly = this.options.early;
    this.early = this.options.early ? new EarlyRows(this) : null;
    this.folder = memoryFolder("sim");
    for (let i = 0; i < this.options.replicas; i++) this.nodes.push(this.open(i));
  }

  private start(node: Node): void {
    node.runs++;
    const options = {
      name: "main",
      path: node.path,
      nodeName: node.name,
      nodeId: node.name,
      exclude: [],
      rules: this.options.rules ? RULED.flatMap((table) => [`${table}.hits=counter`, `${table}.tags=set`]) : [],
      // Its ledger knows rows by a marker; rows that become one have two. See entity-simulation.ts.
      park: ["tag"],
      baseline: this.options.copies && node.name === "n0" ? ("shared" as const) : null,
      busyTimeoutMs: 1000,
      pollIntervalMs: 50,
    };
    node.replica = new ReplicaDatabase(options, `${node.name}-run${node.runs}`, {
      nowUs: () => this.nowUs + node.skewUs,
      ...(!this.options.keepsIds && { rememberedUs: 0 }),
      random: (bytes) => Uint8Array.from({ length: bytes }, () => Math.floor(this.random() * 256)),
    });
  }

  trace(text: string): void {
    if (this.options.trace) console.log(text);
  }

  pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.random() * list.length)] as T;
  }

  nextNumber(): number {
    return ++this.values;
  }

  value(): string {
    return `v${this.nextNumber()}`;
  }

  run(): Outcome {
    try {
      for (let step = 0; step < this.options.steps; step++) {
        this.nowUs += 1000 + Math.floor(this.random() * 5_000_000);
        const choice = this.random();
        const node = this.pick(this.nodes);
        const other = this.pick(this.nodes);
        if (this.options.reissue && this.random() < 0.1) this.reissue(node);
        if (this.options.clocks && this.random() < 0.1) this.correctClock(node);
        if (this.options.forgetting && step % 12 === 11) this.meetAll();
        // Long absences from early on: only who lacks what was forgotten meanwhile joins again.
        if (this.options.forgetting && this.away === null && step < this.options.steps * 0.7 && this.random() < 0.1) this.away = node;
        if (choice < 0.55) this.applications.write(node);
        else if (choice < 0.75) this.pull(node, other, 1 + Math.floor(this.random() * 3), 1 + Math.floor(this.random() * 4));
        else if (choice < 0.92) this.pull(node, other, 0, 100);
        else if (choice < 0.95) this.replay(node);
        else if (this.options.forgetting && this.random() < 0.8) this.leaveAndForget(node);
        else if (this.options.restarts) this.restart(node);
      }
      return this.finish();
    } finally {
      for (const { replica, app } of this.nodes) {
        replica.close();
        app.close();
      }
      rmSync(this.folder, { recursive: true, force: true });
    }
  }

  /** As if every origin that was cut off had ended for good, though most go on. */
  private reissue(node: Node): void {
    const origins = node.replica.reissue(0);
    if (origins > 0) this.trace(`${node.name} issues again what it holds beyond of ${origins} origins`);
  }

  private correctClock(node: Node): void {
    const correctionUs = this.random() < 0.5 ? -node.skewUs : 0;
    this.trace(`${node.name} corrects its clock by ${correctionUs / 1e6} s`);
    node.replica.correctClock(correctionUs);
  }

  /** The node is gone for good, with whatever nobody else has. */
  private lose(node: Node): void {
    this.trace(`${node.name} is destroyed`);
    node.replica.close();
    node.app.close();
    this.nodes.splice(this.nodes.indexOf(node), 1);
  }

  private open(number: number): Node {
    const path = joinPath(this.folder, `${number}.db`);
    const app = new Database(path);
    app.exec(SCHEMA);
    if (this.bags) app.exec(BAG_SCHEMA);
    if (this.options.rules)
      for (const table of RULED)
        app.exec(`ALTER TABLE ${table} ADD COLUMN hits INTEGER DEFAULT 0; ALTER TABLE ${table} ADD COLUMN tags TEXT DEFAULT '[]'`);
    app.pragma("foreign_keys = ON");
    if (this.options.copies) this.applications.copy(app, number);
    this.bags?.fill(app);
    const skewUs = Math.floor((this.random() * 2 - 1) * this.options.skewS * 1e6);
    const node = {
      name: `n${number}`,
      path,
      app,
      runs: 0,
      skewUs,
      remembered: new Map(),
      met: new Set([`n${number}`]),
    } as Partial<Node> as Node;
    this.start(node);
    return node;
  }

  /** The node that is away, if one is: it writes, and meets nobody. */
  private away: Node | null = null;
  private forgot = 0;
  private rejoins = { gone: 0, reborn: 0, times: 0 };

  private leaveAndForget(node: Node): void {
    const choice = this.random();
    if (choice < 0.3 && this.away === null) {
      this.away = node;
      this.trace(`${node.name} is away`);
    } else if (choice < 0.45 && this.away !== null) {
      this.trace(`${this.away.name} is back`);
      this.away = null;
    } else if (choice < 0.5 && this.nodes.length < 5) this.join();
    else if (choice < 0.6)
      // By mistake: one that is there, and goes on.
      this.forget(node, [this.pick(this.nodes.filter((other) => other !== node)).name]);
    else this.forget(node, this.away !== null && this.away !== node && this.random() < 0.5 ? [this.away.name] : []);
  }

  private forget(node: Node, retire: string[]): void {
    const known = new Set(node.replica.memberWords().map((word) => word.node.name));
    for (const name of retire) if (known.has(name)) node.replica.retire(name);
    const { forgotten } = node.replica.forget({ retentionDays: 0, dryRun: false });
    this.forgot += forgotten;
    this.trace(`${node.name} forgets ${forgotten} rows, retired ${retire.join()}`);
  }

  /** A new node with an empty database. */
  private join(): void {
    const node = this.open(this.nodes.length);
    this.trace(`${node.name} joins`);
    this.nodes.push(node);
  }

  /** Everyone who is there meets everyone, and forgets: without this little would ever be known by all. */
  private meetAll(): void {
    for (let round = 0; round < 2; round++) for (const a of this.nodes) for (const b of this.nodes) this.pull(a, b, 0, 100);
    for (const node of this.nodes) if (this.random() < 0.7) this.forget(node, this.away && this.away !== node ? [this.away.name] : []);
  }

  /** What sessions do before vectors are compared. Returns false when nothing may be exchanged. */
  private checkFloors(to: Node, from: Node): boolean {
    const [mine, theirs] = [to.replica.state(), from.replica.state()];
    if (mine.vector.size > 0 && !isCovered(theirs.floor, mine.vector) && !this.rejoin(to, from)) return false;
    // It has to come back by itself.
    return isCovered(to.replica.state().floor, from.replica.state().vector);
  }

  /** False where one of the two has still to migrate: nothing is changed. */
  private rejoin(to: Node, from: Node): boolean {
    let rejoined;
    try {
      rejoined = rejoin(to.replica, from.replica, 3);
    } catch (error) {
      if (!(error instanceof SyncError) || error.code !== "SCHEMA_UNSUPPORTED" || !this.bags?.differ(to, from)) throw error;
      this.trace(`${to.name} may not re-join from ${from.name} before both have migrated`);
      return false;
    }
    const { gone, reborn } = rejoined;
    this.rejoins.times++;
    this.rejoins.gone += gone;
    this.rejoins.reborn += reborn;
    for (const name of from.met) to.met.add(name);
    this.trace(`${to.name} re-joins from ${from.name}: ${gone} rows gone, ${reborn} new ones`);
    return true;
  }

  private restart(node: Node): void {
    this.trace(`${node.name} restarts`);
    node.replica.close();
    this.start(node);
  }

  // ---- the network

  private pull(to: Node, from: Node, batchSize: number, batches: number): number {
    if (to === from || to === this.away || from === this.away) return 0;
    let moved = 0;
    try {
      from.replica.meet(to.replica.baseline());
      to.replica.meet(from.replica.baseline());
    } catch (error) {
      // Until one of the two has met the node that was told, nothing is exchanged.
      if (!(error instanceof SyncError) || error.code !== "BASELINE_CHOICE" || !this.options.copies) throw error;
      return 1;
    }
    let beyondAfter: ChangeBatch["beyondTo"];
    if (this.options.forgetting && !this.checkFloors(to, from)) return 1;
    for (let i = 0; i < batches; i++) {
      const have: VersionVector = join(to.replica.state().vector, to.replica.position(from.replica.run));
      const batch = from.replica.read({
        from: have,
        batchSize,
        codecs: ["zstd"],
        beyondDigest: to.replica.beyondDigest(),
        beyondAfter,
        floor: to.replica.state().floor,
      });
      beyondAfter = batch.beyondTo;
      if (this.random() < 0.15) this.old.push(batch);
      if (batches < 100 && this.random() < 0.08) return moved;
      const before = formatVector(to.replica.state().vector);
      // What a node asks with says what it has; what it is told at the end says what the other has.
      if (this.options.forgetting) from.replica.acknowledge({ id: to.name, name: to.name }, to.replica.state().vector);
      const result = this.take(to, batch);
      if (!result) return moved + 1;
      if (batch.final) for (const name of from.met) to.met.add(name);
      if (this.options.forgetting && batch.final) {
        to.replica.acknowledge({ id: from.name, name: from.name }, batch.vector);
        if (this.random() < 0.8) to.replica.learnMembers(from.replica.memberWords());
        if (this.random() < 0.8) from.replica.learnMembers(to.replica.memberWords());
      }
      moved += batch.count + (formatVector(result.vector) === before ? 0 : 1);
      this.changes += result.applied;
      this.trace(`${to.name} <- ${from.name}: ${batch.count} changes, final ${batch.final}, verified ${result.verified}`);
      if (result.verified === false && !this.isEarly)
        this.failures.push(`R2 digests differ at equal vectors after ${to.name} <- ${from.name}`);
      if (batch.final) break;
      if (this.options.reissue && batches < 100 && this.random() < 0.2) this.reissue(to);
    }
    return moved;
  }

  /** Null where the receiver has to join again first: it had begun to be filled when more was forgotten. */
  private take(to: Node, batch: ChangeBatch): ApplyResult | null {
    try {
      return to.replica.apply(batch);
    } catch (error) {
      const refused = error instanceof SyncError ? error.code : "";
      if ((refused !== "REJOIN_NEEDED" && refused !== "PEER_BEHIND") || !this.options.forgetting) throw error;
      if (refused === "PEER_BEHIND") return null;
      const from = this.nodes.find(({ replica }) => replica.run === batch.run);
      if (from) this.rejoin(to, from);
      return null;
    }
  }

  /** An old batch comes again: it must be refused or change nothing that matters. */
  private replay(node: Node): void {
    if (this.old.length === 0) return;
    try {
      node.replica.apply({ ...this.pick(this.old), final: false });
    } catch (error) {
      const expected = ["BATCH_GAP", "BASELINE_CHOICE", "REJOIN_NEEDED", "PEER_BEHIND"];
      if (!(error instanceof SyncError) || !expected.includes(error.code)) throw error;
    }
  }

  /** Nothing is held beyond a vector any more, so that digests tell something. */
  private checkComparable(node: Node): void {
    if (node.replica.beyondDigest().length > 0) this.failures.push(`${node.name} holds something beyond its vector for ever`);
  }

  // ---- the end

  private finish(): Outcome {
    let rounds = 0;
    if (this.options.lose) this.lose(this.pick(this.nodes));
    this.away = null;
    if (this.bags) {
      for (let round = 0; round < 2; round++) for (const a of this.nodes) for (const b of this.nodes) this.pull(a, b, 0, 100);
      this.bags.upgrade(this.nodes);
      for (const node of this.nodes) this.bags.write(node);
    }
    for (const node of this.early ? this.nodes : []) while (this.early?.complete(node));
    for (; rounds < 12; rounds++) {
      let moved = 0;
      if (this.options.lose || this.options.reissue) for (const node of this.nodes) moved += node.replica.reissue(0);
      for (const a of this.nodes) for (const b of this.nodes) moved += this.pull(a, b, 0, 100);
      if (moved === 0) break;
    }
    if (rounds >= 12) this.failures.push("R7 no quiescence");
    if (this.isEarly) {
      this.isEarly = false;
      for (const a of this.nodes) for (const b of this.nodes) this.pull(a, b, 0, 100);
    }
    const [first] = this.nodes as [Node, ...Node[]];
    const verdict = new Verdict(this.ledger, this.options);
    for (const node of this.nodes) verdict.compare(first, node);
    if (this.bags) for (const node of this.nodes) this.failures.push(...this.bags.check(node));
    if (this.options.lose || this.options.reissue) for (const node of this.nodes) this.checkComparable(node);
    // What went with a replica is in the ledger all the same.
    if (!this.options.lose) verdict.checkRows(first);
    if (this.options.forgetting) verdict.checkDeleted(first);
    this.failures.push(...verdict.failures);
    const state = first.replica.state();
    return {
      failures: this.failures,
      changes: this.changes,
      conflicts: state.conflicts,
      parked: state.parked,
      rounds,
      forgot: this.forgot,
      ...this.rejoins,
    };
  }
}

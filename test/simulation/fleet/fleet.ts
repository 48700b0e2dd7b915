import { copyFileSync, rmSync } from "node:fs";
import { join as joinPath } from "node:path";
import { seededRandom } from "@scoutsync/testkit";
import Database from "better-sqlite3";
import { Applications } from "./applications.ts";
import { BAG } from "./bag.ts";
import { FleetHistory } from "./history.ts";
import { Network } from "./network.ts";
import { SimulatedNode } from "./node.ts";
import type { FleetOptions } from "./options.ts";
import type { ModelTable } from "./schema.ts";
import { drawSteps, type Step } from "./steps.ts";
import { FleetVerdict } from "./verdict.ts";

const MINUTE_US = 60_000_000;
const YEAR_US = 31_557_600 * 1_000_000;
const MOST_NODES = 7;
/** Rounds in which everyone pulls from everyone, until nothing moves. */
const MOST_ROUNDS = 12;

export interface FleetOutcome {
  failures: string[];
  replicas: number;
  transactions: number;
  statements: number;
  changes: number;
  conflicts: number;
  parked: number;
  crashes: number;
  /** Statements at which something died. */
  crashPoints: string[];
  damaged: number;
  restored: number;
  cloned: number;
  twins: number;
  migrated: number;
  /** Sessions that mended rows whose columns some node had dropped. */
  mended: number;
  rounds: number;
}

/** One seeded history of a fleet on real SQLite files, then quiescence, then the checks against the ledger. */
export class FleetSimulation {
  private readonly history: FleetHistory;
  private readonly applications: Applications;
  private readonly network: Network;

  constructor(seed: number, options: Partial<FleetOptions> = {}) {
    const random = seededRandom(seed);
    const history = new FleetHistory(seed, random, options, (node) => this.network.endSessions(node));
    this.history = history;
    this.applications = new Applications(history);
    this.network = new Network(history);
    const first = joinPath(history.folder, "0.db");
    const file = new Database(first);
    for (const table of history.tables) for (const sql of table.sql) file.exec(sql);
    for (const table of history.tables) for (const sql of table.sql) history.trace(sql);
    if (history.options.keyless) file.exec(BAG);
    if (random.below(2) === 0) this.applications.writeBefore(file, random);
    const known = new Map(history.authors > 0 ? [[history.authors, 1]] : []);
    file.close();
    const count = history.options.replicas || 3 + random.below(3);
    for (let i = 1; i < count; i++) copyFileSync(first, joinPath(history.folder, `${i}.db`));
    for (let i = 0; i < count; i++) this.add(joinPath(history.folder, `${i}.db`), new Map(known), random.below(2 ** 31));
  }

  get tables(): readonly ModelTable[] {
    return this.history.tables;
  }

  private add(path: string, known: Map<number, number>, seed: number): SimulatedNode {
    const { history } = this;
    const index = history.nodes.length;
    const random = seededRandom(seed);
    const node = new SimulatedNode({
      name: `n${index}`,
      path,
      index,
      author: ++history.authors,
      seed: random.below(2 ** 31),
      skewUs: Math.floor((random.next() * 2 - 1) * 30e6),
      known,
      nowUs: () => history.nowUs,
    });
    history.nodes.push(node);
    this.network.groups.push(0);
    if (!node.start()) throw new Error(`${node.name} does not start`);
    return node;
  }

  /** Runs these steps, or those that the seed draws, and everything that follows. */
  run(steps: readonly Step[] = drawSteps(this.history.seed, this.history.options)): FleetOutcome {
    const { history } = this;
    try {
      for (const step of steps) {
        this.perform(step);
        if (history.failures.length > 0) break;
      }
      const rounds = history.failures.length > 0 ? 0 : this.finish();
      const state = history.nodes[0]?.replica?.state();
      return {
        failures: history.failures,
        replicas: history.nodes.length,
        ...history.counts,
        conflicts: state?.conflicts ?? 0,
        parked: state?.parked ?? 0,
        crashPoints: [...history.crashPoints],
        rounds,
      };
    } finally {
      for (const node of history.nodes) {
        node.stop();
        node.disconnect();
      }
      rmSync(history.folder, { recursive: true, force: true });
    }
  }

  private perform(step: Step): void {
    const { history } = this;
    const random = seededRandom(step.seed);
    const node = history.nodes[step.node % history.nodes.length] as SimulatedNode;
    const other = history.nodes[step.other % history.nodes.length] as SimulatedNode;
    // Mostly seconds, now and then hours.
    history.nowUs += 1_000 + Math.floor(random.next() ** 8 * 40_000_000_000);
    history.trace(`${step.kind} ${node.name} ${other.name}`);
    const crash = (of: SimulatedNode) => {
      if (step.crashAt > 0) of.life.arm(step.crashAt, step.seed % 2 === 0);
    };
    switch (step.kind) {
      case "write":
        return this.applications.write(node, step, random);
      case "begin":
        return this.applications.begin(node, step, random);
      case "end":
        return this.applications.end(node, random.below(4) > 0);
      case "drain":
        history.alive([node], () => {
          crash(node);
          node.replica?.drain();
        });
        return undefined;
      case "sync":
      case "stream":
        return this.network.sync(node, other, random, step.kind === "sync", () => crash(random.below(2) === 0 ? node : other));
      case "go on":
        return this.network.goOn(random, crash);
      case "replay":
        return this.network.replay(node, random);
      case "restart": {
        if (!history.options.restarts) return undefined;
        this.network.endSessions(node);
        node.stop();
        node.start((life) => {
          if (step.crashAt > 0) life.arm(step.crashAt, step.seed % 2 === 0);
        });
        return history.countDeath(node);
      }
      case "backup":
        return this.backup(node);
      case "restore":
        return this.restore(node);
      case "clone":
        return this.clone(node, step.seed);
      case "jump":
        node.skewUs = Math.floor((random.next() * 2 - 1) * (random.below(2) === 0 ? 60e6 : 20 * YEAR_US));
        return undefined;
      case "partition":
        this.network.groups = history.nodes.map(() => random.below(2));
        return undefined;
      case "migrate":
        return this.applications.migrate(node, random, () => crash(node));
    }
  }

  private backup(node: SimulatedNode): void {
    const { history } = this;
    // What waits in the dirty list would be drained twice, by two histories.
    if (node.open || !history.alive([node], () => node.replica?.drain())) return;
    const path = joinPath(history.folder, `${node.index}.backup`);
    node.copyTo(path);
    node.backup = { path, known: new Map(node.known) };
  }

  private restore(node: SimulatedNode): void {
    const { history } = this;
    if (!node.backup || node.open) return;
    this.network.endSessions(node);
    node.replaceFile(node.backup.path);
    history.counts.restored++;
    // What nobody else is known to have may be gone for good, or may have been on its way.
    for (const event of history.ledger.events) {
      const has = (known: ReadonlyMap<number, number>) => (known.get(event.author) ?? 0) >= event.number;
      if (has(node.known) && !has(node.backup.known) && !history.nodes.some((one) => one !== node && has(one.known)))
        event.uncertain = true;
    }
    node.known = new Map(node.backup.known);
    node.author = ++history.authors;
    history.alive([node], () => undefined);
  }

  private clone(node: SimulatedNode, seed: number): void {
    const { history } = this;
    if (history.nodes.length >= MOST_NODES || node.open || !history.alive([node], () => node.replica?.drain())) return;
    const path = joinPath(history.folder, `${history.nodes.length}.db`);
    node.copyTo(path);
    this.add(path, new Map(node.known), seed);
    history.counts.cloned++;
  }

  private finish(): number {
    const { history } = this;
    for (const node of history.nodes) {
      this.applications.end(node, true);
      this.network.endSessions(node);
    }
    for (const node of history.nodes) if (!node.start()) history.fail(`${node.name} does not start`);
    for (const node of history.nodes)
      for (const _ of history.migrations) this.applications.migrate(node, seededRandom(history.seed), () => undefined);
    if (history.options.drops) history.nowUs += MINUTE_US;
    // Where all were restored someone has to say that the first one may serve.
    const [first] = history.nodes;
    if (first && history.options.copies) {
      first.stop();
      first.serveRestored = true;
      first.start();
    }
    let rounds = 0;
    let moved = true;
    for (; moved && rounds < MOST_ROUNDS && history.failures.length === 0; rounds++) {
      moved = false;
      for (const to of history.nodes) for (const from of history.nodes) if (to !== from) moved = this.network.calm(to, from) || moved;
    }
    if (moved) history.fail(`R7 something still moves after ${rounds} rounds`);
    if (history.failures.length > 0) return rounds;
    const verdict = new FleetVerdict(
      history.ledger,
      history.nodes,
      history.migrations.at(-1)?.tables ?? history.tables,
      history.options,
      this.returned,
    );
    for (const text of verdict.check()) history.fail(text);
    this.applications.checkBags();
    return rounds;
  }

  /** Tables that are back after they were dropped, each with the release that made it last. */
  private get returned(): Map<string, number> {
    return new Map(this.history.migrations.flatMap(({ returned }, i) => (returned === undefined ? [] : [[returned, i + 1] as const])));
  }
}

import { bytesOn, treeOf } from "./model-disk.ts";
import { ModelFleet, NODES, type ModelSite } from "./model-fleet.ts";
import { pull } from "./exchange.ts";
import { Mishaps } from "./model-mishaps.ts";
import { isDecomposed } from "./model-people.ts";

export interface ModelOptions {
  steps: number;
  trace?: boolean;
}

/**
 * Three nodes on real folders, people at each who edit, rename, delete and decide, and sessions between them that may be cut by
 * the death of a process, or met by an edit, at any step that lasts. Its ledgers are what is on the disks and what was asked of
 * the file system: what a person wrote is destroyed by persons only (F1, F4), a manifest knows what is durable only (F2), and
 * nothing outside of the roots changes (F5). At the end no version stands for two contents (F3), and all roots are equal (F6).
 */
export class FileModel {
  private readonly fleet: ModelFleet;
  private readonly mishaps: Mishaps;
  private readonly steps: number;

  constructor(seed: number, { steps, trace = false }: ModelOptions) {
    this.steps = steps;
    this.fleet = new ModelFleet(seed, trace);
    this.mishaps = new Mishaps(this.fleet);
  }

  async run(): Promise<void> {
    const { fleet } = this;
    try {
      for (const name of NODES) fleet.sites.push(await fleet.open(name));
      for (let step = 0; step < this.steps; step++) {
        await this.step();
        fleet.expectNothingOutside();
      }
      await this.finish();
    } finally {
      await fleet.close();
    }
  }

  private async step(): Promise<void> {
    const site = this.fleet.pick(this.fleet.sites);
    const other = this.fleet.pick(this.fleet.sites.filter((one) => one !== site));
    const dice = this.fleet.integer(0, 99);
    if (dice < 44) this.fleet.people.act(site);
    else if (dice < 47) site.clockUs = this.fleet.integer(-5, 5) * 3_600_000_000;
    else if (dice < 49) await this.mishaps.loseManifest(site);
    else if (dice < 50) await this.mishaps.unmounted(site);
    else if (dice < 52)
      await this.fleet.reconfigure(
        site,
        this.fleet.integer(0, 1) === 0 ? [] : [this.fleet.pick(["b", "c.txt", "Ü/**"])],
        site.maxSizeBytes,
      );
    else if (dice < 55) await this.mishaps.unreadable(site);
    else if (dice < 58) await this.restore(site);
    else if (dice < 62) await this.decide(site);
    else if (dice < 64) await this.mishaps.lie(site);
    else if (dice < 66) await this.mishaps.copy(site, other);
    else if (dice < 68) await this.mishaps.forget(site);
    else if (dice < 70) await this.mishaps.snapshot(site);
    else if (dice < 74) await this.fleet.survive(site, () => this.fleet.look(site), this.fleet.fuse());
    else await this.fleet.session(site, other);
  }

  /** An earlier version comes back. */
  private async restore(site: ModelSite): Promise<void> {
    const known = await site.engine.files("", "", 10_000);
    if (known.length === 0) return;
    const { path } = this.fleet.pick(known);
    const stored = await site.engine.versions(path);
    const hash = stored.length > 0 && this.fleet.integer(0, 1) === 0 ? this.fleet.pick(stored).hash : "";
    this.fleet.say(`${site.name} restores ${path}: ${hash.slice(0, 6)}`);
    await this.fleet.survive(
      site,
      () => this.fleet.unlessRefused(site.engine.restore(path, hash), ["NOT_FOUND", "FILE_BLOCKED"]),
      this.fleet.fuse(),
    );
  }

  /** A conflict is decided, or a mass delete. */
  private async decide(site: ModelSite): Promise<void> {
    // A root that was away has been seen to be back by nobody yet.
    const reviews = (await site.engine.reviews()).filter(({ key, reason }) => key !== "" || reason.includes("missing at once"));
    if (reviews.length === 0) return;
    const review = this.fleet.pick(reviews);
    const decision = review.reason.includes("missing at once")
      ? this.fleet.pick(["release", "undo"] as const)
      : this.fleet.pick(["winner", "loser"] as const);
    this.fleet.say(`${site.name} decides on ${review.key}: ${decision}`);
    // The other's bytes may be on another node only.
    await this.fleet.survive(
      site,
      () => this.fleet.unlessRefused(site.engine.resolve(review.id, decision), ["NOT_FOUND", "FILE_BLOCKED"]),
      this.fleet.fuse(),
    );
  }

  /**
   * All sync until nothing moves, under whatever rules there are by then; then people take the rules and links away, and they
   * sync again. Everything has to be as it was promised.
   */
  private async finish(): Promise<void> {
    for (const site of this.fleet.sites) site.clockUs = 0;
    for (const site of this.fleet.sites) {
      await this.fleet.survive(site, () => this.fleet.look(site));
      for (const review of await site.engine.reviews())
        if (review.reason.includes("missing at once")) await site.engine.resolve(review.id, this.fleet.pick(["release", "undo"] as const));
    }
    await this.settle("under their rules", false);
    await this.writeAnew();
    for (const site of this.fleet.sites)
      if (site.exclude.length > 0 || site.maxSizeBytes !== undefined) await this.fleet.reconfigure(site, [], undefined);
    this.fleet.people.tidy();
    await this.settle("without rules", true);
    const trees = this.fleet.sites.map(({ root }) => treeOf(root, (path) => !isDecomposed(path)));
    for (const [at, tree] of trees.entries())
      if (tree !== trees[0]) throw new Error(`${NODES[at]} differs:\n${trees[0]}\n--\n${tree}\n${await this.differences()}`);
    for (const { engine, name } of this.fleet.sites) {
      const { wanted, missing, problem } = engine.state();
      if (wanted + missing > 0 || problem !== "") throw new Error(`${name}: ${wanted} wanted, ${missing} missing, ${problem}`);
      const { changed } = await this.fleet.watched(() => engine.scan({ confirm: true }));
      if (changed > 0) throw new Error(`${name}: a look after the end found ${changed} changes`);
    }
    await this.sameVersionsSameContent();
  }

  /** What people have destroyed on all disks and then wanted back is written by them once more. */
  private async writeAnew(): Promise<void> {
    const everywhere = new Set(this.fleet.sites.flatMap(({ root }) => [...bytesOn(root).keys()]));
    for (const site of this.fleet.sites)
      for (const { path, hash, state } of await site.engine.files("", "", 10_000))
        if (state === "wanted" && !everywhere.has(hash)) this.fleet.people.writeAnew(site, path);
  }

  /** Sessions in all directions, while nobody edits, until one round of them moves nothing. */
  private async settle(when: string, areSame: boolean): Promise<void> {
    for (let round = 0; ; round++) {
      let moved = 0;
      for (const to of this.fleet.sites) {
        await this.fleet.survive(to, () => this.fleet.look(to));
        for (const from of this.fleet.sites) {
          if (to === from) continue;
          await this.fleet.survive(to, async () => {
            const { entries, fetched, refused } = await pull(to.engine, from.engine, from.name);
            moved += fetched + entries;
            // A file that was taken away, or left alone, since it was listed.
            if (areSame && refused.length > 0 && round > 4)
              throw new Error(`${when}: ${to.name} refused ${JSON.stringify(refused)} of ${from.name}\n${await this.differences()}`);
          });
        }
      }
      const digests = new Set(this.fleet.sites.map(({ engine }) => engine.state().digest));
      if (moved === 0 && (!areSame || digests.size === 1) && round > 0) return;
      // What waits for a link to go is told again each time.
      if (round === 10 && !areSame) return;
      if (round === 10) throw new Error(`${when}: no end: ${moved} moved, ${await this.differences()}`);
    }
  }

  private async differences(): Promise<string> {
    const rows = new Map<string, string[]>();
    for (const { engine, name } of this.fleet.sites) {
      for (const { path, kind, hash, version, state } of await engine.files("", "", 10_000)) {
        rows.set(path, [...(rows.get(path) ?? []), `${name}: ${kind} ${hash.slice(0, 6)} ${state} ${version}`]);
      }
    }
    const differing = [...rows].filter(
      ([, lines]) =>
        new Set(lines.map((line) => line.slice(4))).size > 1 ||
        lines.some((line) => !line.includes(" here ")) ||
        lines.length < NODES.length,
    );
    return differing.map(([path, lines]) => `${path}\n  ${lines.join("\n  ")}`).join("\n");
  }

  private async sameVersionsSameContent(): Promise<void> {
    const byVersion = new Map<string, string>();
    for (const { engine } of this.fleet.sites) {
      for (const { path, version, hash, kind } of await engine.files("", "", 10_000)) {
        const key = `${path}\0${version}`;
        const content = `${kind} ${hash}`;
        if ((byVersion.get(key) ?? content) !== content) throw new Error(`one version of ${path} stands for two contents`);
        byVersion.set(key, content);
      }
    }
  }
}

/** Runs seeds; throws with the seed of the first that fails. */
export async function runSeeds(from: number, count: number, options: ModelOptions): Promise<void> {
  for (let seed = from; seed < from + count; seed++) {
    try {
      await new FileModel(seed, options).run();
    } catch (error) {
      throw new Error(`seed ${seed} of the file model: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }
}

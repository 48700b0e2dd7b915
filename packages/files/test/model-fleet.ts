// First: it notes what the product asks of the file system.
import { diskLedger } from "./disk-ledger.ts";
import { existsSync, lstatSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { seededRandom, temporaryFolder, type Random } from "@scoutsync/testkit";
import { FileRootEngine, type FileRootOptions } from "../src/index.ts";
import { pull, type Site } from "./exchange.ts";
import { below, bytesOn, canaryOf } from "./model-disk.ts";
import { LARGE_BYTES, People, type Desk } from "./model-people.ts";

/** Thrown out of the engine where the process would have died. */
class Died extends Error {}

export interface ModelSite extends Site, Desk {
  /** Steps until the process dies; Infinity = it lives. */
  fuse: number;
  /** Steps until somebody does something to a file in the middle of it. */
  meddling: number;
  clockUs: number;
  /** Patterns of this node's own configuration. */
  exclude: readonly string[];
  maxSizeBytes: number | undefined;
  /** What has been seen in the store. */
  stored: Set<string>;
  /** What has ever been seen on its disk. */
  seen: Set<string>;
}

export const NODES = ["n1", "n2", "n3"];

/**
 * Three nodes on real folders and the people at each. Whatever a node does by itself is held to two ledgers: what is on the disks
 * before and after, and what was asked of the file system.
 */
export class ModelFleet {
  readonly random: Random;
  readonly folder: { path: string; remove(): void };
  readonly sites: ModelSite[] = [];
  readonly people: People;
  /** A folder outside of every root. */
  readonly elsewhere: string;
  private readonly secrets: readonly string[];
  private readonly canary: string;
  private readonly isTraced: boolean;

  constructor(seed: number, isTraced: boolean) {
    this.isTraced = isTraced;
    this.random = seededRandom(seed);
    this.folder = temporaryFolder(`model-${seed}`);
    this.elsewhere = join(this.folder.path, "elsewhere");
    mkdirSync(join(this.elsewhere, "deep"), { recursive: true });
    writeFileSync(join(this.elsewhere, "secret"), "nobody's business");
    writeFileSync(join(this.elsewhere, "deep", "a"), "nobody's business, deep");
    symlinkSync("secret", join(this.elsewhere, "link"));
    this.secrets = [...bytesOn(this.elsewhere).keys()];
    this.canary = canaryOf(this.elsewhere);
    for (const name of NODES) for (const own of ["root", "data"]) mkdirSync(join(this.folder.path, name, own), { recursive: true });
    const say = (text: string) => this.say(text);
    this.people = new People({ random: this.random, desks: this.sites, elsewhere: this.elsewhere, say });
  }

  expectNothingOutside(): void {
    if (canaryOf(this.elsewhere) !== this.canary) throw new Error("something outside of every root was touched");
  }

  async close(): Promise<void> {
    for (const site of this.sites) {
      site.fuse = Infinity;
      await site.engine.close().catch(() => {});
    }
    this.folder.remove();
  }

  async open(name: string, from?: ModelSite): Promise<ModelSite> {
    const root = join(this.folder.path, name, "root");
    const site: ModelSite = from ?? {
      name,
      root,
      manifest: join(this.folder.path, name, "data", "files.db"),
      fuse: Infinity,
      meddling: Infinity,
      clockUs: 0,
      exclude: [],
      maxSizeBytes: this.integer(0, 3) === 0 ? LARGE_BYTES : undefined,
      stored: new Set(),
      seen: new Set(),
      owed: null,
      stood: [],
      engine: undefined as unknown as FileRootEngine,
    };
    const options: FileRootOptions = {
      name: "uploads",
      path: root,
      manifestPath: site.manifest,
      nodeName: name,
      databases: [],
      exclude: site.exclude,
      limits: site.maxSizeBytes === undefined ? undefined : { maxSizeBytes: site.maxSizeBytes },
    };
    const seams = {
      sightingGapMs: 0,
      nowUs: () => Date.now() * 1000 + site.clockUs,
      reached: (step: string) => {
        if (site.meddling-- <= 0) {
          site.meddling = this.integer(0, 8);
          this.say(`… at "${step}":`);
          this.people.meddle(site);
        }
        if (site.fuse-- > 0) return;
        this.say(`${name} dies: ${step}`);
        throw new Died(step);
      },
    };
    site.engine = await this.watched(() => FileRootEngine.open(options, seams));
    return site;
  }

  async look(site: ModelSite): Promise<void> {
    await site.engine.scan({ confirm: true });
  }

  async session(to: ModelSite, from: ModelSite): Promise<void> {
    this.say(`${to.name} pulls from ${from.name}`);
    const look = this.integer(0, 3) > 0;
    if (look) await this.survive(from, () => this.look(from));
    await this.survive(to, () => this.look(to));
    if (this.integer(0, 1) === 0) to.meddling = this.integer(0, 8);
    await this.survive(to, () => pull(to.engine, from.engine, from.name), this.fuse());
    to.meddling = Infinity;
  }

  /** Now and then a process dies. */
  fuse(): number {
    return this.integer(0, 3) === 0 ? this.integer(0, 25) : Infinity;
  }

  /**
   * Runs what the node does by itself; where the process dies, a new one begins. Every byte string that was on its disk, in
   * place or in the store, has to be there afterwards, but for what a person has destroyed meanwhile: nothing is the engine's to
   * destroy; and no path may be gone that no person has taken away on any node.
   */
  async survive(site: ModelSite, work: () => Promise<unknown>, fuse = Infinity): Promise<void> {
    const owed = (site.owed = bytesOn(site.root));
    for (const hash of site.stored)
      if (!owed.has(hash)) throw new Error(`${hash.slice(0, 6)} was in the store of ${site.name}, and has gone`);
    const paths = (site.stood = below(site.root, ""));
    site.fuse = fuse;
    await this.live(site, work);
    site.fuse = Infinity;
    const now = bytesOn(site.root);
    for (const path of paths)
      if (!this.people.takenAway.has(path) && !existsSync(join(site.root, path)) && !isLink(join(site.root, path)))
        throw new Error(`${path} went from ${site.name}, and nobody had taken it away anywhere`);
    for (const [hash, where] of owed) if (!now.has(hash)) throw new Error(`${site.name} lost ${hash.slice(0, 6)}, which was ${where}`);
    site.owed = null;
    for (const hash of this.secrets)
      if (now.has(hash)) throw new Error(`${site.name} took in what lies outside of its root: ${now.get(hash)}`);
    for (const [hash, where] of now) {
      site.seen.add(hash);
      if (where.startsWith("object ")) site.stored.add(hash);
    }
    diskLedger.expectDurable(site.manifest, site.root);
  }

  private async live(site: ModelSite, work: () => Promise<unknown>): Promise<void> {
    try {
      await this.watched(work);
    } catch (error) {
      if (!(error instanceof Died)) throw error;
      diskLedger.expectDurable(site.manifest, site.root);
      await this.recover(site);
    }
  }

  /** In a session both nodes are at work. */
  watched<T>(work: () => Promise<T>): Promise<T> {
    const own = NODES.flatMap((name) => [join(this.folder.path, name, "root"), join(this.folder.path, name, "data")]);
    return diskLedger.watch(own, work);
  }

  async recover(site: ModelSite): Promise<void> {
    site.fuse = Infinity;
    const { meddling } = site;
    site.meddling = Infinity;
    await site.engine.close().catch(() => {});
    await this.open(site.name, site);
    site.meddling = meddling;
  }

  async reconfigure(site: ModelSite, exclude: readonly string[], maxSizeBytes: number | undefined): Promise<void> {
    this.say(`${site.name} leaves ${JSON.stringify(exclude)} alone, and what is larger than ${maxSizeBytes ?? "nothing"}`);
    site.exclude = exclude;
    site.maxSizeBytes = maxSizeBytes;
    await this.recover(site);
  }

  async unlessRefused(work: Promise<unknown>, codes: readonly string[]): Promise<void> {
    try {
      await work;
    } catch (error) {
      if (!codes.includes((error as { code?: string }).code ?? "")) throw error;
    }
  }

  pick<T>(from: readonly T[]): T {
    return this.random.pick(from);
  }

  integer(from: number, to: number): number {
    return from + this.random.below(to - from + 1);
  }

  say(text: string): void {
    if (this.isTraced) process.stderr.write(`${text}\n`);
  }
}

const isLink = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true;

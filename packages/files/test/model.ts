// First: it notes what the product asks of the file system.
import { diskLedger } from "./disk-ledger.ts";
import { createHash } from "node:crypto";
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { FileEntry, Origin } from "@scoutsync/core";
import { seededRandom, temporaryFolder, type Random } from "@scoutsync/testkit";
import { FileRootEngine, type FileRootOptions } from "../src/index.ts";
import { pull, type Site } from "./exchange.ts";
import { below, bytesOn, canaryOf, isHere, RULES, treeOf } from "./model-disk.ts";
import { isDecomposed, LARGE_BYTES, People, type Desk } from "./model-people.ts";

/** Thrown out of the engine where the process would have died. */
class Died extends Error {}

interface ModelSite extends Site, Desk {
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
}

export interface ModelOptions {
  steps: number;
  trace?: boolean;
}

const NODES = ["n1", "n2", "n3"];

/**
 * Three nodes on real folders, people at each who edit, rename, delete and decide, and sessions between them that may be cut by
 * the death of a process, or met by an edit, at any step that lasts. Its ledgers are what is on the disks and what was asked of
 * the file system: what a person wrote is destroyed by persons only (F1, F4), a manifest knows what is durable only (F2), and
 * nothing outside of the roots changes (F5). At the end no version stands for two contents (F3), and all roots are equal (F6).
 */
export class FileModel {
  private readonly random: Random;
  private readonly folder: { path: string; remove(): void };
  private readonly sites: ModelSite[] = [];
  private readonly people: People;
  private readonly options: ModelOptions;
  /** A folder outside of every root. */
  private readonly elsewhere: string;
  private readonly secrets: readonly string[];
  private lies = 0;

  constructor(seed: number, options: ModelOptions) {
    this.options = options;
    this.random = seededRandom(seed);
    this.folder = temporaryFolder(`model-${seed}`);
    this.elsewhere = join(this.folder.path, "elsewhere");
    mkdirSync(join(this.elsewhere, "deep"), { recursive: true });
    writeFileSync(join(this.elsewhere, "secret"), "nobody's business");
    writeFileSync(join(this.elsewhere, "deep", "a"), "nobody's business, deep");
    symlinkSync("secret", join(this.elsewhere, "link"));
    this.secrets = [...bytesOn(this.elsewhere).keys()];
    const say = (text: string) => this.say(text);
    this.people = new People({ random: this.random, desks: this.sites, elsewhere: this.elsewhere, say });
  }

  async run(): Promise<void> {
    const canary = canaryOf(this.elsewhere);
    for (const name of NODES) for (const own of ["root", "data"]) mkdirSync(join(this.folder.path, name, own), { recursive: true });
    try {
      for (const name of NODES) this.sites.push(await this.open(name));
      for (let step = 0; step < this.options.steps; step++) {
        await this.step();
        if (canaryOf(this.elsewhere) !== canary) throw new Error("something outside of every root was touched");
      }
      await this.finish();
    } finally {
      for (const site of this.sites) {
        site.fuse = Infinity;
        await site.engine.close().catch(() => {});
      }
      this.folder.remove();
    }
  }

  private async open(name: string, from?: ModelSite): Promise<ModelSite> {
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
      owed: null,
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

  private async step(): Promise<void> {
    const site = this.pick(this.sites);
    const other = this.pick(this.sites.filter((one) => one !== site));
    const dice = this.integer(0, 99);
    if (dice < 44) this.people.act(site);
    else if (dice < 47) site.clockUs = this.integer(-5, 5) * 3_600_000_000;
    else if (dice < 49) await this.loseManifest(site);
    else if (dice < 50) await this.unmounted(site);
    else if (dice < 52)
      await this.reconfigure(site, this.integer(0, 1) === 0 ? [] : [this.pick(["b", "c.txt", "Ü/**"])], site.maxSizeBytes);
    else if (dice < 55) await this.unreadable(site);
    else if (dice < 58) await this.restore(site);
    else if (dice < 62) await this.decide(site);
    else if (dice < 64) await this.lie(site);
    else if (dice < 66) await this.copy(site, other);
    else if (dice < 72) await this.survive(site, () => this.look(site), this.fuse());
    else await this.session(site, other);
  }

  private async reconfigure(site: ModelSite, exclude: readonly string[], maxSizeBytes: number | undefined): Promise<void> {
    this.say(`${site.name} leaves ${JSON.stringify(exclude)} alone, and what is larger than ${maxSizeBytes ?? "nothing"}`);
    site.exclude = exclude;
    site.maxSizeBytes = maxSizeBytes;
    await this.recover(site);
  }

  private async loseManifest(site: ModelSite): Promise<void> {
    await this.recover(site);
    this.say(`${site.name} loses its manifest`);
    await site.engine.close();
    for (const end of ["", "-wal", "-shm"]) rmSync(site.manifest + end, { force: true });
    await this.open(site.name, site);
  }

  /** The folder is empty for a while, as a mount point is. */
  private async unmounted(site: ModelSite): Promise<void> {
    this.say(`${site.name} is not mounted`);
    renameSync(site.root, `${site.root}.away`);
    mkdirSync(site.root);
    const before = await site.engine.files("", "", 10_000);
    await expectRefusal(() => site.engine.scan({ confirm: true }));
    const after = await site.engine.files("", "", 10_000);
    if (JSON.stringify(before) !== JSON.stringify(after)) throw new Error(`${site.name}: an unmounted folder changed the manifest`);
    if (readdirSync(site.root).length > 0) throw new Error(`${site.name}: something was written into an unmounted folder`);
    rmSync(site.root, { recursive: true });
    renameSync(`${site.root}.away`, site.root);
  }

  /** A folder or a file that may not be read for a while: nothing of it is deleted, here or by those who hear from here. */
  private async unreadable(site: ModelSite): Promise<void> {
    await this.survive(site, () => this.look(site));
    const path = this.people.existing(site.root, true);
    if (!path) return;
    const other = this.pick(this.sites.filter((one) => one !== site));
    this.say(`${site.name} may not read ${path}; ${other.name} and it pull from each other`);
    const full = join(site.root, path);
    const mode = statSync(full).mode & 0o777;
    const before = below(site.root, path);
    const bytes = bytesOn(site.root);
    chmodSync(full, 0);
    try {
      await this.watched(() => this.look(site));
      await this.survive(other, () => pull(other.engine, site.engine, site.name));
      await this.watched(() => pull(site.engine, other.engine, other.name));
      await this.watched(() => this.look(site));
    } finally {
      // Somebody else may have taken it away meanwhile.
      if (existsSync(full)) chmodSync(full, mode);
    }
    const now = bytesOn(site.root);
    for (const [hash, where] of bytes) if (!now.has(hash)) throw new Error(`${site.name} lost ${hash.slice(0, 6)}, which was ${where}`);
    for (const one of before)
      if (!this.people.takenAway.has(one) && !existsSync(join(site.root, one)))
        throw new Error(`${site.name}: ${one} went while it could not be read`);
  }

  /**
   * A copy of the root is made; the next time it is put in its place. What others have by then and the copy does not is not deleted
   * by that.
   */
  private async copy(site: ModelSite, other: ModelSite): Promise<void> {
    const copy = `${site.root}.copy`;
    if (!existsSync(copy)) {
      this.say(`${site.name} makes a copy of its root`);
      return cpSync(site.root, copy, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
    }
    if (this.sites.some(({ exclude, maxSizeBytes, root }) => exclude.length > 0 || maxSizeBytes !== undefined || isHere(root, RULES)))
      return;
    await this.survive(site, () => this.look(site));
    await this.survive(other, () => pull(other.engine, site.engine, site.name));
    this.say(`${site.name} puts the copy of its root in its place`);
    await site.engine.close();
    rmSync(site.root, { recursive: true });
    renameSync(copy, site.root);
    site.stored.clear();
    await this.open(site.name, site);
    await this.survive(site, () => this.look(site));
  }

  /** An earlier version comes back. */
  private async restore(site: ModelSite): Promise<void> {
    const known = await site.engine.files("", "", 10_000);
    if (known.length === 0) return;
    const { path } = this.pick(known);
    const stored = await site.engine.versions(path);
    const hash = stored.length > 0 && this.integer(0, 1) === 0 ? this.pick(stored).hash : "";
    this.say(`${site.name} restores ${path}: ${hash.slice(0, 6)}`);
    await this.survive(site, () => this.unlessRefused(site.engine.restore(path, hash), ["NOT_FOUND", "FILE_BLOCKED"]), this.fuse());
  }

  /** A conflict is decided, or a mass delete. */
  private async decide(site: ModelSite): Promise<void> {
    // A root that was away has been seen to be back by nobody yet.
    const reviews = (await site.engine.reviews()).filter(({ key, reason }) => key !== "" || reason.includes("missing at once"));
    if (reviews.length === 0) return;
    const review = this.pick(reviews);
    const decision = review.reason.includes("missing at once")
      ? this.pick(["release", "undo"] as const)
      : this.pick(["winner", "loser"] as const);
    this.say(`${site.name} decides on ${review.key}: ${decision}`);
    // The other's bytes may be on another node only.
    await this.survive(
      site,
      () => this.unlessRefused(site.engine.resolve(review.id, decision), ["NOT_FOUND", "FILE_BLOCKED"]),
      this.fuse(),
    );
  }

  private async unlessRefused(work: Promise<unknown>, codes: readonly string[]): Promise<void> {
    try {
      await work;
    } catch (error) {
      if (!codes.includes((error as { code?: string }).code ?? "")) throw error;
    }
  }

  /** A peer says what no honest one does: paths that lead out of the root, through a link as well, and other bytes than it announced. */
  private async lie(site: ModelSite): Promise<void> {
    const links = below(site.root, "").filter((path) => lstatSync(join(site.root, path)).isSymbolicLink());
    const bytes = Buffer.from(`lie ${++this.lies}`);
    const hash = createHash("sha256").update(bytes).digest("hex");
    const path = this.pick([
      "../elsewhere/secret",
      "a/../../elsewhere/x",
      this.elsewhere,
      "a\0b",
      "CON",
      ...links.map((link) => `${link}/x`),
    ]);
    this.say(`${site.name} is lied to: ${path}`);
    const version = new Map([["l".repeat(16) as Origin, this.lies]]);
    const entry: FileEntry = {
      path,
      kind: "file",
      hash,
      size: bytes.length,
      mode: 7,
      modifiedUs: 1,
      version,
      stampUs: 1,
      author: "liar",
      before: "",
      cause: "",
      losers: [],
    };
    await this.survive(site, async () => {
      await site.engine.receive([entry], "z".repeat(16), "liar");
      await site.engine.begin(hash, bytes.length);
      await site.engine.write(hash, 0, this.integer(0, 1) === 0 ? bytes : Buffer.alloc(bytes.length, "x"));
      await this.unlessRefused(site.engine.finish(hash), ["FILE_CORRUPT"]);
      const { placed } = await site.engine.receive([entry], "z".repeat(16), "liar");
      if (placed > 0) throw new Error(`${site.name} took ${path}`);
    });
  }

  private async look(site: ModelSite): Promise<void> {
    await site.engine.scan({ confirm: true });
  }

  private async session(to: ModelSite, from: ModelSite): Promise<void> {
    this.say(`${to.name} pulls from ${from.name}`);
    const look = this.integer(0, 3) > 0;
    if (look) await this.survive(from, () => this.look(from));
    await this.survive(to, () => this.look(to));
    if (this.integer(0, 1) === 0) to.meddling = this.integer(0, 8);
    await this.survive(to, () => pull(to.engine, from.engine, from.name), this.fuse());
    to.meddling = Infinity;
  }

  /** Now and then a process dies. */
  private fuse(): number {
    return this.integer(0, 3) === 0 ? this.integer(0, 25) : Infinity;
  }

  /**
   * Runs what the node does by itself; where the process dies, a new one begins. Every byte string that was on its disk, in
   * place or in the store, has to be there afterwards, but for what a person has destroyed meanwhile: nothing is the engine's to
   * destroy; and no path may be gone that no person has taken away on any node.
   */
  private async survive(site: ModelSite, work: () => Promise<unknown>, fuse = Infinity): Promise<void> {
    const owed = (site.owed = bytesOn(site.root));
    for (const hash of site.stored)
      if (!owed.has(hash)) throw new Error(`${hash.slice(0, 6)} was in the store of ${site.name}, and has gone`);
    const paths = below(site.root, "");
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
    for (const [hash, where] of now) if (where.startsWith("object ")) site.stored.add(hash);
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
  private watched<T>(work: () => Promise<T>): Promise<T> {
    const own = NODES.flatMap((name) => [join(this.folder.path, name, "root"), join(this.folder.path, name, "data")]);
    return diskLedger.watch(own, work);
  }

  private async recover(site: ModelSite): Promise<void> {
    site.fuse = Infinity;
    const { meddling } = site;
    site.meddling = Infinity;
    await site.engine.close().catch(() => {});
    await this.open(site.name, site);
    site.meddling = meddling;
  }

  /**
   * All sync until nothing moves, under whatever rules there are by then; then people take the rules and links away, and they
   * sync again. Everything has to be as it was promised.
   */
  private async finish(): Promise<void> {
    for (const site of this.sites) site.clockUs = 0;
    for (const site of this.sites) {
      await this.survive(site, () => this.look(site));
      for (const review of await site.engine.reviews())
        if (review.reason.includes("missing at once")) await site.engine.resolve(review.id, this.pick(["release", "undo"] as const));
    }
    await this.settle("under their rules", false);
    await this.writeAnew();
    for (const site of this.sites)
      if (site.exclude.length > 0 || site.maxSizeBytes !== undefined) await this.reconfigure(site, [], undefined);
    this.people.tidy();
    await this.settle("without rules", true);
    const trees = this.sites.map(({ root }) => treeOf(root, (path) => !isDecomposed(path)));
    for (const [at, tree] of trees.entries())
      if (tree !== trees[0]) throw new Error(`${NODES[at]} differs:\n${trees[0]}\n--\n${tree}\n${await this.differences()}`);
    for (const { engine, name } of this.sites) {
      const { wanted, missing, problem } = engine.state();
      if (wanted + missing > 0 || problem !== "") throw new Error(`${name}: ${wanted} wanted, ${missing} missing, ${problem}`);
      const { changed } = await this.watched(() => engine.scan({ confirm: true }));
      if (changed > 0) throw new Error(`${name}: a look after the end found ${changed} changes`);
    }
    await this.sameVersionsSameContent();
  }

  /** What people have destroyed on all disks and then wanted back is written by them once more. */
  private async writeAnew(): Promise<void> {
    const everywhere = new Set(this.sites.flatMap(({ root }) => [...bytesOn(root).keys()]));
    for (const site of this.sites)
      for (const { path, hash, state } of await site.engine.files("", "", 10_000))
        if (state === "wanted" && !everywhere.has(hash)) this.people.edit(site, path);
  }

  /** Sessions in all directions, while nobody edits, until one round of them moves nothing. */
  private async settle(when: string, areSame: boolean): Promise<void> {
    for (let round = 0; ; round++) {
      let moved = 0;
      for (const to of this.sites) {
        await this.survive(to, () => this.look(to));
        for (const from of this.sites) {
          if (to === from) continue;
          await this.survive(to, async () => {
            const { entries, fetched, refused } = await pull(to.engine, from.engine, from.name);
            moved += fetched + entries;
            // A file that was taken away, or left alone, since it was listed.
            if (areSame && refused.length > 0 && round > 4)
              throw new Error(`${when}: ${to.name} refused ${JSON.stringify(refused)} of ${from.name}\n${await this.differences()}`);
          });
        }
      }
      const digests = new Set(this.sites.map(({ engine }) => engine.state().digest));
      if (moved === 0 && (!areSame || digests.size === 1) && round > 0) return;
      // What waits for a link to go is told again each time.
      if (round === 10 && !areSame) return;
      if (round === 10) throw new Error(`${when}: no end: ${moved} moved, ${await this.differences()}`);
    }
  }

  private async differences(): Promise<string> {
    const rows = new Map<string, string[]>();
    for (const { engine, name } of this.sites) {
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
    for (const { engine } of this.sites) {
      for (const { path, version, hash, kind } of await engine.files("", "", 10_000)) {
        const key = `${path}\0${version}`;
        const content = `${kind} ${hash}`;
        if ((byVersion.get(key) ?? content) !== content) throw new Error(`one version of ${path} stands for two contents`);
        byVersion.set(key, content);
      }
    }
  }

  private pick<T>(from: readonly T[]): T {
    return this.random.pick(from);
  }

  private integer(from: number, to: number): number {
    return from + this.random.below(to - from + 1);
  }

  private say(text: string): void {
    if (this.options.trace) process.stderr.write(`${text}\n`);
  }
}

const isLink = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true;

async function expectRefusal(work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if ((error as { code?: string }).code === "ROOT_UNAVAILABLE") return;
    throw error;
  }
  throw new Error("a root without its mark was scanned");
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

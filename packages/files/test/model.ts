import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { seededRandom, temporaryFolder, type Random } from "@scoutsync/testkit";
import { FileRootEngine, type FileRootOptions } from "../src/index.ts";
import { pull, type Site } from "./exchange.ts";

/** Thrown out of the engine where the process would have died. */
class Died extends Error {}

interface ModelSite extends Site {
  /** Steps until the process dies; Infinity = it lives. */
  fuse: number;
  clockUs: number;
  ignoring: boolean;
}

export interface ModelOptions {
  steps: number;
  trace?: boolean;
}

const NAMES = ["a", "b", "c.txt", "Ü", "x y"];
const RULES = ".scoutsyncignore";
const NODES = ["n1", "n2", "n3"];

/**
 * Three nodes on real folders, a person at each who edits, renames and deletes, and sessions between them that may be cut by
 * the death of a process at any step that lasts. Its ledger is what is on the disks: what a person wrote is destroyed by persons only.
 */
export class FileModel {
  private readonly random: Random;
  private readonly folder: { path: string; remove(): void };
  private readonly sites: ModelSite[] = [];
  private serial = 0;
  /** Every path that a person took away somewhere: nothing else may ever be gone from a disk. */
  private readonly takenAway = new Set<string>();
  private readonly options: ModelOptions;

  constructor(seed: number, options: ModelOptions) {
    this.options = options;
    this.random = seededRandom(seed);
    this.folder = temporaryFolder(`model-${seed}`);
  }

  async run(): Promise<void> {
    try {
      for (const name of NODES) this.sites.push(await this.open(name));
      for (let step = 0; step < this.options.steps; step++) await this.step();
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
    mkdirSync(root, { recursive: true });
    const site: ModelSite = from ?? {
      name,
      root,
      manifest: join(this.folder.path, name, "data", "files.db"),
      fuse: Infinity,
      clockUs: 0,
      ignoring: false,
      engine: undefined as unknown as FileRootEngine,
    };
    const options: FileRootOptions = {
      name: "uploads",
      path: root,
      manifestPath: site.manifest,
      nodeName: name,
      databases: [],
      exclude: [],
    };
    site.engine = await FileRootEngine.open(options, {
      sightingGapMs: 0,
      nowUs: () => Date.now() * 1000 + site.clockUs,
      reached: (step) => {
        if (site.fuse-- > 0) return;
        this.say(`${name} dies: ${step}`);
        throw new Died(step);
      },
    });
    return site;
  }

  private async step(): Promise<void> {
    const site = this.pick(this.sites);
    const dice = this.integer(0, 99);
    if (dice < 35) this.edit(site);
    else if (dice < 42) this.remove(site);
    else if (dice < 50) this.rename(site);
    else if (dice < 53) site.clockUs = this.integer(-5, 5) * 3_600_000_000;
    else if (dice < 55) await this.loseManifest(site);
    else if (dice < 57) await this.unmounted(site);
    else if (dice < 59) this.toggleIgnore(site);
    else if (dice < 60) this.folderForFile(site);
    else if (dice < 61) this.fileForFolder(site);
    else if (dice < 64) await this.unreadable(site);
    else if (dice < 72) await this.survive(site, () => this.look(site));
    else await this.session(site, this.pick(this.sites.filter((other) => other !== site)), dice < 80);
  }

  private edit(site: ModelSite): void {
    const path = this.path();
    const full = join(site.root, path);
    try {
      mkdirSync(dirname(full), { recursive: true });
      const text =
        this.integer(0, 9) === 0
          ? "same everywhere"
          : `version ${++this.serial} of ${path} by ${site.name}`.padEnd(this.integer(10, 3_000), ".");
      // Half of the applications write in place, half by renaming.
      if (this.integer(0, 1) === 0) writeFileSync(full, text);
      else {
        writeFileSync(`${full}.tmp`, text);
        renameSync(`${full}.tmp`, full);
      }
      if (this.integer(0, 9) === 0) chmodSync(full, 0o755);
      this.say(`${site.name} writes ${path}: ${hashOf(Buffer.from(text)).slice(0, 6)}`);
    } catch (error) {
      // A folder has the name, or a file the folder's.
      if (!["EISDIR", "ENOTDIR", "EEXIST"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
      if (existsSync(`${full}.tmp`)) rmSync(`${full}.tmp`);
    }
  }

  private remove(site: ModelSite): void {
    const path = this.existing(site, true);
    if (!path) return;
    this.say(`${site.name} removes ${path}`);
    this.takes(site, path);
    rmSync(join(site.root, path), { recursive: true, force: true });
  }

  private rename(site: ModelSite): void {
    const from = this.existing(site, true);
    const to = this.path();
    if (!from || existsSync(join(site.root, to)) || `${to}/`.startsWith(`${from}/`)) return;
    try {
      mkdirSync(dirname(join(site.root, to)), { recursive: true });
      const paths = below(site.root, from);
      renameSync(join(site.root, from), join(site.root, to));
      for (const path of paths) this.takenAway.add(path);
      this.say(`${site.name} renames ${from} to ${to}`);
    } catch (error) {
      if (!["ENOTDIR", "EEXIST", "EINVAL", "ENOENT"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
    }
  }

  private folderForFile(site: ModelSite): void {
    const path = this.existing(site, false);
    if (!path) return;
    this.say(`${site.name} makes a folder of ${path}`);
    this.takes(site, path);
    rmSync(join(site.root, path));
    mkdirSync(join(site.root, path));
  }

  private fileForFolder(site: ModelSite): void {
    const path = this.existing(site, true);
    if (!path || statSync(join(site.root, path)).isFile()) return;
    this.say(`${site.name} makes a file of ${path}`);
    this.takes(site, path);
    rmSync(join(site.root, path), { recursive: true });
    writeFileSync(join(site.root, path), `version ${++this.serial}, a file now`);
  }

  private toggleIgnore(site: ModelSite): void {
    site.ignoring = !site.ignoring;
    this.say(`${site.name} ${site.ignoring ? "ignores" : "takes back"} c.txt`);
    if (site.ignoring) writeFileSync(join(site.root, RULES), "c.txt\n");
    else {
      this.takenAway.add(RULES);
      rmSync(join(site.root, RULES), { force: true });
    }
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
    const path = this.existing(site, true);
    if (!path) return;
    await this.survive(site, () => this.look(site));
    const other = this.pick(this.sites.filter((one) => one !== site));
    this.say(`${site.name} may not read ${path}; ${other.name} and it pull from each other`);
    const full = join(site.root, path);
    const mode = statSync(full).mode & 0o777;
    const before = below(site.root, path);
    const bytes = this.bytesOn(site);
    chmodSync(full, 0);
    try {
      await this.look(site);
      await this.survive(other, () => pull(other.engine, site.engine, site.name));
      await pull(site.engine, other.engine, other.name);
      await this.look(site);
    } finally {
      // Somebody else may have taken it away meanwhile.
      if (existsSync(full)) chmodSync(full, mode);
    }
    const now = this.bytesOn(site);
    for (const [hash, where] of bytes) if (!now.has(hash)) throw new Error(`${site.name} lost ${hash.slice(0, 6)}, which was ${where}`);
    for (const one of before)
      if (!this.takenAway.has(one) && !existsSync(join(site.root, one)))
        throw new Error(`${site.name}: ${one} went while it could not be read`);
  }

  private async look(site: ModelSite): Promise<void> {
    await site.engine.scan({ confirm: true });
  }

  private async session(to: ModelSite, from: ModelSite, mayDie: boolean): Promise<void> {
    this.say(`${to.name} pulls from ${from.name}`);
    const look = this.integer(0, 3) > 0;
    if (look) await this.survive(from, () => this.look(from));
    await this.survive(to, () => this.look(to));
    await this.survive(to, () => pull(to.engine, from.engine, from.name), mayDie ? this.integer(0, 25) : Infinity);
  }

  /**
   * Runs what the node does by itself; where the process dies, a new one begins. Nobody else writes meanwhile, so that every
   * byte string that was on its disk, in place or in the store, has to be there afterwards: nothing is the engine's to destroy;
   * and no path may be gone that no person has taken away on any node.
   */
  private async survive(site: ModelSite, work: () => Promise<unknown>, fuse = Infinity): Promise<void> {
    const before = this.bytesOn(site);
    const paths = below(site.root, "");
    site.fuse = fuse;
    await this.live(site, work);
    site.fuse = Infinity;
    const now = this.bytesOn(site);
    for (const path of paths)
      if (!this.takenAway.has(path) && !existsSync(join(site.root, path)))
        throw new Error(`${path} went from ${site.name}, and nobody had taken it away anywhere`);
    for (const [hash, where] of before) if (!now.has(hash)) throw new Error(`${site.name} lost ${hash.slice(0, 6)}, which was ${where}`);
  }

  private async live(site: ModelSite, work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof Died)) throw error;
      await this.recover(site);
    }
  }

  private async recover(site: ModelSite): Promise<void> {
    site.fuse = Infinity;
    await site.engine.close().catch(() => {});
    await this.open(site.name, site);
  }

  /**
   * All sync until nothing moves, under whatever rules there are by then; then one person takes the rules away, and they
   * sync again. Everything has to be as it was promised.
   */
  private async finish(): Promise<void> {
    for (const site of this.sites) site.clockUs = 0;
    for (const site of this.sites) await this.look(site);
    await this.settle("under their rules");
    this.takenAway.add(RULES);
    rmSync(join(this.pick(this.sites).root, RULES), { force: true });
    await this.settle("without rules");
    const trees = this.sites.map(({ root }) => treeOf(root));
    for (const [at, tree] of trees.entries())
      if (tree !== trees[0]) throw new Error(`${NODES[at]} differs:\n${trees[0]}\n--\n${tree}\n${await this.differences()}`);
    for (const { engine, name } of this.sites) {
      const { wanted, missing, problem } = engine.state();
      if (wanted + missing > 0 || problem !== "") throw new Error(`${name}: ${wanted} wanted, ${missing} missing, ${problem}`);
      const { changed } = await engine.scan({ confirm: true });
      if (changed > 0) throw new Error(`${name}: a look after the end found ${changed} changes`);
    }
    await this.sameVersionsSameContent();
  }

  /** Sessions in all directions, while nobody edits, until one round of them moves nothing. */
  private async settle(when: string): Promise<void> {
    for (let round = 0; ; round++) {
      let moved = 0;
      for (const to of this.sites) {
        await this.look(to);
        for (const from of this.sites) {
          if (to === from) continue;
          const { entries, fetched, refused } = await pull(to.engine, from.engine, from.name);
          moved += fetched + entries;
          // A file that was taken away, or left alone, since it was listed.
          if (refused.length > 0 && round > 4)
            throw new Error(`${when}: ${to.name} refused ${JSON.stringify(refused)} of ${from.name}\n${await this.differences()}`);
        }
      }
      const digests = new Set(this.sites.map(({ engine }) => engine.state().digest));
      if (moved === 0 && digests.size === 1 && round > 0) return;
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

  /** Every hash on this node's disk, in place or in its store. */
  private bytesOn(site: ModelSite): Map<string, string> {
    const found = new Map<string, string>();
    for (const [path, bytes] of filesOf(site.root)) found.set(hashOf(bytes), path);
    for (const [path, bytes] of filesOf(join(site.root, ".scoutsync-store", "objects"))) found.set(hashOf(bytes), `object ${path}`);
    return found;
  }

  private takes(site: ModelSite, path: string): void {
    for (const one of below(site.root, path)) this.takenAway.add(one);
  }

  private path(): string {
    const depth = this.integer(1, 3);
    return Array.from({ length: depth }, () => this.pick(NAMES)).join("/");
  }

  private existing(site: ModelSite, folders: boolean): string | null {
    const found = readdirSync(site.root, { recursive: true, encoding: "utf8" }).filter(
      (path) => !path.startsWith(".scoutsync") && (folders || statSync(join(site.root, path)).isFile()),
    );
    return found.length === 0 ? null : this.pick(found.sort());
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

const hashOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** A path ("" = the root) and everything below it, the store aside. */
function below(root: string, path: string): string[] {
  const full = join(root, path);
  const inside = statSync(full).isDirectory() ? readdirSync(full, { recursive: true, encoding: "utf8" }) : [];
  return [path, ...inside.map((one) => (path === "" ? one : `${path}/${one}`))].filter(
    (one) => one !== "" && !one.startsWith(".scoutsync-store"),
  );
}

function filesOf(root: string): [string, Buffer][] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((one) => one.isFile() && (!one.parentPath.includes(".scoutsync-store") || root.includes(".scoutsync-store")))
    .map((one) => [join(one.parentPath, one.name).slice(root.length + 1), readFileSync(join(one.parentPath, one.name))]);
}

/** Paths, kinds, the owner's bits and hashes, as text. */
function treeOf(root: string): string {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .map((one) => ({ path: join(one.parentPath, one.name), one }))
    .filter(({ path }) => !path.includes("/.scoutsync-store"))
    .map(
      ({ path, one }) =>
        `${path.slice(root.length + 1)} ${one.isFile() ? `${(statSync(path).mode >> 6) & 7} ${hashOf(readFileSync(path))}` : "folder"}`,
    )
    .sort()
    .join("\n");
}

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

import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import type { Random } from "@scoutsync/testkit";
import { below, bytesInPlace, bytesOn, hashOf, isHere, lookAt, RULES } from "./model-disk.ts";

/** Two that differ only in case, which are two files. */
const NAMES = ["a", "A", "b", "c.txt", "Ü", "x y"];
/** In decomposed form: it cannot travel, and is nobody's to touch. */
const DECOMPOSED = "U\u0308";
/** More than a node takes that takes little. */
export const LARGE_BYTES = 2_500;
/** As many as a brake holds back. */
const BULK = 24;

/** Where a person works. */
export interface Desk {
  name: string;
  root: string;
  /** Every hash on this node's disk that has to stay there, and where it was: while the product works. */
  owed: Map<string, string> | null;
  /** What stood in its root when the product began to work. */
  stood: readonly string[];
  /** Versions that are in its store for good. */
  readonly stored: ReadonlySet<string>;
}

/**
 * What people do to the files of a root. Whatever they take away is noted: by path, on any node, and by hash on the node
 * where they do it while the product works.
 */
export class People {
  /** Every path that a person took away somewhere: nothing else may ever be gone from a disk. */
  readonly takenAway = new Set<string>();
  private readonly random: Random;
  private readonly desks: readonly Desk[];
  /** A folder that is none of any root's. */
  private readonly elsewhere: string;
  private readonly say: (text: string) => void;
  private serial = 0;

  constructor(parts: { random: Random; desks: readonly Desk[]; elsewhere: string; say: (text: string) => void }) {
    this.random = parts.random;
    this.desks = parts.desks;
    this.elsewhere = parts.elsewhere;
    this.say = parts.say;
  }

  /** One of all the things a person does. */
  act(desk: Desk): void {
    const acts: [number, (desk: Desk) => void][] = [
      [32, (at) => this.edit(at, this.path())],
      [7, (at) => this.remove(at)],
      [8, (at) => this.rename(at)],
      [3, (at) => this.rotate(at)],
      [2, (at) => this.folderForFile(at)],
      [2, (at) => this.fileForFolder(at)],
      [3, (at) => this.link(at)],
      [2, (at) => this.unlink(at)],
      [1, (at) => this.secondName(at)],
      [3, () => this.sameEverywhere()],
      [2, (at) => this.toggleRules(at)],
      [1, (at) => this.decomposed(at)],
      [1, (at) => this.bulk(at)],
    ];
    let dice = this.random.below(acts.reduce((sum, [weight]) => sum + weight, 0));
    for (const [weight, act] of acts) if ((dice -= weight) < 0) return this.owing(() => act(desk));
  }

  /** In the middle of what the product does: often what is worst for it. */
  meddle(desk: Desk): void {
    const folders = below(desk.root, "").filter((path) => lstatSync(join(desk.root, path)).isDirectory());
    if (folders.length > 0 && this.between(0, 2) === 0) this.owing(() => this.link(desk, this.random.pick(folders)));
    else this.act(desk);
  }

  /** What links and rules are left goes, everywhere. */
  tidy(): void {
    this.takenAway.add(RULES);
    for (const { root } of this.desks) {
      rmSync(join(root, RULES), { force: true });
      for (const path of below(root, "")) if (lstatSync(join(root, path)).isSymbolicLink()) unlinkSync(join(root, path));
    }
  }

  /** A path with everything below it, also what the product has moved aside this moment, to put another version into its place. */
  private takes(desk: Desk, path: string): void {
    for (const one of this.at(desk, path)) this.takenAway.add(one);
  }

  private at({ root, owed, stood }: Desk, path: string): string[] {
    return [...below(root, path), ...(owed ? stood.filter((one) => one.startsWith(`${path}/`)) : [])];
  }

  existing(root: string, folders: boolean): string | null {
    const found = below(root, "").filter((path) => {
      const stats = lstatSync(join(root, path));
      return !path.startsWith(".scoutsync") && (stats.isFile() || (folders && stats.isDirectory()));
    });
    return found.length === 0 ? null : this.random.pick(found.sort());
  }

  /**
   * Whatever a person destroys while the product works is not the product's to keep; nor what it has a second link of at
   * that moment, to put it into place, unless the version is in the store for good.
   */
  private owing(work: () => void): void {
    const before = this.desks.map(({ root, owed }) => (owed ? { bytes: bytesOn(root), inPlace: bytesInPlace(root) } : null));
    work();
    for (const [at, { root, owed, stored }] of this.desks.entries()) {
      const had = before[at];
      if (!owed || !had) continue;
      const has = bytesOn(root);
      const inPlace = bytesInPlace(root);
      for (const hash of had.inPlace.keys()) if (!inPlace.has(hash) && !stored.has(hash)) has.delete(hash);
      for (const hash of had.bytes.keys()) if (!has.has(hash)) owed.delete(hash);
      for (const [hash, where] of has) owed.set(hash, where);
    }
  }

  /** A file is written, and what stands in its way goes. */
  writeAnew(desk: Desk, path: string): void {
    const components = path.split("/");
    for (let depth = 1; depth < components.length; depth++) {
      const above = components.slice(0, depth).join("/");
      if (lookAt(desk.root, above)?.isDirectory() !== false) continue;
      this.say(`${desk.name} removes ${above}, which is no folder`);
      this.takenAway.add(above);
      unlinkSync(join(desk.root, above));
    }
    this.edit(desk, path);
  }

  edit(desk: Desk, path: string, text?: string): void {
    const full = join(desk.root, path);
    const bytes = text ?? `version ${++this.serial} of ${path} by ${desk.name}`.padEnd(this.between(10, 1.2 * LARGE_BYTES), ".");
    if (throughLink(desk.root, path)) return;
    try {
      mkdirSync(dirname(full), { recursive: true });
      // Half of the applications write in place, half by renaming.
      if (this.between(0, 1) === 0) writeFileSync(full, bytes);
      else {
        writeFileSync(`${full}.tmp`, bytes);
        renameSync(`${full}.tmp`, full);
      }
      if (this.between(0, 9) === 0) chmodSync(full, 0o755);
      this.say(`${desk.name} writes ${path}: ${hashOf(bytes).slice(0, 6)}`);
    } catch (error) {
      // A folder has the name, or a file the folder's.
      forgive(error, ["EISDIR", "ENOTDIR", "EEXIST", "ENOENT"]);
      if (existsSync(`${full}.tmp`)) rmSync(`${full}.tmp`);
    }
  }

  private remove(desk: Desk): void {
    const path = this.existing(desk.root, true);
    if (!path) return;
    this.say(`${desk.name} removes ${path}`);
    this.takes(desk, path);
    rmSync(join(desk.root, path), { recursive: true, force: true });
  }

  private rename(desk: Desk): void {
    const from = this.existing(desk.root, true);
    const to = this.path();
    if (!from || throughLink(desk.root, to) || isHere(desk.root, to) || `${to}/`.startsWith(`${from}/`)) return;
    try {
      mkdirSync(dirname(join(desk.root, to)), { recursive: true });
      const paths = this.at(desk, from);
      renameSync(join(desk.root, from), join(desk.root, to));
      for (const path of paths) this.takenAway.add(path);
      this.say(`${desk.name} renames ${from} to ${to}`);
    } catch (error) {
      forgive(error, ["ENOTDIR", "EEXIST", "EINVAL", "ENOENT"]);
    }
  }

  /** Three files change their names in a ring. */
  private rotate(desk: Desk): void {
    const files = [0, 1, 2].map(() => this.existing(desk.root, false)).filter((path) => path !== null);
    if (new Set(files).size < 3) return;
    this.say(`${desk.name} rotates ${files.join(", ")}`);
    const [a, b, c] = files.map((path) => join(desk.root, path)) as [string, string, string];
    renameSync(a, `${a}.tmp`);
    renameSync(b, a);
    renameSync(c, b);
    renameSync(`${a}.tmp`, c);
  }

  private folderForFile(desk: Desk): void {
    const path = this.existing(desk.root, false);
    if (!path) return;
    this.say(`${desk.name} makes a folder of ${path}`);
    this.takes(desk, path);
    rmSync(join(desk.root, path));
    mkdirSync(join(desk.root, path));
  }

  private fileForFolder(desk: Desk): void {
    const path = this.existing(desk.root, true);
    if (!path || statSync(join(desk.root, path)).isFile()) return;
    this.say(`${desk.name} makes a file of ${path}`);
    this.takes(desk, path);
    rmSync(join(desk.root, path), { recursive: true });
    writeFileSync(join(desk.root, path), `version ${++this.serial}, a file now`);
  }

  /** A link that leads out of the root stands where a file or a folder was. */
  private link(desk: Desk, path = this.existing(desk.root, true)): void {
    if (!path) return;
    this.say(`${desk.name} puts a link in the place of ${path}`);
    this.takes(desk, path);
    const isFolder = statSync(join(desk.root, path)).isDirectory();
    rmSync(join(desk.root, path), { recursive: true });
    symlinkSync(isFolder ? this.elsewhere : join(this.elsewhere, "secret"), join(desk.root, path));
  }

  private unlink(desk: Desk): void {
    const link = below(desk.root, "").find((path) => lstatSync(join(desk.root, path)).isSymbolicLink());
    if (link === undefined) return;
    this.say(`${desk.name} takes the link ${link} away`);
    this.takenAway.add(link);
    unlinkSync(join(desk.root, link));
  }

  /** One file under two names: who writes into it writes both. */
  private secondName(desk: Desk): void {
    const from = this.existing(desk.root, false);
    if (!from) return;
    const to = `${from}.twin`;
    if (isHere(desk.root, to)) return;
    this.say(`${desk.name} gives ${from} the second name ${to}`);
    linkSync(join(desk.root, from), join(desk.root, to));
  }

  private sameEverywhere(): void {
    const path = this.path();
    const text = this.between(0, 1) === 0 ? "same everywhere" : `version ${++this.serial}, the same on two`;
    for (const desk of this.desks.slice(this.between(0, 1))) this.edit(desk, path, text);
  }

  private toggleRules(desk: Desk): void {
    const full = join(desk.root, RULES);
    if (existsSync(full)) {
      this.say(`${desk.name} takes back what is ignored`);
      this.takenAway.add(RULES);
      rmSync(full);
    } else {
      const rule = this.random.pick(["c.txt", "b", "a/*", "x y"]);
      this.say(`${desk.name} ignores ${rule}`);
      writeFileSync(full, `${rule}\n`);
    }
  }

  private decomposed(desk: Desk): void {
    if (existsSync(join(desk.root, DECOMPOSED))) return;
    this.say(`${desk.name} has a name that cannot travel`);
    writeFileSync(join(desk.root, DECOMPOSED), `of ${desk.name} alone`);
  }

  /** A folder of many files, and the next time most of them go at once. */
  private bulk(desk: Desk): void {
    const folder = join(desk.root, "bulk");
    if (isHere(desk.root, "bulk") && !lstatSync(folder).isDirectory()) return;
    const names = existsSync(folder) ? readdirSync(folder).filter((name) => /^\d+$/.test(name)) : [];
    if (names.length > BULK) {
      this.say(`${desk.name} removes ${names.length} files at once`);
      for (const name of names) {
        this.takes(desk, `bulk/${name}`);
        rmSync(join(folder, name), { recursive: true });
      }
    } else {
      this.say(`${desk.name} fills a folder`);
      mkdirSync(folder, { recursive: true });
      for (let n = 0; n <= BULK; n++) this.edit(desk, `bulk/${n}`, `${n} of many, ${desk.name}`);
    }
  }

  private path(): string {
    return Array.from({ length: this.between(1, 3) }, () => this.random.pick(NAMES)).join("/");
  }

  private between(from: number, to: number): number {
    return from + this.random.below(to - from + 1);
  }
}

/** True for what is no file of this root, but of wherever a link leads. */
function throughLink(root: string, path: string): boolean {
  const components = path.split("/");
  return components.some((_, depth) => lookAt(root, components.slice(0, depth + 1).join("/"))?.isSymbolicLink() === true);
}

/** What a decomposed name is on the node that has it; no other has it. */
export const isDecomposed = (path: string): boolean => path.startsWith(DECOMPOSED);

function forgive(error: unknown, codes: readonly string[]): void {
  if (!codes.includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
}

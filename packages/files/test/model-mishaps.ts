import { createHash } from "node:crypto";
import {
  chmodSync,
  closeSync,
  cpSync,
  existsSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { dirname, join } from "node:path";
import type { FileEntry, Origin } from "@scoutsync/core";
import Database from "better-sqlite3";
import { pull } from "./exchange.ts";
import { below, bytesOn, isHere, RULES } from "./model-disk.ts";
import type { ModelFleet, ModelSite } from "./model-fleet.ts";

/** What befalls nodes: folders that are not there, or not to be read, or other ones; peers that lie; time. */
export class Mishaps {
  private readonly fleet: ModelFleet;
  private lies = 0;

  constructor(fleet: ModelFleet) {
    this.fleet = fleet;
  }

  async loseManifest(site: ModelSite): Promise<void> {
    await this.fleet.recover(site);
    this.fleet.say(`${site.name} loses its manifest`);
    await site.engine.close();
    for (const end of ["", "-wal", "-shm"]) rmSync(site.manifest + end, { force: true });
    await this.fleet.open(site.name, site);
  }

  /** The folder is empty for a while, as a mount point is. */
  async unmounted(site: ModelSite): Promise<void> {
    this.fleet.say(`${site.name} is not mounted`);
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
  async unreadable(site: ModelSite): Promise<void> {
    await this.fleet.survive(site, () => this.fleet.look(site));
    const path = this.fleet.people.existing(site.root, true);
    if (!path) return;
    const other = this.fleet.pick(this.fleet.sites.filter((one) => one !== site));
    this.fleet.say(`${site.name} may not read ${path}; ${other.name} and it pull from each other`);
    const full = join(site.root, path);
    const mode = statSync(full).mode & 0o777;
    const before = below(site.root, path);
    const bytes = bytesOn(site.root);
    chmodSync(full, 0);
    try {
      await this.fleet.watched(() => this.fleet.look(site));
      await this.fleet.survive(other, () => pull(other.engine, site.engine, site.name));
      await this.fleet.watched(() => pull(site.engine, other.engine, other.name));
      await this.fleet.watched(() => this.fleet.look(site));
    } finally {
      // Somebody else may have taken it away meanwhile.
      if (existsSync(full)) chmodSync(full, mode);
    }
    const now = bytesOn(site.root);
    for (const [hash, where] of bytes) if (!now.has(hash)) throw new Error(`${site.name} lost ${hash.slice(0, 6)}, which was ${where}`);
    for (const one of before)
      if (!this.fleet.people.takenAway.has(one) && !existsSync(join(site.root, one)))
        throw new Error(`${site.name}: ${one} went while it could not be read`);
  }

  /**
   * A copy of the root is made; the next time it is put in its place. What others have by then and the copy does not is not deleted
   * by that.
   */
  async copy(site: ModelSite, other: ModelSite): Promise<void> {
    const copy = `${site.root}.copy`;
    if (!existsSync(copy)) {
      this.fleet.say(`${site.name} makes a copy of its root`);
      return cpSync(site.root, copy, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
    }
    if (this.fleet.sites.some(({ exclude, maxSizeBytes, root }) => exclude.length > 0 || maxSizeBytes !== undefined || isHere(root, RULES)))
      return;
    await this.fleet.survive(site, () => this.fleet.look(site));
    await this.fleet.survive(other, () => pull(other.engine, site.engine, site.name));
    this.fleet.say(`${site.name} puts the copy of its root in its place`);
    await site.engine.close();
    rmSync(site.root, { recursive: true });
    renameSync(copy, site.root);
    site.stored.clear();
    await this.fleet.open(site.name, site);
    await this.fleet.survive(site, () => this.fleet.look(site));
  }

  /**
   * A snapshot is taken of folder and manifest; the next time, whoever's turn it is, that machine is put back to it. What it had written since, others may
   * have; nothing that they have goes by that.
   */
  async snapshot(whose: ModelSite): Promise<void> {
    const taken = this.fleet.sites.find(({ root }) => existsSync(`${root}.snapshot`));
    const site = taken ?? whose;
    const places = [site.root, dirname(site.manifest)];
    if (!taken) {
      this.fleet.say(`a snapshot is taken of ${site.name}`);
      for (const place of places) cpSync(place, `${place}.snapshot`, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
      return;
    }
    this.fleet.say(`${site.name} is put back to its snapshot`);
    await site.engine.close();
    for (const place of places) {
      // The disk below them is another one; the folders stay the ones they are.
      for (const name of readdirSync(place)) rmSync(join(place, name), { recursive: true });
      cpSync(`${place}.snapshot`, place, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
      rmSync(`${place}.snapshot`, { recursive: true });
    }
    // A machine that was put back has what it has on its disk for good.
    await this.fleet.watched(async () => {
      for (const path of ["", ...below(site.root, "")])
        if (!lstatSync(join(site.root, path)).isSymbolicLink()) makeDurable(join(site.root, path));
    });
    site.stored.clear();
    await this.fleet.open(site.name, site);
  }

  /** A peer says what no honest one does: paths that lead out of the root, through a link as well, and other bytes than it announced. */
  async lie(site: ModelSite): Promise<void> {
    const links = below(site.root, "").filter((path) => lstatSync(join(site.root, path)).isSymbolicLink());
    const bytes = Buffer.from(`lie ${++this.lies}`);
    const hash = createHash("sha256").update(bytes).digest("hex");
    const path = this.fleet.pick([
      "../elsewhere/secret",
      "a/../../elsewhere/x",
      this.fleet.elsewhere,
      "a\0b",
      "CON",
      ...links.map((link) => `${link}/x`),
    ]);
    this.fleet.say(`${site.name} is lied to: ${path}`);
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
    await this.fleet.survive(site, async () => {
      await site.engine.receive([entry], "z".repeat(16), "liar");
      await site.engine.begin(hash, bytes.length);
      await site.engine.write(hash, 0, this.fleet.integer(0, 1) === 0 ? bytes : Buffer.alloc(bytes.length, "x"));
      await this.fleet.unlessRefused(site.engine.finish(hash), ["FILE_CORRUPT"]);
      const { placed } = await site.engine.receive([entry], "z".repeat(16), "liar");
      if (placed > 0) throw new Error(`${site.name} took ${path}`);
    });
  }

  /**
   * Time passes, and a node lets go of what it may. Of what goes no conflict is undecided here, and what the path holds instead
   * has been on another disk.
   */
  async forget(site: ModelSite): Promise<void> {
    this.fleet.say(`${site.name} lets go of what is old`);
    const before = site.clockUs;
    site.clockUs += 2 * 3_600_000_000;
    await this.fleet.survive(site, () => this.fleet.look(site));
    const had = bytesOn(site.root);
    const paths = pathsInStore(site.manifest);
    const undecided = new Set((await site.engine.reviews()).map(({ loser }) => loser?.value));
    await this.fleet.watched(() => site.engine.forget({ retentionDays: 0, dryRun: false, correctionUs: 0 }));
    site.clockUs = before;
    const has = bytesOn(site.root);
    const others = this.fleet.sites.filter((other) => other !== site);
    for (const hash of had.keys()) {
      // Bytes that are in place as well may go from the store.
      if (!has.get(hash)?.startsWith("object ")) site.stored.delete(hash);
      if (has.has(hash)) continue;
      const path = paths.get(hash);
      const what = `${site.name} let go of ${hash.slice(0, 6)} of ${path ?? "no path"}`;
      if (path === undefined) throw new Error(`${what}, which was no earlier version`);
      if (undecided.has(hash)) throw new Error(`${what}, about which a conflict is undecided`);
      const [instead] = [...has].find(([, where]) => where === path) ?? [];
      if (instead !== undefined && !others.some(({ seen }) => seen.has(instead)))
        throw new Error(`${what}, and nobody else has what the path holds instead`);
    }
  }
}

function makeDurable(path: string): void {
  const fd = openSync(path, "r");
  fsyncSync(fd);
  closeSync(fd);
}

/** The path of each version in a store, as the manifest's file says. */
function pathsInStore(manifest: string): Map<string, string> {
  const db = new Database(manifest, { readonly: true });
  try {
    const rows = db.prepare("SELECT hash, path FROM object").all() as { hash: string; path: string }[];
    return new Map(rows.map(({ hash, path }) => [hash, path]));
  } finally {
    db.close();
  }
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

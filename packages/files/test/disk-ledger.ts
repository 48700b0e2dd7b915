import { createHash } from "node:crypto";
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { basename, dirname, join } from "node:path";
import Database from "better-sqlite3";

/** What a kernel has had for so long it has written by itself, ms. */
const WRITTEN_BACK_MS = 60_000;

/**
 * What really was asked of the file system, noted below the product: every call that changes something, by the path that
 * the kernel gives to it, and what was on the disk for good when a call had made it so. Has to be imported before the
 * product is, since that takes its calls from node:fs when it is loaded.
 */
class DiskLedger {
  /** Folders below which something may be changed; null while nobody looks. */
  private allowed: readonly string[] | null = null;
  private readonly outside: string[] = [];
  /** "inode hash" of contents that were made durable. */
  private readonly bytes = new Set<string>();
  /** "inode of the folder/name inode" of names that were made durable. */
  private readonly names = new Set<string>();
  /** Inodes of which bytes could not be written and were not written anew since. */
  private readonly lost = new Set<string>();
  /**
   * So many of the next fsyncs of files fail as with Linux: each says once that bytes could not be written; these count as
   * written from then on, can be read, and are not on the disk.
   */
  failing = 0;
  /** How large files were when an fsync of them began, bytes. */
  readonly sizes: number[] = [];

  /** Runs work of the product that may change these folders and nothing else. Throws where it touched anything else. */
  async watch<T>(allowed: readonly string[], work: () => Promise<T>): Promise<T> {
    const around = this.allowed;
    this.allowed = allowed.map((path) => `${fs.realpathSync(path)}/`);
    const [result] = await Promise.allSettled([work()]);
    this.allowed = around;
    const [first] = this.outside.splice(0);
    // Matters more than whatever else went wrong.
    if (first !== undefined) throw new Error(`touched outside of the root: ${first}`);
    if (result.status === "rejected") throw result.reason;
    return result.value;
  }

  /** A call that changes a name, with its path. */
  changes(call: string, path: string): void {
    if (!this.allowed) return;
    const folder = dirname(path);
    const real = folder.startsWith("/proc/self/fd/") ? fs.readlinkSync(folder) : fs.realpathSync(folder);
    this.note(call, join(real, basename(path)));
  }

  /** A call that changes what is open. */
  changesOpen(call: string, fd: number): void {
    if (this.allowed) this.note(call, fs.readlinkSync(`/proc/self/fd/${fd}`));
  }

  /** What an open file or folder holds by now: durable as soon as the fsync that is about to begin is over. */
  holds(fd: number): () => void {
    if (!this.allowed) return () => {};
    const stats = fs.fstatSync(fd, { bigint: true });
    if (stats.isFile()) {
      this.sizes.push(Number(stats.size));
      const key = `${stats.ino} ${hashOf(contentOf(fd))}`;
      return () => void (this.lost.has(String(stats.ino)) || this.bytes.add(key));
    }
    const folder = `/proc/self/fd/${fd}`;
    const keys = fs.readdirSync(folder).map((name) => nameKey(stats.ino, name, inodeOf(`${folder}/${name}`)));
    return () => keys.forEach((key) => this.names.add(key));
  }

  /** True for an fsync that fails: see `failing`. */
  loses(fd: number): boolean {
    if (!this.allowed || this.failing === 0 || !fs.fstatSync(fd).isFile()) return false;
    this.failing -= 1;
    this.lost.add(String(fs.fstatSync(fd, { bigint: true }).ino));
    return true;
  }

  /** A file begins anew. */
  empties(inode: string): void {
    this.lost.delete(inode);
  }

  isDurable(path: string, hash: string): boolean {
    return this.bytes.has(`${inodeOf(path)} ${hash}`);
  }

  /**
   * F2, read from the manifest's file and not from the product: whatever it says is here was durable under its hash, and so
   * was its name in its folder. On a machine so slow that a file is as old as that before anybody asked, nobody had to.
   */
  expectDurable(manifest: string, root: string): void {
    const db = new Database(manifest, { readonly: true });
    try {
      const sql = "SELECT path, hash, print FROM entry WHERE kind = 'file' AND state = 0 AND missing_us = 0 AND print <> ''";
      for (const { path, hash, print } of db.prepare(sql).all() as { path: string; hash: string; print: string }[]) {
        const [, modifiedNs, changedNs, inode = ""] = print.split(":");
        if (Math.max(Number(modifiedNs), Number(changedNs)) / 1e6 < Date.now() - WRITTEN_BACK_MS) continue;
        if (!this.bytes.has(`${inode} ${hash}`))
          throw new Error(`${manifest} says that ${path} is here, and its bytes were never durable: ${hash.slice(0, 6)} ${print}`);
        const full = join(root, path);
        // Taken away or replaced by a person since.
        if (inodeOf(full) !== inode) continue;
        if (!this.names.has(nameKey(fs.statSync(dirname(full), { bigint: true }).ino, basename(path), inode)))
          throw new Error(`${manifest} says that ${path} is here, and its name was never durable: ${hash.slice(0, 6)} ${print}`);
      }
    } finally {
      db.close();
    }
  }

  private note(call: string, path: string): void {
    if (this.allowed?.some((folder) => `${path}/`.startsWith(folder)) === false) this.outside.push(`${call} ${path}`);
  }
}

export const diskLedger = new DiskLedger();

const hashOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const nameKey = (folder: bigint, name: string, inode: string) => `${folder}/${name} ${inode}`;

function inodeOf(path: string): string {
  try {
    return String(fs.lstatSync(path, { bigint: true }).ino);
  } catch {
    return "";
  }
}

/** Of a file that may be open for writing only. */
function contentOf(fd: number): Buffer {
  const { mode } = fs.fstatSync(fd);
  if ((mode & 0o400) !== 0) return fs.readFileSync(`/proc/self/fd/${fd}`);
  const bytes = Buffer.alloc(fs.fstatSync(fd).size);
  return bytes.subarray(0, fs.readSync(fd, bytes, 0, bytes.length, 0));
}

/** Replaces a call of node:fs by one that is noted first. */
function noting<Name extends keyof typeof fs>(name: Name, look: (...given: never[]) => void): void {
  const original = fs[name] as (...given: unknown[]) => unknown;
  (fs as Record<string, unknown>)[name] = (...given: unknown[]) => {
    (look as (...given: unknown[]) => void)(...given);
    return original(...given);
  };
}

const text = (path: string | Buffer) => path.toString();
const { O_CREAT, O_RDWR, O_TRUNC, O_WRONLY } = fs.constants;
noting("openSync", (path: string | Buffer, flags: string | number) => {
  const writes = typeof flags === "number" ? (flags & (O_CREAT | O_RDWR | O_TRUNC | O_WRONLY)) !== 0 : flags !== "r";
  if (writes) diskLedger.changes("open", text(path));
  if (typeof flags === "number" && (flags & O_TRUNC) !== 0) diskLedger.empties(inodeOf(text(path)));
});
for (const call of ["unlinkSync", "mkdirSync", "rmdirSync", "chmodSync", "utimesSync", "truncateSync", "writeFileSync", "rmSync"] as const)
  noting(call, (path: string | Buffer) => diskLedger.changes(call, text(path)));
for (const call of ["linkSync", "copyFileSync", "symlinkSync"] as const)
  noting(call, (_from: string | Buffer, to: string | Buffer) => diskLedger.changes(call, text(to)));
noting("renameSync", (from: string | Buffer, to: string | Buffer) => {
  diskLedger.changes("renameSync", text(from));
  diskLedger.changes("renameSync", text(to));
});
for (const call of ["fchmodSync", "futimesSync", "ftruncateSync", "writeSync"] as const)
  noting(call, (fd: number) => diskLedger.changesOpen(call, fd));

noting("ftruncateSync", (fd: number, length: number) => {
  if (length === 0) diskLedger.empties(String(fs.fstatSync(fd, { bigint: true }).ino));
});

const { fsync, fsyncSync } = fs;
fs.fsyncSync = (fd) => {
  const done = diskLedger.holds(fd);
  fsyncSync(fd);
  done();
};
fs.fsync = ((fd: number, answer: (error: Error | null) => void) => {
  const done = diskLedger.holds(fd);
  const failure = diskLedger.loses(fd) ? Object.assign(new Error("EIO: i/o error, fsync"), { code: "EIO" }) : null;
  fsync(fd, (failed) => {
    const error = failure ?? failed;
    if (!error) done();
    answer(error);
  });
}) as typeof fsync;
syncBuiltinESMExports();

import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  futimesSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmdirSync,
  unlinkSync,
  writeSync,
  type BigIntStats,
  type Dirent,
} from "node:fs";
import { platform } from "node:os";

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY, O_NONBLOCK, O_WRONLY } = constants;
const PIECE_BYTES = 1024 * 1024;
/** Where a name below an open folder can be given as a path: then no folder above it can be swapped under our hands. */
const HAS_FOLDERS_BY_NUMBER = platform() === "linux";

/**
 * A folder held open. Everything below is named relative to it, and no step follows a link: a folder that is replaced by
 * a link while we work cannot lead us elsewhere. Where the system has no such paths (macOS), each step checks that it is
 * no link, which leaves a moment between the look and the step.
 */
export class Folder {
  readonly fd: number;
  readonly dev: bigint;
  readonly ino: bigint;
  private readonly path: string;

  private constructor(fd: number, path: string) {
    this.fd = fd;
    this.path = path;
    const { dev, ino } = fstatSync(fd, { bigint: true });
    this.dev = dev;
    this.ino = ino;
  }

  /** Opens the folder at a path that the user configured; links above it are the user's. Throws ENOENT, ENOTDIR, … */
  static open(path: string): Folder {
    return new Folder(openSync(path, O_RDONLY | O_DIRECTORY), path);
  }

  /** The path of a name in this folder, for calls that do not follow links. */
  at(name: string | Buffer): string | Buffer {
    const folder = HAS_FOLDERS_BY_NUMBER ? `/proc/self/fd/${this.fd}` : this.path;
    return typeof name === "string" ? `${folder}/${name}` : Buffer.concat([Buffer.from(`${folder}/`), name]);
  }

  /** Opens a folder in this one. Throws ENOTDIR or ELOOP where a link stands. */
  enter(name: string | Buffer): Folder {
    const fd = openSync(this.at(name), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    return new Folder(fd, HAS_FOLDERS_BY_NUMBER ? "" : String(this.at(name)));
  }

  /** Makes a folder unless one is there, and opens it. */
  make(name: string): Folder {
    try {
      // Mostly it is there.
      return this.enter(name);
    } catch (error) {
      if (errorCode(error) !== "ENOENT") throw error;
    }
    try {
      mkdirSync(this.at(name), 0o755);
      fsyncSync(this.fd);
    } catch (error) {
      if (errorCode(error) !== "EEXIST") throw error;
    }
    return this.enter(name);
  }

  names(): Dirent<Buffer>[] {
    return readdirSync(this.at("."), { withFileTypes: true, encoding: "buffer" });
  }

  /** Null where there is nothing (ENOENT, and nothing else, means that). */
  look(name: string | Buffer): BigIntStats | null {
    try {
      return lstatSync(this.at(name), { bigint: true });
    } catch (error) {
      if (errorCode(error) === "ENOENT") return null;
      throw error;
    }
  }

  /** Opens a regular file for reading; a link, a pipe or a device is never followed, opened or waited for. */
  read(name: string): number {
    return openSync(this.at(name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  }

  /** A path that leads to an open file of this folder, whatever its name stands for by now. */
  opened(fd: number, name: string): string | Buffer {
    return HAS_FOLDERS_BY_NUMBER ? `/proc/self/fd/${fd}` : this.at(name);
  }

  /** Puts a second name on a file. Throws EEXIST where a name is: nothing is ever replaced. */
  linkTo(name: string, to: Folder, newName: string): void {
    linkSync(this.at(name), to.at(newName));
  }

  /** Moves a name, the target's being ours alone (in the store). */
  moveTo(name: string, to: Folder, newName: string): void {
    renameSync(this.at(name), to.at(newName));
  }

  /** Copies an open file, which may have no name any more, to a new one. Durable when it returns, but for the name. Throws EEXIST. */
  write(name: string, source: number): void {
    const fd = openSync(this.at(name), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    try {
      const piece = Buffer.allocUnsafe(PIECE_BYTES);
      for (let at = 0, read = 0; (read = readSync(source, piece, 0, piece.length, at)) > 0; at += read)
        for (let done = 0; done < read;) done += writeSync(fd, piece, done, read - done);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  }

  remove(name: string): void {
    unlinkSync(this.at(name));
  }

  /** Throws ENOTEMPTY. */
  removeFolder(name: string): void {
    rmdirSync(this.at(name));
  }

  /** Sets permissions and time of a file that is no link. Modified: Unix microseconds. Durable: on the disk when it returns. */
  dress(name: string, permissions: number, modifiedUs: number | null, durable = false): void {
    const fd = this.read(name);
    try {
      fchmodSync(fd, permissions);
      // Needs no write permission: the file is ours.
      if (modifiedUs !== null) futimesSync(fd, modifiedUs / 1e6, modifiedUs / 1e6);
      if (durable) fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  }

  sync(): void {
    fsyncSync(this.fd);
  }

  close(): void {
    closeSync(this.fd);
  }
}

/**
 * The permissions of a file whose owner's bits travelled. Those of others do not: they stay what they were here, or are
 * what a new file gets, and others may never run what they could not run before.
 */
export function permissionsOf(ownerBits: number, before: BigIntStats | null): number {
  return (ownerBits << 6) | (before ? Number(before.mode) & 0o077 : 0o044 & ~process.umask());
}

export const errorCode = (error: unknown): string => (error as NodeJS.ErrnoException | null)?.code ?? "";

/**
 * Runs `work` in the folder that holds `path`, opened component by component. `make` makes those that are missing.
 * Throws ENOENT, ENOTDIR or ELOOP where that does not lead through folders only.
 */
export function inFolderOf<T>(root: Folder, path: string, work: (folder: Folder, name: string) => T, make = false): T {
  const components = path.split("/");
  const name = components.pop() ?? "";
  const opened: Folder[] = [];
  try {
    let folder = root;
    for (const component of components) {
      folder = make ? folder.make(component) : folder.enter(component);
      opened.push(folder);
    }
    return work(folder, name);
  } finally {
    for (const folder of opened) folder.close();
  }
}

import { statfs } from "node:fs/promises";
import type { DiskStatus } from "@scoutsync/protocol";

/** A Ping is answered at once, also where a disk takes its time: sizes are asked for beside it, at most this often. */
const ASK_EVERY_MS = 10_000;

/** Room on the disks that hold the databases and file roots. */
export class DiskRoom {
  readonly #folders: readonly string[];
  #status: DiskStatus | undefined;
  #askedAt = Number.NEGATIVE_INFINITY;

  /** `folders` hold the databases, or are roots. */
  constructor(folders: readonly string[]) {
    this.#folders = [...new Set(folders)];
    void this.#ask();
  }

  /** The fullest disk as it was a moment ago; undefined before the first answer, and where none is given. */
  get status(): DiskStatus | undefined {
    if (performance.now() - this.#askedAt > ASK_EVERY_MS) void this.#ask();
    return this.#status;
  }

  async #ask(): Promise<void> {
    this.#askedAt = performance.now();
    const disks = await Promise.allSettled(this.#folders.map((folder) => statfs(folder)));
    const rooms = disks
      .filter((disk) => disk.status === "fulfilled")
      .map(({ value: { bavail, blocks, bsize } }) => ({ freeBytes: BigInt(bavail * bsize), totalBytes: BigInt(blocks * bsize) }));
    const share = ({ freeBytes, totalBytes }: DiskStatus) => (totalBytes === 0n ? 1 : Number(freeBytes) / Number(totalBytes));
    this.#status = rooms.sort((a, b) => share(a) - share(b))[0];
  }
}

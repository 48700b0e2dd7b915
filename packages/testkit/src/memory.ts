import { mkdtempSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const MEMORY = "/dev/shm";
/** Containers often have 64 MiB there, which several histories at a time may fill. */
const LEAST_FREE_BYTES = 256 * 1024 * 1024;

function hasRoom(): boolean {
  try {
    const { bavail, bsize } = statfsSync(MEMORY);
    return bavail * bsize >= LEAST_FREE_BYTES;
  } catch {
    // Not every system has it.
    return false;
  }
}

/**
 * A new folder in memory where the system has room for one, else among the temporary files: what a disk does is none of a
 * simulation's matter, and waiting for it took more than half of the time. Whoever asks removes it.
 */
export const memoryFolder = (purpose: string): string => mkdtempSync(join(hasRoom() ? MEMORY : tmpdir(), `scoutsync-${purpose}-`));

import { statfsSync } from "node:fs";
import { dirname } from "node:path";
import { SyncError, toPlainError } from "@scoutsync/core";
import type { RootContext } from "./context.ts";
import { errorCode } from "./paths/folder.ts";
import { fileFloor } from "./store/root-disk.ts";

/** With less than this on the disk of the manifest not even what was done can be written down, bytes. */
const MANIFEST_ROOM_BYTES = 1024 * 1024;

/** Why a root cannot take part just now. What went wrong with its folder or its disk stays said until that is over. */
export class Trouble {
  private readonly context: RootContext;
  private readonly manifestPath: string;
  private said: { code: string; message: string } | null = null;

  constructor(context: RootContext, manifestPath: string) {
    this.context = context;
    this.manifestPath = manifestPath;
  }

  /** Null when nothing is wrong. */
  get current(): Readonly<{ code: string; message: string }> | null {
    return this.said;
  }

  /** Notes what was thrown if it concerns the root as a whole; returns what is to be thrown on. */
  note(error: unknown): unknown {
    const full = errorCode(error) === "ENOSPC" || errorCode(error) === "EDQUOT" || errorCode(error) === "SQLITE_FULL";
    const failure = full ? this.noRoom(error) : error;
    const { code, message } = toPlainError(failure);
    if (code === "DISK_FULL" || code === "ROOT_UNAVAILABLE" || code === "ROOT_IN_USE") this.said = { code, message };
    return failure;
  }

  /**
   * The root could be used for something. A folder is there again then; a disk is full until what did not fit would
   * fit, whatever else succeeds on it meanwhile.
   */
  eased(): void {
    if (this.said === null || (this.said.code === "DISK_FULL" && !this.hasRoom())) return;
    this.context.lack.bytes = 0;
    this.said = null;
  }

  private hasRoom(): boolean {
    const { disk, limits, lack } = this.context;
    const room = disk.room();
    const { bavail, bsize } = statfsSync(dirname(this.manifestPath));
    return room.free - fileFloor(limits, room.total) >= lack.bytes && bavail * bsize >= MANIFEST_ROOM_BYTES;
  }

  private noRoom(cause: unknown): SyncError {
    const { name, disk } = this.context;
    return new SyncError({
      code: "DISK_FULL",
      message: `there is no room left for the root "${name}" (${disk.path}) or its manifest (${this.manifestPath})`,
      action: "Free space there. Nothing was lost; it goes on by itself.",
      cause,
    });
  }
}

import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { SyncError } from "@scoutsync/core";

/** Where a member keeps who it is, in its data directory. */
export interface FleetFolder {
  readonly directory: string;
  /** Private key and certificate in one file, so that they change together. */
  readonly identity: string;
  readonly ca: string;
  readonly revocations: string;
  readonly contact: string;
  /** Only where the fleet was made: the CA's key, invitations and members. */
  readonly authority: string;
}

export function fleetFolder(dataDirectory: string): FleetFolder {
  const directory = join(dataDirectory, "fleet");
  return {
    directory,
    identity: join(directory, "identity.pem"),
    ca: join(directory, "ca.pem"),
    revocations: join(directory, "revoked.json"),
    contact: join(directory, "contact.json"),
    authority: join(dataDirectory, "authority"),
  };
}

/** True when this data directory belongs to a member of a fleet. */
export function hasIdentity(dataDirectory: string): boolean {
  return existsSync(fleetFolder(dataDirectory).identity);
}

/** Writes a file that only this user may read, whole or not at all, and there after a power cut. */
export function writePrivately(path: string, text: string): void {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const file = openSync(temporary, "w", 0o600);
    try {
      writeSync(file, text);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (error) {
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `${path} cannot be written: ${error instanceof Error ? error.message : String(error)}`,
      action: "Choose a data directory that this user may write to with --data DIR.",
      cause: error,
    });
  }
}

/** The text of a file, or null when there is none. */
export function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
      action: "Make it readable for the user that runs this.",
      cause: error,
    });
  }
}

import { copyFileSync, existsSync, mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createScoutDatabases, SAMPLES } from "../samples/scout.ts";

/** Every node starts with the same rows, as servers do that were set up from one copy. */
const SEED = 5454;

/** The databases of one node: name in the fleet and path. */
export interface SampleDatabase {
  name: string;
  path: string;
}

/** Puts the three sample databases into a folder unless they are there already. */
export function sampleDatabases(directory: string): SampleDatabase[] {
  mkdirSync(directory, { recursive: true });
  const chinook = join(directory, "chinook.sqlite");
  const scouting = join(directory, "scouting.db");
  const users = join(directory, "users.db");
  if (!existsSync(chinook)) copyFileSync(fileURLToPath(new URL("chinook.sqlite", SAMPLES)), chinook);
  if (!existsSync(scouting) && !existsSync(users)) {
    // Under other names until they are whole, so that a Ctrl-C in between leaves nothing half made.
    const half = { scouting: `${scouting}.${process.pid}`, users: `${users}.${process.pid}` };
    createScoutDatabases({ ...half, seed: SEED });
    renameSync(half.scouting, scouting);
    renameSync(half.users, users);
  }
  return [
    { name: "chinook", path: chinook },
    { name: "scouting", path: scouting },
    { name: "users", path: users },
  ];
}

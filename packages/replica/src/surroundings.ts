import { randomBytes } from "node:crypto";
import { uptime } from "node:os";
import type Database from "better-sqlite3";
import type { ReplicaDatabase } from "./database.ts";

/** Clock (Unix microseconds), randomness and the way to a connection, injected where a history must be repeatable and crashes are made. */
export interface Surroundings {
  nowUs: () => number;
  /** Microseconds since the machine was started: never steps. Absent: the clock is never set. */
  uptimeUs?: () => number;
  /** After how long a turn of a long drain or comparison gives the lock back, milliseconds. */
  turnMs?: number;
  /** For how long an application may use an integer that another row has now, microseconds; 0: it looks every row up. */
  rememberedUs?: number;
  random: (bytes: number) => Uint8Array;
  /** Databases of the node whose rows this one refers to, by name, and those that refer to its rows; as far as they are open. */
  neighbour?: (name: string) => ReplicaDatabase | null;
  dependents?: () => readonly ReplicaDatabase[];
  /** Told of the database as soon as others may ask it: what it does while it opens may need those that refer to it, and they it. */
  opening?: (database: ReplicaDatabase) => void;
  /** With `opening`: when the file that was there before was last seen in its place, Unix microseconds. */
  seenUs?: number;
  /** Opens the connection on the database file; better-sqlite3 as it is unless a test wraps it. */
  connect?: (path: string, options: Database.Options) => Database.Database;
}

/** Of a node that runs. */
export const REAL: Surroundings = { nowUs: () => Date.now() * 1000, uptimeUs: () => uptime() * 1e6, random: randomBytes };

import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { formatVector, parseVector, type VersionVector } from "@scoutsync/core";
import type { Replica } from "@scoutsync/replica";
import type { Logger } from "@scoutsync/runtime";

const FILE = "databases.json";
/** A database that moves all the time is noted this often at most, milliseconds. */
const EVERY_MS = 5_000;

/**
 * How far each database was, kept outside of it: one that has less at the next start was restored from a backup, and
 * nothing in the file itself could tell.
 */
export class DatabaseMemory {
  private readonly path: string;
  private readonly logger: Logger;
  private readonly had: Map<string, string>;
  private timer: NodeJS.Timeout | null = null;
  private replicas: readonly Replica[] = [];
  /** What is known here could not be written, and has been told. */
  private failed = false;

  constructor(dataDirectory: string, logger: Logger) {
    this.path = join(dataDirectory, FILE);
    this.logger = logger;
    this.had = this.read();
  }

  /** What a database had when it was last noted; undefined when it never was. */
  before(name: string, path: string): VersionVector | undefined {
    const text = this.had.get(key(name, path));
    return text === undefined ? undefined : parseVector(text);
  }

  /** Notes from now on how far these are. */
  watch(replicas: readonly Replica[]): void {
    this.replicas = replicas;
    for (const replica of replicas) replica.onChange(() => this.noteSoon());
    this.note();
  }

  /** Notes how far they are now, and no more. Call before they are closed. */
  stop(): void {
    this.note();
    this.replicas = [];
    if (this.timer) clearTimeout(this.timer);
  }

  private noteSoon(): void {
    this.timer ??= setTimeout(() => this.note(), EVERY_MS).unref();
  }

  private note(): void {
    if (this.timer) clearTimeout(this.timer);
    this.timer = null;
    let moved = false;
    for (const { name, path, state } of this.replicas) {
      const vector = formatVector(state.vector);
      // One that was restored is noted from there on: it says itself that it was.
      moved ||= this.had.get(key(name, path)) !== vector;
      this.had.set(key(name, path), vector);
    }
    if (!moved && !this.failed) return;
    try {
      writeFileSync(`${this.path}.tmp`, `${JSON.stringify(Object.fromEntries(this.had))}\n`);
      renameSync(`${this.path}.tmp`, this.path);
      this.failed = false;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      const what = "how far the databases are could not be noted; it is tried again, and until then a restored backup is found later";
      if (!this.failed) this.logger.warn({ path: this.path, reason }, what);
      this.failed = true;
      // Nothing may move any more once the disk has room.
      this.noteSoon();
    }
  }

  private read(): Map<string, string> {
    try {
      const noted = JSON.parse(readFileSync(this.path, "utf8")) as Record<string, string>;
      return new Map(Object.entries(noted).filter(([, text]) => typeof text === "string" && isVector(text)));
    } catch {
      // Never noted, or not whole: then only other nodes can tell.
      return new Map();
    }
  }
}

const key = (name: string, path: string): string => `${name}=${path}`;

function isVector(text: string): boolean {
  try {
    parseVector(text);
    return true;
  } catch {
    return false;
  }
}

import type { FileEntry } from "@scoutsync/core";
import type { Manifest } from "./manifest/manifest.ts";
import type { OpenRoot, RootDisk } from "./store/root-disk.ts";
import type { Planner } from "./plan/plan.ts";
import type { DiskClock } from "./scan/disk-clock.ts";
import type { IgnoreRules, KnownDatabases } from "./scan/exclusions.ts";

/** What a root may take, in bytes. */
export interface FileLimits {
  /** Larger files stay where they are, and are listed. */
  maxSizeBytes: number;
  /** Room that what others send never uses. */
  minFreeBytes: number;
}

/** What the parts of one root share. All of them run in one thread. */
export interface RootContext {
  readonly name: string;
  readonly nodeName: string;
  readonly manifest: Manifest;
  readonly disk: RootDisk;
  readonly databases: KnownDatabases;
  readonly limits: FileLimits;
  /** How long after the first look a second one proves that something is gone, µs. */
  readonly sightingGapUs: number;
  /** Room that what did not fit last needs beside what is kept free, bytes. */
  readonly lack: { bytes: number };
  rules: IgnoreRules;
  /** Says how old a file is. */
  readonly diskClock: DiskClock;
  /** Unix microseconds. */
  nowUs(): number;
  /** Called between any two steps that last; a test ends the process there. */
  reached(step: string): void;
}

export const withRoot = <T>({ disk, manifest }: RootContext, work: (open: OpenRoot) => T): T =>
  disk.use(manifest.get("root_id") ?? "", work);

export const plannerOf = (context: RootContext): Planner => ({ author: context.manifest.author, nowUs: context.nowUs() });

/** An entry for what is at a path here, as a version of this node's own. */
export function ownEntry(
  context: RootContext,
  entry: Pick<FileEntry, "path" | "kind" | "hash" | "size" | "mode" | "modifiedUs" | "version" | "stampUs"> & Partial<FileEntry>,
): FileEntry {
  return { author: context.nodeName, before: "", cause: "", losers: [], ...entry };
}

import type { BigIntStats } from "node:fs";

/** A file system that keeps whole seconds tells nothing about a write in the same second; others tick every few milliseconds. */
const COARSE_NS = 2_000_000_000n;
const FINE_NS = 100_000_000n;
const SECOND_NS = 1_000_000_000n;

/** What changes when a file does, without reading it. */
export function printOf({ size, mtimeNs, ctimeNs, ino }: BigIntStats): string {
  return `${size}:${mtimeNs}:${ctimeNs}:${ino}`;
}

/** The modification time in a print, nanoseconds as text. */
export function modifiedIn(print: string): string {
  return print.split(":")[1] ?? "";
}

/** The inode in a print, as text. */
export function inodeIn(print: string): string {
  return print.split(":")[3] ?? "";
}

/** True when another write could have left the same print: it was changed too shortly before it was looked at (by the disk's clock). */
export function isRacy({ mtimeNs, ctimeNs }: BigIntStats, nowUs: number): boolean {
  const latest = mtimeNs > ctimeNs ? mtimeNs : ctimeNs;
  const window = mtimeNs % SECOND_NS === 0n && ctimeNs % SECOND_NS === 0n ? COARSE_NS : FINE_NS;
  return latest + window >= BigInt(nowUs) * 1000n;
}

/**
 * As `isRacy`, for a file that was put into place this moment with its old modification time: whoever writes into it
 * changes that. The fresh status change time is our own.
 */
export function isRacyAsPlaced({ mtimeNs }: BigIntStats, nowUs: number): boolean {
  return mtimeNs + (mtimeNs % SECOND_NS === 0n ? COARSE_NS : FINE_NS) >= BigInt(nowUs) * 1000n;
}

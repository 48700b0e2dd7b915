import { hash } from "node:crypto";
import type { CaptureLook, DatabaseStatus, FileRootStatus, SessionStep, SyncResult } from "@scoutsync/protocol";
import { OPERATION_NAMES } from "../operations/shapes.ts";
import type { DatabaseReport, FileRootReport } from "../registry/servers.ts";

// What nodes and workers say comes from outside: a defect there, or somebody's intent, must not fill the registry, end a
// write of others, or break what is shown. What cannot be true is left out or cut; what is left is used.

/** Databases, or file roots, of one node. */
const MOST_ENTRIES = 1_000;
const MOST_TABLES = 10_000;
const MOST_ERRORS = 20;
const MOST_STEPS = 50;
/** Of one database, in one look. */
const MOST_FAULTS = 100;
export const LONGEST_NAME = 300;
const LARGEST_COUNT = 1e12;
const LONGEST_TEXT = 2_000;
/** Of some twenty thousand origins. */
const LONGEST_VECTOR = 1_000_000;

/** The text, or its beginning. */
export function clipped(text: string, longest = LONGEST_TEXT): string {
  return text.length <= longest ? text : `${text.slice(0, longest - 1)}…`;
}

/** A count as a number, bounded so that those of a whole fleet can still be added up exactly. */
export function countOf(value: bigint | number | undefined): number {
  return Math.max(0, Math.min(LARGEST_COUNT, Number(value ?? 0n)));
}

/** Bytes, or microseconds since 1970, as a number that is exact. */
export function sizeOf(value: bigint): number {
  return Math.max(0, Math.min(Number.MAX_SAFE_INTEGER, Number(value)));
}

/** What a node said of its databases. One whose vector is longer than any fleet makes them takes no part. */
export function databasesIn(statuses: readonly DatabaseStatus[]): DatabaseReport[] {
  return named(statuses, ({ name }) => name).map((status) => {
    const isVector = status.vector.length <= LONGEST_VECTOR;
    const problem = isVector ? status.problem : `Its vector has ${status.vector.length} characters, which no fleet makes.`;
    return {
      name: status.name,
      vector: isVector ? status.vector : "",
      digest: clipped(status.digest, LONGEST_NAME),
      pending: countOf(status.pending),
      parked: countOf(status.parked),
      conflicts: countOf(status.conflicts),
      rows: countOf(status.rows),
      tables: status.tables.slice(0, MOST_TABLES).map((table) => clipped(table, LONGEST_NAME)),
      problem: clipped(problem),
      held: countOf(status.held),
      kept_back: countOf(status.keptBack),
      restored: isVector && status.restored ? 1 : 0,
      schema: schemaIn(status.schema),
      notices: countOf(status.notices),
    };
  });
}

/** The tables and columns that a node said its digest is of, as one short text: equal where they are, whichever of them have rows. */
function schemaIn(print: string): string {
  if (print === "") return "";
  const tables = print.split(",", MOST_TABLES).map((table) => table.replace("+", ""));
  return hash("sha256", tables.toSorted().join(), "hex").slice(0, 16);
}

/** What a node said of its file roots. */
export function rootsIn(statuses: readonly FileRootStatus[]): FileRootReport[] {
  return named(statuses, ({ root }) => root).map((status) => ({
    root: status.root,
    cursor: clipped(status.cursor, LONGEST_VECTOR),
    digest: clipped(status.digest, LONGEST_NAME),
    conflicts: countOf(status.conflicts),
    pending: countOf(status.pending),
    missing: countOf(status.missing),
    held_back: status.heldBack ? 1 : 0,
    problem: clipped(status.problem),
    too_large: clipped(status.tooLarge),
    refused: countOf(status.refused),
    last_refused: Number.isNaN(Date.parse(status.lastRefused)) ? "" : clipped(status.lastRefused, LONGEST_NAME),
    refused_peer: clipped(status.refusedPeer, LONGEST_NAME),
    refused_what: clipped(status.refusedWhat),
  }));
}

/** How a session ended, as it may be kept. */
export function resultIn(result: SyncResult): SyncResult {
  const errors = result.errors
    .slice(0, MOST_ERRORS)
    .map((error) => ({ ...error, code: clipped(error.code, LONGEST_NAME), message: clipped(withoutStack(error.message)) }));
  const most = BigInt(Number.MAX_SAFE_INTEGER);
  const keptOut = result.keptOut.slice(0, MOST_ERRORS).map((text) => clipped(text));
  const unverified = result.unverified.slice(0, MOST_ERRORS).map((text) => clipped(text));
  return {
    ...result,
    errors,
    keptOut,
    unverified,
    durationMs: result.durationMs < 0n ? 0n : result.durationMs > most ? most : result.durationMs,
  };
}

/** What a node found when it looked at its capture. */
export function captureIn({ databases, problem }: CaptureLook): CaptureLook {
  return {
    problem: clipped(problem),
    databases: named(databases, ({ database }) => database).map(({ database, faults, cursor, writtenPast }) => ({
      database,
      faults: faults
        .slice(0, MOST_FAULTS)
        .map(({ table, reason, at }) => ({ table: clipped(table, LONGEST_NAME), reason: clipped(reason), at: clipped(at, LONGEST_NAME) })),
      cursor: cursor.length <= LONGEST_NAME ? cursor : "",
      writtenPast: writtenPast.slice(0, MOST_FAULTS).map((table) => clipped(table, LONGEST_NAME)),
    })),
  };
}

/** What went wrong in a session as one text for people. Empty: nothing did, or nobody said. */
export function failureText({ errors }: Pick<SyncResult, "errors">): string {
  const sentences = errors
    .map((error) => withoutStack(error.message))
    .map((message) => (/[.!?…]$/.test(message) ? message : `${message}.`));
  return [...new Set(sentences)].join(" ");
}

/** Where in the program something failed is in the log of the node; here it only hides what did. */
function withoutStack(message: string): string {
  return message.replaceAll(/\n\s+at [^\n]*?(?=\n|$|\. Report this)/g, "");
}

/** The steps of a session that there are. */
export function stepsIn(steps: readonly SessionStep[]): SessionStep[] {
  return steps.slice(0, MOST_STEPS).filter(({ operation }) => (OPERATION_NAMES as readonly string[]).includes(operation));
}

/** The first of each name, in their order. */
function named<T>(all: readonly T[], nameOf: (one: T) => string): T[] {
  const known = new Map<string, T>();
  for (const one of all) {
    const name = nameOf(one);
    if (known.size < MOST_ENTRIES && name.length <= LONGEST_NAME && !known.has(name)) known.set(name, one);
  }
  return [...known.values()];
}

import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { parentPort, type TransferListItem } from "node:worker_threads";
import { type ChangeBatch, ownedMemory, parseTerms, referenceTarget, SyncError, toPlainError } from "@scoutsync/core";
import { ReplicaDatabase } from "../database.ts";
import { REAL, type Surroundings } from "../surroundings.ts";
import { isReplaced } from "../identity/same-file.ts";
import type { ReplicaOptions, ReplicaState } from "../replica.ts";
import { fromSqlite } from "../sqlite-errors.ts";
import type { FromWorker, ToWorker } from "./calls.ts";
import { collectGrown } from "./collect.ts";
import { Quiet } from "./quiet.ts";

/** After a failed drain the next try waits this long, milliseconds. */
const RETRY_MS = 1_000;
/** Events that are drained without waiting for the application to be quiet: they would become one group, and one lock. */
const MUCH = 1_000;
const RUN_BYTES = 10;

interface Served {
  /** Null while there is nothing to open: its file was removed, or another node has it. While it is `lost`, it is being opened. */
  database: ReplicaDatabase | null;
  options: ReplicaOptions;
  state: ReplicaState;
  /** When its file was last seen to be the one that is open, Unix microseconds. */
  seenUs: number;
  /** What `stateStamp` said before the state was last looked at. */
  stamp: string;
  /** Why the database that was open is not any more; null while one is. */
  lost: SyncError | null;
  timer: NodeJS.Timeout;
  pausedUntil: number;
  /** The last turn of a drain left more to do. */
  isBehind: boolean;
  quiet: Quiet;
}

/** The databases of this thread by name, but for copies. */
const inNode = () => [...served].filter(([, { options }]) => options.trial !== true && options.scope === undefined);

/** What a database of this thread can see of the others that it belongs to. */
function surroundingsOf(options: ReplicaOptions): Partial<Surroundings> {
  if (options.together === undefined || options.scope !== undefined) return {};
  const isSame = (name: string) => (other: ReplicaOptions) => other.together === options.together && other.name.toLowerCase() === name;
  return {
    neighbour: (name) => inNode().find(([, one]) => isSame(name)(one.options))?.[1].database ?? null,
    dependents: () => (options.trial === true ? [] : openDependentsOf(options)),
  };
}

/**
 * Databases that refer to rows of this one, which must all be open before any of these may move: what applications write there
 * meanwhile means rows as they are now. But while this one is being opened itself: those may be waiting for it.
 */
function openDependentsOf(options: ReplicaOptions): ReplicaDatabase[] {
  const isOpening = inNode().some(([, one]) => one.options.name === options.name && one.lost !== null);
  return dependentsOf(options).flatMap(([, { database, options: other }]) => {
    if (database) return [database];
    // Where there is no file, nobody has written to it.
    if (isOpening || !existsSync(other.path)) return [];
    throw new SyncError({
      code: "DATABASE_LOCKED",
      message: `database "${other.name}" of this node, which refers to "${options.name}", is not open`,
      action: "Nothing was changed; it is tried again. See what is wrong with that database.",
    });
  });
}

/** The databases of this thread that belong together with one, it included, those that are referred to first. */
const groupOf = (one: Served): [number, Served][] =>
  [...served].filter(
    ([, other]) => other === one || (one.options.together !== undefined && other.options.together === one.options.together),
  );

const openDatabase = (options: ReplicaOptions, run: string, anew: Pick<Surroundings, "opening" | "seenUs"> = {}) =>
  new ReplicaDatabase(options, run, { ...REAL, ...surroundingsOf(options), ...anew });

/** Databases of this thread that refer to rows of this one. */
function dependentsOf({ name, together }: ReplicaOptions): [number, Served][] {
  if (together === undefined) return [];
  const refers = ({ options }: Served) =>
    options.together === together &&
    [...parseTerms(options.rules ?? []).references.values()].some((to) => referenceTarget(to).database === name.toLowerCase());
  return inNode().filter(([, one]) => refers(one));
}

const port = parentPort;
if (!port) throw new Error("runs as a worker thread only");
const served = new Map<number, Served>();

const send = (message: FromWorker, transfer: TransferListItem[] = []) => port.postMessage(message, transfer);

function publish(number: number, one: Served): void {
  const stamp = one.database?.stateStamp();
  if (!one.database || stamp === undefined || stamp === one.stamp) return;
  tell(number, one, one.database.state());
  one.stamp = stamp;
}

/** As `publish`, after a call that is done: where a migration came after it, the poll that follows that publishes. */
function publishSoon(number: number, one: Served): void {
  try {
    publish(number, one);
  } catch {
    one.stamp = "";
  }
}

function tell(number: number, one: Served, state: ReplicaState): void {
  const before = one.state;
  one.state = state;
  if (!isDeepStrictEqual(before, state)) send({ kind: "state", database: number, state });
}

/**
 * The database is not the one that was opened: lets go of it and opens what is there now. So it does with those that belong to it,
 * as somebody who puts a backup back does so with all of them: none is read by what is not there any more.
 */
function reopen(one: Served, why: SyncError): void {
  const group = groupOf(one);
  // Those that refer to others first, as in closing.
  for (const [, other] of group.toReversed()) letGo(other, other === one ? why : null);
  for (const [, { database }] of group) if (database) database.wasPutBack = false;
  for (const [number, other] of group) if (other.lost) openAgain(number, other, other.lost);
}

/** Closes what is not there any more. */
function letGo(one: Served, why: SyncError | null): void {
  try {
    if (why) throw why;
    one.database?.checkFile();
  } catch (error) {
    if (!isReplaced(error)) return;
    one.lost = error;
    one.database?.close();
    one.database = null;
  }
}

/** Under a new run and so with a new origin. Streams that were under way find that their run is gone. */
function openAgain(number: number, one: Served, why: SyncError): void {
  one.pausedUntil = performance.now() + RETRY_MS;
  try {
    const { vector: hadBefore } = one.state;
    const opening = (database: ReplicaDatabase) => void (one.database = database);
    openDatabase({ ...one.options, hadBefore }, randomBytes(RUN_BYTES).toString("hex"), { opening, seenUs: one.seenUs }).hasNews();
    one.seenUs = REAL.nowUs();
    one.lost = null;
    one.stamp = "";
    // Said until the next drain that goes well.
    one.database?.setProblem(why.message);
    publish(number, one);
  } catch (error) {
    one.database = null;
    tell(number, one, { ...one.state, problem: `${why.message} ${fromSqlite(error, one.options.path).message}` });
  }
}

/** Looks for commits of the application and turns them into changes. */
function poll(number: number, one: Served): void {
  if (performance.now() < one.pausedUntil) return;
  try {
    const { database } = one;
    if (one.lost) return reopen(one, one.lost);
    if (!database) return;
    const news = database.hasNews();
    one.seenUs = REAL.nowUs();
    if (!news && !one.quiet.isWaiting && !one.isBehind && !database.hasProblem && database.isFollowing) return;
    if (!one.quiet.isDue({ news, urgent: one.isBehind || database.isCaptured(MUCH) })) return;
    // Turn by turn, so that this thread's other databases and calls are not kept waiting.
    one.isBehind = !database.drainTurn();
    if (!one.isBehind) database.drain();
    collectGrown();
    database.setProblem("");
  } catch (error) {
    if (isReplaced(error)) return reopen(one, error);
    one.pausedUntil = performance.now() + RETRY_MS;
    one.database?.setProblem(fromSqlite(error, one.options.path).message);
  }
  try {
    publish(number, one);
  } catch (error) {
    one.stamp = "";
    one.state = { ...one.state, problem: fromSqlite(error, one.options.path).message };
    send({ kind: "state", database: number, state: one.state });
  }
}

function open(number: number, options: ReplicaOptions, run: string): ReplicaState {
  const database = openDatabase(options, run);
  database.hasNews();
  const one: Served = {
    database,
    options,
    state: database.state(),
    seenUs: REAL.nowUs(),
    stamp: "",
    lost: null,
    timer: setInterval(() => poll(number, one), options.pollIntervalMs),
    pausedUntil: 0,
    isBehind: false,
    quiet: new Quiet(),
  };
  served.set(number, one);
  return one.state;
}

/** Buffers that can change threads without being copied: those that own their memory. */
function transferable(value: unknown): TransferListItem[] {
  const payload = (value as { payload?: unknown } | null)?.payload;
  if (!(payload instanceof Uint8Array) || !(payload.buffer instanceof ArrayBuffer)) return [];
  return payload.byteLength === payload.buffer.byteLength ? [payload.buffer] : [];
}

port.on("message", (message: ToWorker) => {
  try {
    if (message.kind === "open") {
      const state = open(message.database, message.options, message.run);
      send({ kind: "answer", call: message.call, value: null, state });
      return;
    }
    const one = served.get(message.database);
    if (message.kind === "close") {
      if (one) {
        clearInterval(one.timer);
        served.delete(message.database);
        one.database?.close();
      }
      send({ kind: "answer", call: message.call, value: null, state: null });
      return;
    }
    if (!one) throw new Error("the database is closed");
    if (message.method === "correctClock") one.options.clockCorrectionUs = message.args[0] as number;
    if (one.lost) throw one.lost;
    if (!one.database) throw new Error("the database is closed");
    const method = one.database[message.method].bind(one.database) as (...args: unknown[]) => unknown;
    let value: unknown;
    try {
      value = method(...message.args);
    } catch (error) {
      if (isReplaced(error)) reopen(one, error);
      throw error;
    }
    if (message.method === "apply") ownedMemory((message.args[0] as ChangeBatch).payload)?.transfer(0);
    publishSoon(message.database, one);
    // What refers to its rows may have followed them.
    for (const [number, dependent] of dependentsOf(one.options)) publishSoon(number, dependent);
    send({ kind: "answer", call: message.call, value, state: null }, transferable(value));
    collectGrown();
  } catch (error) {
    send({ kind: "failure", call: message.call, error: toPlainError(error) });
  }
});

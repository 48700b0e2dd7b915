import { parentPort, type TransferListItem } from "node:worker_threads";
import { type ChangeBatch, formatVector, ownedMemory, toPlainError } from "@scoutsync/core";
import { ReplicaDatabase } from "../database.ts";
import type { ReplicaOptions, ReplicaState } from "../replica.ts";
import { fromSqlite } from "../sqlite-errors.ts";
import type { FromWorker, ToWorker } from "./calls.ts";

/** After a failed drain the next try waits this long, milliseconds. */
const RETRY_MS = 1_000;

interface Served {
  database: ReplicaDatabase;
  options: ReplicaOptions;
  state: ReplicaState;
  timer: NodeJS.Timeout;
  pausedUntil: number;
}

const port = parentPort;
if (!port) throw new Error("runs as a worker thread only");
const served = new Map<number, Served>();

const send = (message: FromWorker, transfer: TransferListItem[] = []) => port.postMessage(message, transfer);

function sameState(a: ReplicaState, b: ReplicaState): boolean {
  const numbers = (state: ReplicaState) =>
    [state.pending, state.parked, state.conflicts, state.rows, state.problem, ...state.tables].join();
  return numbers(a) === numbers(b) && Buffer.compare(a.digest, b.digest) === 0 && formatVector(a.vector) === formatVector(b.vector);
}

function publish(number: number, one: Served): void {
  const before = one.state;
  one.state = one.database.state();
  const { state } = one;
  if (!sameState(before, state)) send({ kind: "state", database: number, state });
}

/** Looks for commits of the application and turns them into changes. */
function poll(number: number, one: Served): void {
  if (performance.now() < one.pausedUntil) return;
  try {
    const pending = one.state.problem !== "";
    if (!one.database.hasNews() && !pending) return;
    one.database.drain();
    one.database.setProblem("");
  } catch (error) {
    one.pausedUntil = performance.now() + RETRY_MS;
    one.database.setProblem(fromSqlite(error, one.options.path).message);
  }
  try {
    publish(number, one);
  } catch (error) {
    one.state = { ...one.state, problem: fromSqlite(error, one.options.path).message };
    send({ kind: "state", database: number, state: one.state });
  }
}

function open(number: number, options: ReplicaOptions, run: string): ReplicaState {
  const database = new ReplicaDatabase(options, run);
  database.hasNews();
  const one: Served = {
    database,
    options,
    state: database.state(),
    timer: setInterval(() => poll(number, one), options.pollIntervalMs),
    pausedUntil: 0,
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
        one.database.close();
      }
      send({ kind: "answer", call: message.call, value: null, state: null });
      return;
    }
    if (!one) throw new Error("the database is closed");
    const method = one.database[message.method].bind(one.database) as (...args: unknown[]) => unknown;
    const value = method(...message.args);
    if (message.method === "apply") ownedMemory((message.args[0] as ChangeBatch).payload)?.transfer(0);
    const before = one.state;
    one.state = one.database.state();
    if (!sameState(before, one.state)) send({ kind: "state", database: message.database, state: one.state });
    send({ kind: "answer", call: message.call, value, state: null }, transferable(value));
  } catch (error) {
    send({ kind: "failure", call: message.call, error: toPlainError(error) });
  }
});

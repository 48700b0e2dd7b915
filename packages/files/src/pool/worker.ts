import { parentPort, type TransferListItem } from "node:worker_threads";
import { PIECE_BYTES, toPlainError } from "@scoutsync/core";
import { FileRootEngine } from "../engine.ts";
import type { FileRootState } from "../file-root.ts";
import type { FromWorker, ToWorker } from "./calls.ts";

/** A root that changes all the time is reported at most this often, milliseconds. */
const STATE_EVERY_MS = 50;

interface Served {
  engine: FileRootEngine;
  said: string;
  timer: NodeJS.Timeout | null;
}

const port = parentPort;
if (!port) throw new Error("runs as a worker thread only");
const served = new Map<number, Served>();

const send = (message: FromWorker, transfer: TransferListItem[] = []) => port.postMessage(message, transfer);

/** The methods that only read: nothing can have moved. */
const QUIET: ReadonlySet<string> = new Set([
  "read",
  "readSmall",
  "write",
  "accept",
  "begin",
  "finish",
  "leave",
  "list",
  "received",
  "noteAcknowledged",
  "cursors",
  "cursorsOf",
  "holds",
  "nothingFor",
  "locate",
  "recipe",
  "patch",
  "reviews",
  "absent",
  "versions",
  "files",
  "status",
]);

/** The methods whose last argument is bytes that are done with when they have been answered. */
const TAKES_BYTES: ReadonlySet<string> = new Set(["write", "patch"]);

function publish(root: number, one: Served): void {
  one.timer ??= setTimeout(() => {
    one.timer = null;
    if (served.get(root) !== one) return;
    const state = one.engine.state();
    const text = JSON.stringify(state);
    if (text === one.said) return;
    one.said = text;
    send({ kind: "state", root, state });
  }, STATE_EVERY_MS);
}

interface Answer {
  value: unknown;
  state: FileRootState | null;
  memory: ArrayBuffer | null;
  transfer: TransferListItem[];
}

async function answer(message: ToWorker): Promise<Answer> {
  if (message.kind === "open") {
    const engine = await FileRootEngine.open(message.options, {
      onLooked: () => {
        const one = served.get(message.root);
        if (one) publish(message.root, one);
      },
    });
    const state = engine.state();
    served.set(message.root, { engine, said: JSON.stringify(state), timer: null });
    return { value: null, state, memory: null, transfer: [] };
  }
  const one = served.get(message.root);
  if (!one) throw new Error("the root is closed");
  if (message.kind === "close") {
    served.delete(message.root);
    if (one.timer) clearTimeout(one.timer);
    await one.engine.close();
    return { value: null, state: null, memory: null, transfer: [] };
  }
  const method = one.engine[message.method] as (...args: unknown[]) => Promise<unknown>;
  try {
    const value = await method.apply(one.engine, message.args);
    const state = QUIET.has(message.method) ? null : one.engine.state();
    if (state) one.said = JSON.stringify(state);
    const memory = TAKES_BYTES.has(message.method) ? pieceOf(message.args.at(-1)) : null;
    const transfer = (Array.isArray(value) ? value : [value]).flatMap(ownMemory);
    return { value, state, memory, transfer: memory ? [...transfer, memory] : transfer };
  } finally {
    publish(message.root, one);
  }
}

/** The memory of bytes that have it to themselves: it is moved, not copied. */
function ownMemory(value: unknown): ArrayBuffer[] {
  if (!(value instanceof Uint8Array) || !(value.buffer instanceof ArrayBuffer)) return [];
  const isOwn = value.byteLength > 0 && value.byteLength === value.buffer.byteLength;
  return isOwn || pieceOf(value) ? [value.buffer] : [];
}

/** A piece that came with a call: nothing else in this thread is of this size and shared. */
function pieceOf(value: unknown): ArrayBuffer | null {
  return value instanceof Uint8Array && value.buffer instanceof ArrayBuffer && value.buffer.byteLength === PIECE_BYTES
    ? value.buffer
    : null;
}

port.on("message", (message: ToWorker) => {
  answer(message).then(
    ({ value, state, memory, transfer }) => send({ kind: "result", call: message.call, value, state, memory }, transfer),
    (error: unknown) =>
      send({ kind: "failure", call: message.call, error: toPlainError(error), state: served.get(message.root)?.engine.state() ?? null }),
  );
});

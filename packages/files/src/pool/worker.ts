import { parentPort, type TransferListItem } from "node:worker_threads";
import { toPlainError } from "@scoutsync/core";
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

async function answer(message: ToWorker): Promise<{ value: unknown; state: FileRootState | null; transfer: TransferListItem[] }> {
  if (message.kind === "open") {
    const engine = await FileRootEngine.open(message.options, {
      onLooked: () => {
        const one = served.get(message.root);
        if (one) publish(message.root, one);
      },
    });
    const state = engine.state();
    served.set(message.root, { engine, said: JSON.stringify(state), timer: null });
    return { value: null, state, transfer: [] };
  }
  const one = served.get(message.root);
  if (!one) throw new Error("the root is closed");
  if (message.kind === "close") {
    served.delete(message.root);
    if (one.timer) clearTimeout(one.timer);
    await one.engine.close();
    return { value: null, state: null, transfer: [] };
  }
  const method = one.engine[message.method] as (...args: unknown[]) => Promise<unknown>;
  try {
    const value = await method.apply(one.engine, message.args);
    const state = QUIET.has(message.method) ? null : one.engine.state();
    if (state) one.said = JSON.stringify(state);
    return { value, state, transfer: (Array.isArray(value) ? value : [value]).flatMap(ownMemory) };
  } finally {
    publish(message.root, one);
  }
}

/** The memory of bytes that have it to themselves: it is moved, not copied. */
function ownMemory(value: unknown): ArrayBuffer[] {
  if (!(value instanceof Uint8Array) || !(value.buffer instanceof ArrayBuffer)) return [];
  return value.byteLength > 0 && value.byteLength === value.buffer.byteLength ? [value.buffer] : [];
}

port.on("message", (message: ToWorker) => {
  answer(message).then(
    ({ value, state, transfer }) => send({ kind: "result", call: message.call, value, state }, transfer),
    (error: unknown) =>
      send({ kind: "failure", call: message.call, error: toPlainError(error), state: served.get(message.root)?.engine.state() ?? null }),
  );
});

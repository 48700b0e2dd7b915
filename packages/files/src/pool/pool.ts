import { Worker, type TransferListItem } from "node:worker_threads";
import {
  adoptPiece,
  fromPlainError,
  givePiece,
  isPiece,
  PIECE_BYTES,
  SyncError,
  takePiece,
  type Review,
  type FileEntry,
} from "@scoutsync/core";
import type { Intake, Want } from "../apply/intake.ts";
import type {
  FileListing,
  FileRoot,
  FileRootOptions,
  FileRootState,
  FileStatus,
  ListPage,
  ListRequest,
  StoredVersion,
} from "../file-root.ts";
import type { ScanReport } from "../scan/report.ts";
import type { ForgetOptions, Forgotten } from "../store/retention.ts";
import type { SmallFile } from "../store/staging.ts";
import type { FromWorker, Method, ToWorker } from "./calls.ts";

/** Bytes that fill this much of a large piece of memory are a whole message's: nobody else's are in it. */
const OWN_MEMORY_BYTES = 64 * 1024;
const OWN_MEMORY_SHARE = 0.98;

interface Waiting {
  root: number;
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/** Opens roots in one worker thread, so that hashing and copying never keep the node from answering. */
export class FileRootPool {
  private worker: Worker | null = null;
  private readonly waiting = new Map<number, Waiting>();
  private readonly roots = new Map<number, PooledRoot>();
  private calls = 0;
  private opened = 0;

  async open(options: FileRootOptions): Promise<FileRoot> {
    const number = ++this.opened;
    const root = new PooledRoot(this, number, options);
    this.roots.set(number, root);
    try {
      await this.ask({ kind: "open", call: this.nextCall(), root: number, options });
    } catch (error) {
      this.roots.delete(number);
      throw error;
    }
    return root;
  }

  /** Closes every root and ends the thread. */
  async close(): Promise<void> {
    await Promise.all([...this.roots.values()].map((root) => root.close().catch(() => {})));
    await this.worker?.terminate();
    this.worker = null;
  }

  nextCall(): number {
    return ++this.calls;
  }

  ask(message: ToWorker, transfer: TransferListItem[] = []): Promise<unknown> {
    const worker = (this.worker ??= this.start());
    return new Promise((resolve, reject) => {
      this.waiting.set(message.call, { root: message.root, resolve, reject });
      worker.ref();
      worker.postMessage(message, transfer);
    });
  }

  forget(number: number): void {
    this.roots.delete(number);
  }

  private start(): Worker {
    const worker = new Worker(new URL("./worker.ts", import.meta.url));
    worker.on("message", (message: FromWorker) => this.receive(worker, message));
    worker.on("error", (error) => this.lost(error));
    worker.unref();
    return worker;
  }

  private receive(worker: Worker, message: FromWorker): void {
    if (message.kind === "state") {
      this.roots.get(message.root)?.moved(message.state);
      return;
    }
    const waiting = this.waiting.get(message.call);
    this.waiting.delete(message.call);
    if (this.waiting.size === 0) worker.unref();
    if (!waiting) return;
    if (message.state) this.roots.get(waiting.root)?.moved(message.state);
    if (message.kind === "result" && message.memory) givePiece(new Uint8Array(adoptPiece(message.memory)));
    if (message.kind === "failure") waiting.reject(fromPlainError(message.error));
    else waiting.resolve(message.value);
  }

  /** What was under way is in the journal: the next start finishes or undoes it. */
  private lost(error: Error): void {
    this.worker = null;
    const failure = new SyncError({
      code: "INTERNAL",
      message: `the thread that serves the file roots stopped: ${error.message}`,
      action: "Restart the node; nothing was lost.",
      cause: error,
    });
    for (const waiting of this.waiting.values()) waiting.reject(failure);
    this.waiting.clear();
    for (const root of this.roots.values()) root.moved({ ...root.state, problem: failure.message, problemCode: "INTERNAL" });
  }
}

class PooledRoot implements FileRoot {
  readonly name: string;
  readonly path: string;
  private readonly pool: FileRootPool;
  private readonly number: number;
  private readonly listeners = new Set<() => void>();
  private current: FileRootState | null = null;

  constructor(pool: FileRootPool, number: number, { name, path }: FileRootOptions) {
    this.pool = pool;
    this.number = number;
    this.name = name;
    this.path = path;
  }

  get state(): FileRootState {
    if (!this.current) throw new Error("the root is not open yet");
    return this.current;
  }

  moved(state: FileRootState): void {
    const before = JSON.stringify(this.current);
    this.current = state;
    if (JSON.stringify(state) !== before) for (const listener of this.listeners) listener();
  }

  onChange(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  scan = (options: { deep?: boolean; folders?: readonly string[]; confirm?: boolean }) => this.call<ScanReport>("scan", options);
  keepLooking = (everyMs: number) => this.call<void>("keepLooking", everyMs);
  list = (request: ListRequest) => this.call<ListPage>("list", request);
  receive = (entries: readonly FileEntry[], source: string, peer: string) => this.call<Intake>("receive", entries, source, peer);
  noteRefused = (peer: string, what: string) => this.call<void>("noteRefused", peer, what);
  received = (index: string) => this.call<number>("received", index);
  noteReceived = (index: string, seq: number, heardAs: string) => this.call<void>("noteReceived", index, seq, heardAs);
  noteAcknowledged = (seq: number) => this.call<void>("noteAcknowledged", seq);
  forget = (options: ForgetOptions) => this.call<Forgotten>("forget", options);
  cursors = () => this.call<{ index: string; seq: number }[]>("cursors");
  cursorsOf = (index: string) => this.call<{ index: string; seq: number }[]>("cursorsOf", index);
  placeOf = (cursors: readonly { index: string; seq: number }[]) => this.call<number>("placeOf", cursors);
  nothingFor = (index: string, seq: number) => this.call<boolean>("nothingFor", index, seq);
  holds = (hashes: readonly string[]) => this.call<boolean[]>("holds", hashes);
  limitTo = (prefixes: readonly string[] | null) => this.call<boolean>("limitTo", prefixes);
  heal = () => this.call<{ healed: number; wants: Want[] }>("heal");
  begin = (hash: string, size: number) => this.call<number>("begin", hash, size);
  accept = (files: readonly SmallFile[]) => this.call<void>("accept", files);
  write = (hash: string, offset: number, bytes: Uint8Array) => this.give("write", bytes, hash, offset, bytes);
  finish = (hash: string) => this.call<void>("finish", hash);
  leave = (hash: string) => this.call<void>("leave", hash);
  read = (hash: string, offset: number, length: number) => this.readInto(hash, offset, length);
  readSmall = (hashes: readonly string[]) => this.call<(Uint8Array<ArrayBuffer> | "large" | "missing")[]>("readSmall", hashes);
  locate = (path: string) => this.call<FileEntry>("locate", path);
  recipe = (hash: string, size: number) => this.call<Uint8Array<ArrayBuffer>>("recipe", hash, size);
  assemble = (hash: string, size: number, path: string, recipe: Uint8Array) =>
    this.call<{ offset: number; length: number }[]>("assemble", hash, size, path, recipe);
  patch = (hash: string, offset: number, bytes: Uint8Array) => this.give("patch", bytes, hash, offset, bytes);
  reviews = () => this.call<Review[]>("reviews");
  resolve = (id: string, decision: "winner" | "loser" | "release" | "undo") => this.call<Review | null>("resolve", id, decision);
  restore = (path: string, hash: string) => this.call<FileEntry>("restore", path, hash);
  absent = (paths: readonly string[]) => this.call<{ path: string; reason: string }[]>("absent", paths);
  versions = (path: string) => this.call<StoredVersion[]>("versions", path);
  files = (under: string, after: string, limit: number) => this.call<FileListing[]>("files", under, after, limit);
  status = () => this.call<FileStatus>("status");

  async close(): Promise<void> {
    this.pool.forget(this.number);
    await this.pool.ask({ kind: "close", call: this.pool.nextCall(), root: this.number });
  }

  /** A call whose bytes are moved to the thread, not copied, where they have their memory to themselves. */
  private async give(method: Method, bytes: Uint8Array, ...args: unknown[]): Promise<void> {
    const { buffer, byteLength } = bytes;
    const isLarge = byteLength >= OWN_MEMORY_BYTES && byteLength >= buffer.byteLength * OWN_MEMORY_SHARE;
    const isOwn = buffer instanceof ArrayBuffer && (isPiece(bytes) || isLarge);
    const message: ToWorker = { kind: "call", call: this.pool.nextCall(), root: this.number, method, args };
    await this.pool.ask(message, isOwn ? [buffer] : []);
  }

  /** Into a piece where it fits into one; whoever has done with the bytes may give it back. */
  private async readInto(hash: string, offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    if (length !== PIECE_BYTES) return this.call("read", hash, offset, length);
    const memory = takePiece();
    const args = [hash, offset, length, memory];
    const message: ToWorker = { kind: "call", call: this.pool.nextCall(), root: this.number, method: "read", args };
    const bytes = (await this.pool.ask(message, [memory])) as Uint8Array<ArrayBuffer>;
    adoptPiece(bytes.buffer);
    return bytes;
  }

  private call<T>(method: Method, ...args: unknown[]): Promise<T> {
    return this.pool.ask({ kind: "call", call: this.pool.nextCall(), root: this.number, method, args }) as Promise<T>;
  }
}

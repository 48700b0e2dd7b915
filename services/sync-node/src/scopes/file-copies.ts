import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { SyncError, toPlainError, Wakeup, type FileRefusal } from "@scoutsync/core";
import { Part, type FileRoot, type FileRootOptions, type FileRootPool } from "@scoutsync/files";
import { backoffMs, pause, type Logger } from "@scoutsync/runtime";
import { emptyStats, pullFiles, pushFiles, Rate } from "@scoutsync/session";
import { FileRoots } from "../files/file-roots.ts";
import type { ScopeDefinition } from "./definitions.ts";
import { partPeer } from "./part-peer.ts";

/** Between two passes: what an application writes in one go is carried in one go. */
const LEAST_PAUSE_MS = 100;
/** What could not be taken in now is tried again after this long. */
const RETRY_MS = 3_000;
const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 30_000;

/**
 * A part of a root for the nodes of a scope: a root of its own, with a manifest, numbers and a store of its own, which holds
 * what the scope shows and nothing else. Whatever a node of the scope asks is answered from it.
 */
export class FileCopy {
  readonly copy: FileRoot;
  readonly main: FileRoot;
  readonly part: Part;
  readonly #scope: string;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(scope: string, copy: FileRoot, main: FileRoot, part: Part) {
    this.#scope = scope;
    this.copy = copy;
    this.main = main;
    this.part = part;
  }

  /** False until what its nodes wrote under earlier definitions is in the root, and what they may not have any more is out of it. */
  get isReady(): boolean {
    return JSON.stringify(this.copy.state.part) === JSON.stringify(this.part.prefixes);
  }

  /** Carries what is new in both directions; one pass at a time. Returns what was refused for now. Throws SyncErrors. */
  carry(): Promise<FileRefusal[]> {
    return this.#inTurn(() => this.#carry());
  }

  /** Makes it ready. Throws SyncErrors; then `carry` tries again. */
  prepare(): Promise<void> {
    return this.#inTurn(() => this.#prepare());
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => {});
    return done;
  }

  async #prepare(): Promise<void> {
    if (this.isReady) return;
    const { part: before } = this.copy.state;
    // What was accepted while it was allowed belongs to everyone.
    if (before !== null) await this.#push(new Part(before));
    await this.copy.limitTo(this.part.prefixes);
  }

  async #carry(): Promise<FileRefusal[]> {
    await this.#prepare();
    const { copy, main, part } = this;
    const exchange = this.#exchange(part);
    const { refused } = await pullFiles(exchange);
    const isNews = !(await copy.nothingFor(main.state.index, await main.received(copy.state.index)));
    return isNews ? [...refused, ...(await this.#push(part))] : refused;
  }

  async #push(part: Part): Promise<FileRefusal[]> {
    const { end, refused } = await pushFiles(this.#exchange(part));
    await this.copy.noteAcknowledged(end.received);
    return refused;
  }

  #exchange(part: Part) {
    const { copy, main } = this;
    const peer = partPeer(main, copy, part);
    return { root: copy, peer, nodeName: `scope ${this.#scope}`, asKnown: true, rate: new Rate(), stats: emptyStats() };
  }
}

/** The roots of a scope, as its nodes meet them, and what carries them. */
export interface ScopeFiles {
  /** Those that are ready. */
  readonly roots: FileRoots;
  readonly copies: readonly FileCopy[];
}

/**
 * Opens the copies of roots that a scope shows parts of, in `folder`. A root that the scope showed before and does not name
 * any more is shown with nothing in it, so that it leaves its nodes. Throws INVALID_ARGUMENT for a root that this node does not have.
 */
export async function openFileCopies(
  { name: scope, files }: ScopeDefinition,
  given: {
    folder: string;
    nodeName: string;
    mains: FileRoots;
    optionsOf: (root: string) => FileRootOptions;
    pool: FileRootPool;
    logger: Logger;
  },
): Promise<ScopeFiles> {
  const { folder, mains, optionsOf, pool } = given;
  const roots = new FileRoots(given.nodeName);
  const copies: FileCopy[] = [];
  const before = existsSync(folder) ? readdirSync(folder).flatMap((name) => /^(.+)\.db$/.exec(name)?.[1] ?? []) : [];
  const known = new Set(mains.all().map(({ name }) => name));
  const dropped = before.filter((root) => known.has(root) && !files.some((one) => one.root === root));
  for (const { root, folders } of [...files, ...dropped.map((one) => ({ root: one, folders: [] as string[] }))]) {
    const main = mains.get(root);
    const path = join(folder, root);
    mkdirSync(path, { recursive: true, mode: 0o700 });
    const copy = await pool.open({ ...optionsOf(root), path, manifestPath: join(folder, `${root}.db`) });
    const one = new FileCopy(scope, copy, main, new Part(folders));
    copies.push(one);
    const serve = () =>
      roots.add(copy, async () => {
        await main.scan({ confirm: true });
        await one.carry();
      });
    try {
      await one.prepare();
    } catch (error) {
      given.logger.warn({ scope, root, ...toPlainError(error) }, "files of the scope are not carried yet");
    }
    if (one.isReady) serve();
    else {
      const stop = copy.onChange(() => {
        if (!one.isReady) return;
        stop();
        serve();
      });
    }
  }
  return { roots, copies };
}

/** Carries what changes between a root and a scope's copy of it, until the signal aborts. Never throws. */
export async function keepFileCopy(scope: string, one: FileCopy, logger: Logger, signal: AbortSignal): Promise<void> {
  const changed = new Wakeup();
  let news = true;
  const raise = () => {
    news = true;
    changed.raise();
  };
  const stops = [one.main.onChange(raise), one.copy.onChange(raise)];
  const at = { scope, root: one.main.name };
  let said = "";
  for (let failures = 0; !signal.aborted;) {
    await changed.until(() => news, signal);
    if (signal.aborted) break;
    news = false;
    let problem = "";
    let waitMs = LEAST_PAUSE_MS;
    try {
      const refused = await one.carry();
      failures = 0;
      if (refused.some(({ retry }) => retry)) waitMs = RETRY_MS;
      if (refused.length > 0) problem = refused[0]?.message ?? "";
      if (waitMs === RETRY_MS) raise();
    } catch (error) {
      problem = toPlainError(error).message;
      waitMs = backoffMs(failures, { firstMs: FIRST_RETRY_MS, capMs: LONGEST_RETRY_MS });
      failures++;
      raise();
    }
    if (problem !== said)
      logger[problem === "" ? "info" : "warn"](
        at,
        problem === "" ? "files of the scope go on" : `files of the scope stand still: ${problem}`,
      );
    said = problem;
    await pause(waitMs, signal);
  }
  for (const stop of stops) stop();
}

/** Throws INVALID_ARGUMENT for a scope that shows a root which this node does not have. */
export function checkScopeRoots(definitions: readonly ScopeDefinition[], roots: readonly string[]): void {
  for (const { name, files } of definitions) {
    for (const { root } of files) {
      if (roots.includes(root)) continue;
      throw new SyncError({
        code: "INVALID_ARGUMENT",
        message: `scope "${name}" shows files of a root "${root}" that this node does not have`,
        action: roots.length === 0 ? "Start it with --files ROOT=DIR." : `Use one of: ${roots.join(", ")}.`,
      });
    }
  }
}

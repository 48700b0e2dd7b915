import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join as joinPath } from "node:path";
import { type ApplyResult, type ChangeBatch, formatVector, join, type Review, type VersionVector } from "@scoutsync/core";
import Database from "better-sqlite3";
import { onTestFinished } from "vitest";
import { ReplicaDatabase, type ScopeSource } from "../src/index.ts";
import { seeded } from "./seeded.ts";

/** 2023-11-14, before any real clock that captures: so a captured time always counts as the drain's, which tests set. */
export const START_US = 1_700_000_000_000_000;
export const SECOND_US = 1_000_000;
export const IN_2099_US = 4_070_908_800_000_000;

export interface SiteOptions {
  /** 0 makes every long piece of work one of many short turns. */
  turnMs?: number;
  quarantine?: { rows: number; share: number } | null;
  baseline?: "shared" | "distinct" | null;
  exclude?: string[];
  sensitive?: string[];
  triggers?: { run: string[]; suspend: string[] };
  rules?: string[];
  limited?: boolean;
  park?: string[];
  busyTimeoutMs?: number;
  uptimeUs?: () => number;
  /** A database that is there already. */
  path?: string;
  hadBefore?: VersionVector;
  serveRestored?: boolean;
  /** As of `Surroundings`. */
  rememberedUs?: number;
  /** Where origins come from; the same again is a machine that was put back while it ran. */
  random?: () => number;
  /** It is the copy of a scope; with `path`. */
  scope?: ScopeSource;
  /** Other databases of the same node, by name, in whose rows this one's rows refer. */
  refersTo?: Record<string, Site>;
  /** Databases of the same node that refer to rows of this one; filled in by them. */
  dependents?: Site[];
  /** Runs what is left to do when the history is over; where it is not the test that ends it. */
  atEnd?: (work: () => void) => void;
  /** Opens the replica's connection. */
  connect?: (path: string, options: Database.Options) => Database.Database;
}

export type Row = Record<string, unknown>;

/** Everyone has met everyone by then. */
export const MOST_ROUNDS = 6;

/** No stream of these tests is longer. */
const MOST_BATCHES = 100;

/** Unix microseconds as the triggers note them. */
export const julianDay = (us: number): number => us / 86_400_000_000 + 2_440_587.5;

let drawn = 0;

const open = (path: string, options: Database.Options): Database.Database => new Database(path, options);

/** A folder that goes when the test ends. */
export function testFolder(atEnd: (work: () => void) => void = onTestFinished): string {
  const path = mkdtempSync(joinPath(tmpdir(), "scoutsync-replica-"));
  atEnd(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/**
 * One server: a database file, the application that writes to it, and the replica. The application has a connection
 * of its own, of the same library: two SQLite libraries in one process do not see each other's locks.
 */
export class Site {
  readonly name: string;
  readonly path: string;
  readonly options: SiteOptions;
  app: Database.Database;
  replica!: ReplicaDatabase;
  /** The node's clock, Unix microseconds. */
  nowUs = START_US;
  private runs = 0;
  // Fresh on every start, as real randomness is, and the same in every run of the tests.
  private readonly random = seeded(++drawn);

  /** `schema` makes the file before the node sees it: what it inserts is there from before syncing. */
  constructor(name: string, schema: string, options: SiteOptions = {}) {
    this.name = name;
    this.options = options;
    this.path = options.path ?? joinPath(testFolder(options.atEnd), `${name}.db`);
    this.app = new Database(this.path);
    if (!options.path) this.app.exec(schema);
    for (const parent of Object.values(options.refersTo ?? {})) (parent.options.dependents ??= []).push(this);
    (options.atEnd ?? onTestFinished)(() => this.stop());
    this.start();
  }

  /** `seenUs`: anew, under a running node whose file was replaced, as of `Surroundings`. */
  start(seenUs?: number): void {
    this.runs++;
    const {
      baseline = null,
      exclude = [],
      sensitive = [],
      rules = [],
      limited = false,
      park = [],
      busyTimeoutMs = 200,
      uptimeUs,
      turnMs,
      quarantine,
      hadBefore,
      serveRestored = false,
      scope,
    } = this.options;
    this.replica = new ReplicaDatabase(
      {
        name: "main",
        path: this.path,
        nodeName: this.name,
        nodeId: this.name,
        exclude,
        sensitive,
        triggers: this.options.triggers,
        rules,
        limited,
        park,
        baseline,
        busyTimeoutMs,
        pollIntervalMs: 50,
        serveRestored,
        ...(quarantine !== undefined && { quarantine }),
        ...(hadBefore && { hadBefore }),
        ...(scope && { scope }),
        ...(this.options.dependents && { isReferredTo: true }),
      },
      `${this.name}-run${this.runs}`,
      {
        nowUs: () => this.nowUs,
        neighbour: (other) => (this.options.refersTo?.[other]?.isOpen === true ? this.options.refersTo[other].replica : null),
        dependents: () => (this.options.dependents ?? []).filter(({ isOpen }) => isOpen).map(({ replica }) => replica),
        connect: (path, options) => (this.connection = (this.options.connect ?? open)(path, options)),
        ...(uptimeUs && { uptimeUs }),
        ...(seenUs !== undefined && { seenUs, opening: (replica) => this.opened(replica) }),
        ...(turnMs !== undefined && { turnMs }),
        ...(this.options.rememberedUs !== undefined && { rememberedUs: this.options.rememberedUs }),
        random: (bytes) => Uint8Array.from({ length: bytes }, () => Math.floor((this.options.random ?? this.random)() * 256)),
      },
    );
    this.opened(this.replica);
  }

  private opened(replica: ReplicaDatabase): void {
    this.replica = replica;
    this.isOpen = true;
  }

  /** The replica runs. */
  isOpen = false;
  private connection!: Database.Database;

  /** The node's process is killed: what it had not committed is gone. */
  kill(): void {
    this.isOpen = false;
    this.connection.close();
    this.replica.close();
  }

  stop(): void {
    this.isOpen = false;
    this.replica?.close();
    if (this.app.open) this.app.close();
  }

  /** The next drain fails, as from a cause that nobody has foreseen. */
  failDrain(): void {
    const { drainer } = (this.replica as unknown as { parts: { drainer: { run: (until: number) => boolean } } }).parts;
    const run = drainer.run.bind(drainer);
    drainer.run = () => {
      drainer.run = run;
      throw new Error("not foreseen");
    };
  }

  restart(): void {
    this.isOpen = false;
    this.replica.close();
    this.start();
  }

  /** Another file comes under the node while it is down: a restored backup, a copied laptop. */
  replaceFile(from: string): void {
    this.stop();
    for (const end of ["-wal", "-shm"]) rmSync(`${this.path}${end}`, { force: true });
    copyFileSync(from, this.path);
    this.app = new Database(this.path);
    this.start();
  }

  /** A copy of the file as a backup tool makes it. */
  backup(): string {
    const path = joinPath(testFolder(this.options.atEnd), "backup.db");
    this.app.prepare("VACUUM INTO ?").run(path);
    return path;
  }

  /** What the application does; not drained. */
  write(sql: string): void {
    this.app.exec(sql);
  }

  /** What the application does, at this time of the node's clock, drained. */
  edit(sql: string, atUs = this.nowUs): void {
    this.nowUs = atUs;
    this.app.exec(sql);
    // The writing process has the node's clock; a little later, as what is later counts exactly as the node's.
    this.app.exec(`UPDATE _scoutsync_capture SET at = ${julianDay(atUs + 10_000)}`);
    this.replica.drain();
  }

  rows(sql: string): Row[] {
    return this.app.prepare(sql).all() as Row[];
  }

  one(sql: string): unknown {
    return Object.values(this.rows(sql)[0] ?? {})[0] ?? null;
  }

  get vector(): string {
    return formatVector(this.replica.state().vector);
  }

  get conflicts(): Review[] {
    return this.replica.reviews({ kind: "conflict", id: "", limit: 1_000 });
  }

  /** Everything in the file, sync metadata included, to see that nothing changed. */
  contents(): string {
    const tables = this.rows("SELECT name, sql FROM sqlite_schema WHERE type = 'table' ORDER BY name");
    return tables.map(({ name, sql }) => JSON.stringify([name, sql, this.rows(`SELECT * FROM "${String(name)}"`)])).join("\n");
  }

  /** The next batch that `to` lacks; `beyondAfter` from the batch before where that did not hold all beyond the vector. */
  batchFor(to: Site, batchSize = 0, whole = false, beyondAfter?: ChangeBatch["beyondTo"]): ChangeBatch {
    this.replica.meet(to.replica.baseline());
    const from = join(to.replica.state().vector, to.replica.position(this.replica.run));
    return this.replica.read({ from, batchSize, codecs: ["zstd"], beyondDigest: to.replica.beyondDigest(), whole, beyondAfter });
  }

  /** All batches of a stream that starts from what `to` has now, read before any is applied. */
  streamFor(to: Site, batchSize: number): ChangeBatch[] {
    this.replica.meet(to.replica.baseline());
    const batches: ChangeBatch[] = [];
    let from = to.replica.state().vector;
    do {
      if (batches.length > MOST_BATCHES) throw new Error("the stream never ends");
      const beyondAfter = batches.at(-1)?.beyondTo;
      batches.push(this.replica.read({ from, batchSize, codecs: [], beyondDigest: to.replica.beyondDigest(), beyondAfter }));
      from = join(from, batches.at(-1)!.to);
    } while (!batches.at(-1)!.final);
    return batches;
  }

  /** Pulls until the end of the stream, or `batches` of it. */
  pull(from: Site, { batchSize = 0, batches = Number.POSITIVE_INFINITY } = {}): ApplyResult[] {
    const results: ApplyResult[] = [];
    let beyondAfter: ChangeBatch["beyondTo"];
    for (let final = false; !final && results.length < batches;) {
      if (results.length > MOST_BATCHES) throw new Error("the stream never ends");
      const batch = from.batchFor(this, batchSize, false, beyondAfter);
      results.push(this.replica.apply(batch));
      beyondAfter = batch.beyondTo;
      final = batch.final;
    }
    return results;
  }
}

/** Everyone pulls from everyone until nothing moves. */
export function settle(...sites: Site[]): void {
  for (let rounds = 0; rounds < MOST_ROUNDS; rounds++) {
    const moved = sites
      .flatMap((to) => sites.filter((from) => from !== to).flatMap((from) => willing(to, from)))
      .reduce((sum, { received }) => sum + received, 0);
    if (moved === 0) return;
  }
  throw new Error("the sites never came to rest");
}

/** What a pull moved; nothing where the other side was restored and serves no one yet. */
function willing(to: Site, from: Site): ApplyResult[] {
  let results: ApplyResult[] = [];
  const code = refusal(() => (results = to.pull(from)));
  if (code !== "nothing was refused" && code !== "RESTORED") throw code;
  return results;
}

/** The code of the SyncError that `work` throws; the error itself when it is another one. */
export function refusal(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return (error as { code?: unknown }).code ?? error;
  }
  return "nothing was refused";
}

import type { Database } from "better-sqlite3";
import { baseTable, type ScopeSource } from "./copy.ts";
import { runPass } from "./pass.ts";

/** What `Replica.carryScope` did. */
export interface ScopeCarried {
  /** False where the application's database has to be drained first: drain it and come again. */
  complete: boolean;
  /** Rows written, in both directions, and changes that were not taken and are kept for a person. */
  toMain: number;
  toCopy: number;
  kept: number;
  /** Why nothing is carried before a person has done something; empty when that is not so. */
  problem: string;
}

/** Each turn gives integers to the rows that clashed: more are a database that changes all the time. */
const MOST_TURNS = 20;

/** What carrying needs of the copy's replica. */
export interface CopyReplica {
  source: ScopeSource;
  path: string;
  nowUs: number;
  drain(): void;
  renumber(table: string, id: bigint): void;
  /** As in `PassRequest`. */
  beforeCommit?: (() => void) | undefined;
  /** Runs in one write transaction of the replica. */
  write(work: (db: Database) => void): void;
}

/** Brings a scope's copy and the application's database in line, as far as both are drained. */
export function carryScope(copy: CopyReplica, hold: boolean): ScopeCarried {
  const none = { toMain: 0, toCopy: 0, kept: 0, problem: "" };
  let keptBefore = 0;
  for (let turn = 0; turn < MOST_TURNS; turn++) {
    copy.drain();
    const outcome = runPass({ source: copy.source, copy: copy.path, nowUs: copy.nowUs, hold, beforeCommit: copy.beforeCommit });
    if (outcome.kind === "held") return { ...none, kept: keptBefore, complete: true, problem: outcome.why };
    if (outcome.kind === "behind" && outcome.side === "main") return { ...none, kept: keptBefore, complete: false };
    if (outcome.kind === "mended") {
      keptBefore += outcome.kept;
      copy.drain();
      noteBirths(copy);
    }
    if (outcome.kind === "clash") for (const { table, id } of outcome.rows) copy.renumber(table, id);
    if (outcome.kind !== "done") continue;
    copy.drain();
    noteBirths(copy);
    const { toMain, toCopy, kept } = outcome;
    return { complete: true, toMain, toCopy, kept: keptBefore + kept, problem: "" };
  }
  return { ...none, kept: keptBefore, complete: false };
}

/** The births of rows that were just put into the copy: before anything else comes there. */
function noteBirths(copy: CopyReplica): void {
  copy.write((db) => {
    for (const { n, tid } of numbered(db)) {
      const born = (column: string) => `(SELECT r.${column} FROM _scoutsync_rows_${tid} AS r WHERE r.id = ${baseTable(n)}.c0)`;
      db.exec(`UPDATE ${baseTable(n)} SET p_oid = ${born("oid")}, p_seq = ${born("sequence")} WHERE gone = 0 AND p_seq IS NULL`);
    }
  });
}

/** Tables with integer keys, by their numbers in the copy and in its catalogue. */
function numbered(db: Database): { n: number; tid: number }[] {
  const sql =
    "SELECT s.n, t.tid FROM _scoutsync_scope_table AS s JOIN _scoutsync_table AS t LEFT JOIN _scoutsync_kind AS k ON k.tid = t.tid " +
    "WHERE coalesce(k.name, t.name) = s.name AND coalesce(k.kind, t.surrogate) = 1";
  return db.prepare(sql).all() as { n: number; tid: number }[];
}

import Database from "better-sqlite3";
import { type AppTrigger, onlyWith, type RestingTrigger } from "./app-triggers.ts";
import { readMeta, writeMeta } from "./install.ts";
import { quote } from "./quote.ts";
import { stepsOf, type TriggerStep } from "./trigger-steps.ts";
import { pauseLooking, writing } from "../write-lock.ts";

/** True for the error of a write whose trigger finds that an index does not hold what its table did. */
export function isOfIndex(error: unknown): boolean {
  const { code, cause } = error as { code?: string; cause?: { code?: string } };
  return code === "SQLITE_CORRUPT_VTAB" || cause?.code === "SQLITE_CORRUPT_VTAB";
}

/** What can be done where an index has fallen behind; each false where it is of no use. */
export interface Mends {
  /** Puts into indexes what they lack. */
  fill: () => boolean;
  /** Entries can be left, as `leavingEntries` has it. */
  leave: () => boolean;
  /** Builds indexes anew. */
  rebuild: () => boolean;
}

/** Runs again what failed for an index with `error`; what holds the lock longest comes last. `leaving`: with entries left. */
export function runMending<T>(error: unknown, { fill, leave, rebuild }: Mends, run: (leaving: boolean) => T): T {
  const tries: [mend: () => boolean, leaving: boolean][] = [
    [fill, false],
    [leave, true],
    [rebuild, false],
  ];
  for (const [mend, leaving] of tries) {
    try {
      if (mend()) return run(leaving);
    } catch (again) {
      // Also of one that is broken: it takes nothing more, and is built anew.
      if (!isOfIndex(again)) throw again;
    }
  }
  throw error;
}

/** Pieces in which an index is filled, milliseconds, and the time between two. */
const PIECE_MS = 200;
const BETWEEN_PIECES_MS = 25;

/** Runs `work` with what mends the indexes of the database at `path`, in transactions of their own. */
export function withIndexes<T>(path: string, work: (mends: Mends) => T): T {
  const db = new Database(path, { fileMustExist: true, timeout: 5_000 });
  try {
    return work({
      fill: () => {
        const lacking = lackedByIndexes(db);
        const piece = () => fillIndexes(db, lacking, performance.now() + PIECE_MS);
        while (lacking.length > 0 && !writing(db, piece)) pauseLooking(BETWEEN_PIECES_MS, () => {});
        return lacking.length > 0;
      },
      leave: () => leavingEntries(db, []) !== null,
      rebuild: () => writing(db, () => rebuildIndexes(db)),
    });
  } finally {
    db.close();
  }
}

/** Rows that an index lacks, by rowid; taken off as they are put into it. */
export interface Lacking {
  index: string;
  rowids: bigint[];
}

/** What full-text indexes of whole tables lack of these. Reads only. */
export function lackedByIndexes(db: Database.Database): Lacking[] {
  return textIndexes(db).flatMap(({ name, holdsAll, hasOwn }) => {
    if (!holdsAll || hasOwn) return [];
    const sql = `SELECT rowid FROM main.${quote(name)} WHERE rowid NOT IN (SELECT id FROM main.${quote(`${name}_docsize`)})`;
    const rowids = ask(() => db.prepare(sql).safeIntegers(true).pluck().all() as bigint[]);
    return rowids === null || rowids.length === 0 ? [] : [{ index: name, rowids }];
  });
}

/** Puts such rows into their indexes, up to `until` (milliseconds of performance.now). True when all are there. Inside a write transaction. */
export function fillIndexes(db: Database.Database, lacking: readonly Lacking[], until: number): boolean {
  for (const { index, rowids } of lacking) {
    const name = quote(index);
    const columns = db.prepare("SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0").pluck().all(index) as string[];
    const list = ["rowid", ...columns.map(quote)].join(", ");
    const isThere = `SELECT 1 FROM main.${quote(`${index}_docsize`)} WHERE id = @rowid`;
    // An application may have put it there meanwhile.
    const put = db.prepare(
      `INSERT INTO main.${name}(${list}) SELECT ${list} FROM main.${name} WHERE rowid = @rowid AND NOT EXISTS (${isThere})`,
    );
    for (let rowid = rowids.pop(); rowid !== undefined; rowid = rowids.pop()) {
      put.run({ rowid });
      if (performance.now() > until) return false;
    }
  }
  return true;
}

/** Builds full-text indexes of whole tables anew that are not what those hold, and broken ones. False where that was none. Inside a write transaction. */
export function rebuildIndexes(db: Database.Database): boolean {
  let count = 0;
  for (const { name, holdsAll, hasOwn } of textIndexes(db)) {
    if (!holdsAll && !hasOwn) continue;
    const index = quote(name);
    if (tell(db, `INSERT INTO ${index}(${index}, rank) VALUES('integrity-check', 1)`)) continue;
    if (tell(db, `INSERT INTO ${index}(${index}) VALUES('rebuild')`)) count++;
  }
  return count > 0;
}

/**
 * `resting`, and with it triggers that take former entries out of full-text indexes which only their application can build: those
 * without content, and those of a part of their table. Null where no trigger does. Meanwhile they do everything else.
 */
export function leavingEntries(db: Database.Database, resting: readonly RestingTrigger[]): RestingTrigger[] | null {
  const open = new Set(textIndexes(db).flatMap(({ name, holdsAll, hasOwn }) => (holdsAll || hasOwn ? [] : [name.toLowerCase()])));
  const takesOut = (step: TriggerStep) => step.writes !== null && open.has(step.writes) && !isEntry(step);
  const more = new Map(resting.map((trigger) => [trigger.name, trigger]));
  let isAny = false;
  for (const { name, sql } of applicationTriggers(db)) {
    const running = more.has(name) ? (more.get(name)?.meanwhile ?? null) : sql;
    if (running === null) continue;
    if (!stepsOf(running).steps.some(takesOut)) continue;
    isAny = true;
    more.set(name, { type: "trigger", name, sql, meanwhile: onlyWith({ sql: running }, (step) => !takesOut(step)) });
  }
  return isAny ? [...more.values()] : null;
}

const LEFT = "entries of indexes left";

/** Notes that this is done now, for `doctor`. */
export function noteLeaving(db: Database.Database): void {
  writeMeta(db, LEFT, new Date().toISOString());
}

/** When that was last done, as a day; null for never. */
export const lastLeaving = (db: Database.Database): string | null => readMeta(db, LEFT)?.slice(0, 10) ?? null;

interface TextIndex {
  name: string;
  /** A trigger puts each new row of a table into it as it is, so that it holds what it is built of. */
  holdsAll: boolean;
  /** It keeps what it holds itself. */
  hasOwn: boolean;
}

function textIndexes(db: Database.Database): TextIndex[] {
  const found = db
    .prepare("SELECT name, sql FROM main.sqlite_master WHERE type = 'table' AND sql LIKE 'CREATE VIRTUAL%USING%FTS5%'")
    .all() as { name: string; sql: string }[];
  const triggers = applicationTriggers(db).map(({ sql }) => stepsOf(sql));
  return found.map(({ name, sql }) => ({
    name,
    hasOwn: !/\bcontent\s*=/i.test(sql),
    holdsAll: !/\bcontent\s*=\s*(''|"")/i.test(sql) && isGivenAll(triggers, name.toLowerCase()),
  }));
}

/** True where each new row goes into the index, and no edit takes one out for good: built anew it would hold what its application keeps out. */
function isGivenAll(triggers: readonly ReturnType<typeof stepsOf>[], index: string): boolean {
  const on = (event: RegExp) =>
    triggers.flatMap(({ head, steps }) => {
      const its = steps.filter(({ writes }) => writes === index);
      return event.test(head) && its.length > 0 ? [{ when: head.slice(head.search(event)).replaceAll(/\s+/g, " "), its }] : [];
    });
  const inserts = on(/\bINSERT\s+ON\b/i);
  const updates = on(/\bUPDATE\s+(OF|ON)\b/i);
  const isPutBack = (when: string) => updates.some((other) => other.when === when && other.its.some(isOfNewRow));
  return (
    inserts.length > 0 &&
    // What comes through a view has been chosen before.
    !triggers.some(({ head, steps }) => /\bINSTEAD\s+OF\b/i.test(head) && steps.some(({ writes }) => writes === index)) &&
    inserts.every(({ when, its }) => !/\bWHEN\b/i.test(when) && its.every(isOfNewRow)) &&
    updates.every(({ when, its }) => its.every(isEntry) || isPutBack(when))
  );
}

const applicationTriggers = (db: Database.Database) =>
  db
    .prepare("SELECT name, sql FROM main.sqlite_master WHERE type = 'trigger' AND name NOT LIKE '\\_scoutsync\\_%' ESCAPE '\\'")
    .all() as AppTrigger[];

/** True for a statement that puts a row's own columns into an index, in whatever trigger it is: any other may choose rows, or change what they hold. */
const isOfNewRow = ({ sql }: TriggerStep): boolean => /\bVALUES\s*\(\s*NEW\s*\.[^(),]+(,\s*NEW\s*\.[^(),]+)*\)\s*$/i.test(sql);

/** True for a statement that puts an entry into an index, rather than telling it to take one out: that names the index as a column. */
function isEntry({ sql, writes }: TriggerStep): boolean {
  if (!/^(INSERT|REPLACE)\b/i.test(sql)) return false;
  const [, list = ""] = /^[^(]*\(([^)]*)\)/.exec(sql) ?? [];
  return !list.split(",").some(
    (name) =>
      name
        .trim()
        .replace(/^["'`[]|["'`\]]$/g, "")
        .toLowerCase() === writes,
  );
}

/** False where the index refuses. */
function tell(db: Database.Database, sql: string): boolean {
  return ask(() => db.exec(sql)) !== null;
}

function ask<T>(question: () => T): T | null {
  try {
    return question();
  } catch {
    return null;
  }
}

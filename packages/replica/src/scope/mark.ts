import type { Database } from "better-sqlite3";

/** What the two files say of each other. */
export interface Mark {
  id: string;
  pass: number;
  /** The database's half of a pass is committed and the copy's was lost: `taken.ts` says what the copy does not know. */
  unfinished: boolean;
}

interface Stored {
  id: string;
  pass: number;
}

const OTHER_COPY = "the scope's copy is not the one that this database was used with; put that file back from where it is";
const MAIN_RESTORED =
  "the database knows less than it did: it was restored from a backup, and what it lost would be deleted from the scope's nodes. It goes on once others have given it back";
const COPY_RESTORED = "the scope's copy is older than the database: it was restored from a backup";

const keyOf = (scope: string) => `scope ${scope}`;

/** What stands in the way, or how far the two are. */
export function checkMark(db: Database, scope: string): Mark | string {
  const fact = db.prepare("SELECT value FROM copy._scoutsync_scope WHERE key = ?").pluck();
  const [id, pass] = [fact.get("id") as string, Number(fact.get("pass"))];
  const text = db.prepare("SELECT value FROM main._scoutsync_meta WHERE key = ?").pluck().get(keyOf(scope)) as string | undefined;
  if (text === undefined) return fact.get("vector") === undefined ? { id, pass, unfinished: false } : MAIN_RESTORED;
  const stored = JSON.parse(text) as Stored;
  if (stored.id !== id) return OTHER_COPY;
  if (stored.pass < pass || knowsLess(db, (fact.get("vector") as string | undefined) ?? "[]")) return MAIN_RESTORED;
  if (stored.pass > pass + 1) return COPY_RESTORED;
  return { id, pass, unfinished: stored.pass === pass + 1 };
}

/** Says in both files that a pass was made; where the database was not written, only in the copy. */
export function noteMark(db: Database, scope: string, { id, pass }: Mark, wroteMain: boolean): void {
  const known = db.prepare("SELECT 1 FROM main._scoutsync_meta WHERE key = ?").get(keyOf(scope)) !== undefined;
  const next = wroteMain ? pass + 1 : pass;
  if (wroteMain || !known) {
    const stored: Stored = { id, pass: next };
    db.prepare("INSERT INTO main._scoutsync_meta(key, value) VALUES(?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value").run(
      keyOf(scope),
      JSON.stringify(stored),
    );
  }
  const vector = db.prepare("SELECT oid, sequence FROM main._scoutsync_vector").raw(true).all();
  const set = db.prepare("INSERT INTO copy._scoutsync_scope VALUES(?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value");
  const [text, before] = [JSON.stringify(vector), db.prepare("SELECT value FROM copy._scoutsync_scope WHERE key = 'vector'").pluck().get()];
  if (text !== before) set.run("vector", text);
  if (next !== pass) set.run("pass", next);
}

/** The half pass counts from now on. */
export function noteHalf(db: Database, { pass }: Mark): void {
  db.prepare("UPDATE copy._scoutsync_scope SET value = ? WHERE key = 'pass'").run(pass + 1);
}

function knowsLess(db: Database, text: string): boolean {
  const now = new Map(db.prepare("SELECT oid, sequence FROM main._scoutsync_vector").raw(true).all() as [number, number][]);
  return (JSON.parse(text) as [number, number][]).some(([oid, sequence]) => (now.get(oid) ?? 0) < sequence);
}

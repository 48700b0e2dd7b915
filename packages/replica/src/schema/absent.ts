import type { Database } from "better-sqlite3";
import { keyOfKind, LWW } from "@scoutsync/core";
import { type Absence, columnNames, numberOf, type Table } from "./catalog.ts";

/**
 * A table that others have and this database lacks, as far as their changes tell: its kind of key, and the names of its
 * columns, all of which it lacks. `kind` as `keyKind` of the wire gives it.
 */
function absentTable(db: Database, tid: number, name: string, kind: number, absent: Absence): Table {
  const { surrogate, keyless = false, keyParts } = keyOfKind(kind);
  const key = Array.from({ length: surrogate ? 1 : keyParts }, (_, i) => ({
    cid: 0,
    name: `key ${i + 1}`,
    affinity: "BLOB" as const,
    collation: "BINARY",
    references: null,
    rule: LWW,
    fallback: null,
  }));
  return {
    tid,
    name,
    source: name,
    where: null,
    nullable: [],
    twin: null,
    surrogate,
    keyless,
    key,
    columns: [],
    uniques: [],
    withoutRowid: false,
    rowid: null,
    utf8: false,
    references: [],
    linked: [],
    dependsOn: [],
    dependants: [],
    emptied: [],
    empties: [],
    keyReferences: [],
    referencedBy: [],
    isSpelled: false,
    indexOf: new Map(),
    lacking: columnNames(db, tid),
    absent,
  };
}

/** Every catalogued table that does not take part here: dropped, excluded, never had. */
export function absentTables(db: Database, present: readonly Table[]): Table[] {
  const here = new Set(present.map((table) => table.tid));
  const catalog = db
    .prepare(
      "SELECT t.tid, coalesce(k.name, t.name) AS name, coalesce(k.kind, t.surrogate) AS kind FROM _scoutsync_table AS t LEFT JOIN _scoutsync_kind AS k ON k.tid = t.tid",
    )
    .all() as { tid: number; name: string; kind: number }[];
  return catalog
    .filter(({ tid }) => !here.has(tid))
    .map(({ tid, name, kind }) => absentTable(db, tid, name, kind, whyAbsent(db, present, name)));
}

/** Catalogues a table that changes of others name and this database lacks. Inside the caller's transaction. */
export function addAbsentTable(db: Database, present: readonly Table[], name: string, kind: number, nowUs: number): Table {
  const table = absentTable(db, numberOf(db, name, kind), name, kind, whyAbsent(db, present, name));
  noteLack(db, table.tid, 0, nowUs);
  return table;
}

/** The number of a column that changes of others name and this table lacks. Inside the caller's transaction. */
export function lackedColumn(db: Database, table: Table, name: string, nowUs: number): number {
  for (const [cid, known] of table.lacking) if (known === name) return cid;
  db.prepare("INSERT INTO _scoutsync_column(tid, name) VALUES(?, ?) ON CONFLICT DO NOTHING").run(table.tid, name);
  const cid = db.prepare("SELECT cid FROM _scoutsync_column WHERE tid = ? AND name = ?").pluck().get(table.tid, name) as number;
  table.lacking.set(cid, name);
  if (table.absent === null) noteLack(db, table.tid, cid, nowUs);
  return cid;
}

/** Brings what is noted as lacking in line with the schema as it is now. */
export function noteLacking(db: Database, present: readonly Table[], absent: readonly Table[], nowUs: number): void {
  const now = new Set([
    ...absent.map(({ tid }) => `${tid}:0`),
    ...present.flatMap(({ tid, lacking }) => [...lacking.keys()].map((cid) => `${tid}:${cid}`)),
  ]);
  const noted = db.prepare("SELECT tid, cid FROM _scoutsync_lacking").raw(true).all() as [number, number][];
  const remove = db.prepare("DELETE FROM _scoutsync_lacking WHERE tid = ? AND cid = ?");
  for (const [tid, cid] of noted) if (!now.delete(`${tid}:${cid}`)) remove.run(tid, cid);
  for (const entry of now) {
    const [tid = 0, cid = 0] = entry.split(":").map(Number);
    noteLack(db, tid, cid, nowUs);
  }
}

function noteLack(db: Database, tid: number, cid: number, nowUs: number): void {
  db.prepare("INSERT INTO _scoutsync_lacking(tid, cid, since) VALUES(?, ?, ?) ON CONFLICT DO NOTHING").run(tid, cid, nowUs);
}

function whyAbsent(db: Database, present: readonly Table[], name: string): Absence {
  const fold = (text: string) => text.toLowerCase();
  if (present.some((table) => fold(table.name) === fold(name))) return "key";
  const exists = db.prepare("SELECT 1 FROM main.sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE").get(name);
  return exists === undefined ? "missing" : "excluded";
}

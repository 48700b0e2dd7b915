import type { Random } from "@scoutsync/testkit";
import type { Database } from "better-sqlite3";
import type { FleetOptions } from "./options.ts";
import type { ModelColumn, ModelTable } from "./schema.ts";

/** A release of the application: what it does to the file, and which tables there are afterwards. */
export interface Migration {
  text: string;
  tables: ModelTable[];
  /** A table of whose rows nobody can tell afterwards which columns were written meanwhile: all of them count as written. */
  unclear: string | null;
  /** A table that was dropped before and is back. */
  returned?: string;
  run: (db: Database) => void;
}

/** How frameworks make a table anew, with all its rows. */
const REBUILDS = ["new beside old", "old set aside", "dropped and loaded again"] as const;

/** The releases of a history, in their order. Every node gets all of them, each in its own time. */
export function drawMigrations(random: Random, tables: readonly ModelTable[], options: FleetOptions): Migration[] {
  if (!options.migrations) return [];
  const migrations: Migration[] = [];
  let now = [...tables];
  const known = new Map<string, ModelTable>();
  const count = 1 + random.below(4);
  for (let i = 0; i < count; i++) {
    for (const table of now) if (!known.has(table.name)) known.set(table.name, table);
    const back = options.returns ? drawReturn(random, now, [...known.values()]) : null;
    const migration = back ?? ((options.drops && drawDrop(random, now)) || drawMigration(random, now, i));
    migrations.push(migration);
    now = migration.tables;
  }
  return migrations;
}

function drawMigration(random: Random, tables: readonly ModelTable[], number: number): Migration {
  const choice = random.below(100);
  const owned = tables.filter(({ derived }) => !derived);
  const table = random.pick(owned);
  const dropped = owned.flatMap((one) => one.columns.filter((column) => isLoose(tables, one, column)).map((column) => ({ one, column })));
  if (choice < 20 && dropped.length > 0) return dropColumn(tables, random.pick(dropped));
  if (choice < 35) return createTable(random, tables, number);
  if (choice < 65) return rebuild(tables, table, random.pick(REBUILDS));
  return addColumn(random, tables, table, number);
}

/** A table that nothing refers to goes, with all its rows: a decision of the application, that each node carries out in its own time. */
function drawDrop(random: Random, tables: readonly ModelTable[]): Migration | null {
  const free = tables.filter(
    ({ name, derived }) => !derived && tables.every((other) => other.references.every(({ parent }) => parent !== name)),
  );
  if (free.length === 0 || tables.length < 3 || random.below(2) === 0) return null;
  const { name } = random.pick(free);
  const text = `DROP TABLE ${name}`;
  return { text, tables: tables.filter((table) => table.name !== name), unclear: null, run: (db) => void db.exec(text) };
}

/** A table that was dropped is made again, as it was at first and without rows. */
function drawReturn(random: Random, tables: readonly ModelTable[], known: readonly ModelTable[]): Migration | null {
  const has = (name: string) => tables.some((table) => table.name === name);
  const gone = known.filter(({ name, references }) => !has(name) && references.every(({ parent }) => has(parent)));
  if (gone.length === 0 || random.below(3) === 0) return null;
  const table = random.pick(gone);
  const run = (db: Database) => table.sql.forEach((sql) => db.exec(sql));
  return { text: `${table.name} is back`, tables: [...tables, table], unclear: table.name, returned: table.name, run };
}

/** True for a column that nothing else in the schema names. */
function isLoose(tables: readonly ModelTable[], table: ModelTable, { name, kind }: ModelColumn): boolean {
  if (kind !== "free" || table.columns.filter((column) => column.kind === "free").length < 2) return false;
  const named = new RegExp(`\\b${name}\\b`);
  return tables.every(({ sql }) => sql.slice(1).every((text) => !named.test(text)));
}

function addColumn(random: Random, tables: readonly ModelTable[], table: ModelTable, number: number): Migration {
  const column: ModelColumn = { name: `z${number}`, kind: "free", type: random.pick(["TEXT", "INTEGER", "BLOB", ""]), nullable: true };
  const text = `ALTER TABLE ${table.name} ADD COLUMN ${column.name} ${column.type}`.trim();
  const changed = tables.map((one) => (one.name === table.name ? { ...one, columns: [...one.columns, column] } : one));
  return { text, tables: changed, unclear: null, run: (db) => void db.exec(text) };
}

function dropColumn(tables: readonly ModelTable[], { one, column }: { one: ModelTable; column: ModelColumn }): Migration {
  const text = `ALTER TABLE ${one.name} DROP COLUMN ${column.name}`;
  const left = { ...one, columns: one.columns.filter(({ name }) => name !== column.name) };
  const changed = tables.map((table) => (table.name === one.name ? left : table));
  return { text, tables: changed, unclear: one.name, run: (db) => void db.exec(text) };
}

function createTable(random: Random, tables: readonly ModelTable[], number: number): Migration {
  const parents = tables.filter(({ key }) => key.kind === "surrogate");
  const parent = parents.length > 0 && random.below(2) === 0 ? random.pick(parents) : null;
  const name = `n${number}`;
  const free = (column: string): ModelColumn => ({ name: column, kind: "free", type: "TEXT", nullable: true });
  const reference: ModelColumn = { name: "r", kind: "reference", type: "INTEGER", nullable: true };
  const actions = "ON DELETE CASCADE ON UPDATE CASCADE";
  const text = `CREATE TABLE ${name}(id INTEGER PRIMARY KEY, m TEXT NOT NULL, x TEXT, y TEXT${
    parent ? `, r INTEGER REFERENCES ${parent.name}(id) ${actions}` : ""
  })`;
  const table: ModelTable = {
    name,
    key: { kind: "surrogate", columns: [{ name: "id", kind: "part", type: "INTEGER", nullable: false }] },
    columns: [{ name: "m", kind: "marker", type: "TEXT", nullable: false }, free("x"), free("y"), ...(parent ? [reference] : [])],
    references: parent ? [{ columns: ["r"], parent: parent.name, parentColumns: ["id"], actions }] : [],
    uniques: [],
    derived: false,
    sql: [text],
  };
  return { text, tables: [...tables, table], unclear: null, run: (db) => void db.exec(text) };
}

function rebuild(tables: readonly ModelTable[], { name }: ModelTable, how: (typeof REBUILDS)[number]): Migration {
  return {
    text: `${name} is made anew: ${how}`,
    tables: [...tables],
    unclear: name,
    run: (db) => {
      const { sql } = db.prepare("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?").get(name) as { sql: string };
      const rest = db
        .prepare(
          "SELECT sql FROM sqlite_schema WHERE tbl_name = ? AND type IN ('index', 'trigger') AND sql IS NOT NULL AND name NOT LIKE '\\_scoutsync%' ESCAPE '\\'",
        )
        .pluck()
        .all(name) as string[];
      const columns = (db.pragma(`table_xinfo(${name})`) as { name: string; hidden: number }[])
        .filter(({ hidden }) => hidden === 0)
        .map((column) => column.name)
        .join(", ");
      const create = (as: string) => sql.replace(new RegExp(`^CREATE TABLE "?${name}"?`), `CREATE TABLE ${as}`);
      const copy = (from: string, to: string) => `INSERT INTO ${to}(${columns}) SELECT ${columns} FROM ${from}`;
      const steps = {
        "new beside old": [
          create(`${name}_new`),
          copy(name, `${name}_new`),
          `DROP TABLE ${name}`,
          `ALTER TABLE ${name}_new RENAME TO ${name}`,
        ],
        "old set aside": [`ALTER TABLE ${name} RENAME TO ${name}_old`, create(name), copy(`${name}_old`, name), `DROP TABLE ${name}_old`],
        "dropped and loaded again": [
          `CREATE TEMP TABLE dump AS SELECT ${columns} FROM ${name}`,
          `DROP TABLE ${name}`,
          create(name),
          copy("dump", name),
          "DROP TABLE dump",
        ],
      }[how];
      // Triggers of the application and of ours go with the table; its own come back.
      for (const step of [...steps, ...rest]) if (!rest.includes(step) || !isThere(db, step)) db.exec(step);
    },
  };
}

/** True where an index or trigger stayed with a table that was renamed. */
function isThere(db: Database, sql: string): boolean {
  const [, name = ""] = /^CREATE (?:UNIQUE )?(?:INDEX|TRIGGER) (\w+)/.exec(sql) ?? [];
  return db.prepare("SELECT 1 FROM sqlite_schema WHERE name = ?").get(name) !== undefined;
}

/** Runs one release on a node's file as frameworks do: foreign keys off, one transaction. The file says which release it has. */
export function migrate(db: Database, { run }: Migration, level: number): void {
  db.exec("PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON");
  try {
    db.transaction(() => {
      run(db);
      db.pragma(`user_version = ${level}`);
    })();
  } finally {
    db.exec("PRAGMA foreign_keys = ON; PRAGMA legacy_alter_table = OFF");
  }
}

export const levelOf = (db: Database): number => db.pragma("user_version", { simple: true }) as number;

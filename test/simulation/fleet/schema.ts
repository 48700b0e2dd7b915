import type { Random } from "@scoutsync/testkit";
import type { FleetOptions } from "./options.ts";

/** How values of a column are made up. */
export type Kind =
  /** Unique in the whole history and never written twice: what the ledger follows. */
  | "free"
  /** Names its row where the key does not; never changed. */
  | "marker"
  /** From a few values, so that rows clash. */
  | "pooled"
  /** Small integers under a CHECK that spans columns. */
  | "number"
  | "reference"
  | "part";

export interface ModelColumn {
  name: string;
  kind: Kind;
  /** Declared type. */
  type: string;
  nullable: boolean;
}

export interface ModelReference {
  columns: string[];
  parent: string;
  parentColumns: string[];
  actions: string;
}

export interface ModelTable {
  name: string;
  /** "none": no primary key; its rows are known by their markers. */
  key: { kind: "surrogate" | "text" | "composite" | "uuid" | "link" | "none"; columns: ModelColumn[] };
  columns: ModelColumn[];
  references: ModelReference[];
  /** Columns of UNIQUE constraints and indexes. */
  uniques: string[][];
  /** Filled by a trigger only. */
  derived: boolean;
  sql: string[];
}

const FREE_TYPES = ["TEXT", "TEXT", "INTEGER", "REAL", "BLOB", ""];

/** Tables drawn from building blocks; those that others refer to come first. */
export function drawSchema(random: Random, options: FleetOptions): ModelTable[] {
  const tables: ModelTable[] = [];
  const count = 2 + random.below(4);
  for (let i = 0; i < count; i++) tables.push(drawTable(random, `t${i}`, tables, options));
  const watched = random.pick(tables);
  if (random.below(3) === 0) tables.push(logbookOf(watched));
  if (options.keyless) tables.push(drawKeyless(random, tables));
  const kept = options.tables.length > 0 ? tables.filter(({ name }) => options.tables.includes(name)) : tables;
  const names = new Set(kept.map(({ name }) => name));
  return kept.filter((table) => table.references.every(({ parent }) => names.has(parent)));
}

function drawTable(random: Random, name: string, before: readonly ModelTable[], options: FleetOptions): ModelTable {
  const chance = (percent: number) => random.below(100) < percent;
  const parents = before.filter(({ key }) => key.kind === "surrogate");
  const kinds = ["surrogate", "surrogate", "surrogate", "surrogate", "text", "composite", "uuid"] as ModelTable["key"]["kind"][];
  if (parents.length > 0) kinds.push("link");
  const kind = before.length === 0 ? "surrogate" : random.pick(kinds);
  const part = (column: string, type: string): ModelColumn => ({ name: column, kind: "part", type, nullable: false });
  const references: ModelReference[] = [];
  const key: ModelTable["key"] = { kind, columns: [] };
  if (kind === "surrogate") key.columns = [part("id", "INTEGER")];
  else if (kind === "text") key.columns = [part("k", "TEXT")];
  else if (kind === "composite") key.columns = [part("a", "TEXT"), part("b", "INTEGER")];
  else if (kind === "uuid") key.columns = [part("k", chance(50) ? "BLOB" : "TEXT")];
  else {
    key.columns = [{ name: "p", kind: "reference", type: "INTEGER", nullable: false }, part("k", "TEXT")];
    references.push({
      columns: ["p"],
      parent: random.pick(parents).name,
      parentColumns: ["id"],
      actions: "ON DELETE CASCADE ON UPDATE CASCADE",
    });
  }
  const columns: ModelColumn[] = [
    { name: "m", kind: "marker", type: "TEXT", nullable: false },
    { name: "x", kind: "free", type: random.pick(FREE_TYPES), nullable: chance(70) },
    { name: "y", kind: "free", type: random.pick(FREE_TYPES), nullable: true },
  ];
  const constraints: string[] = [];
  const indexes: string[] = [];
  const uniques: string[][] = [];
  if (kind !== "link" && (parents.length > 0 || (kind === "surrogate" && options.selfReferences)) && chance(60)) {
    const own = kind === "surrogate" && options.selfReferences && (parents.length === 0 || chance(25));
    const parent = own ? name : random.pick(parents).name;
    const nullable = own || chance(60);
    const onDelete = random.pick(["CASCADE", "CASCADE", ...(nullable ? ["SET NULL"] : []), "RESTRICT", "NO ACTION"]);
    const onUpdate = random.pick(["CASCADE", "NO ACTION"]);
    columns.push({ name: "r", kind: "reference", type: "INTEGER", nullable });
    references.push({ columns: ["r"], parent, parentColumns: ["id"], actions: `ON DELETE ${onDelete} ON UPDATE ${onUpdate}` });
  }
  const natural = before.filter((table) => table.key.kind === "text" || table.key.kind === "composite");
  if (options.naturalParents && natural.length > 0 && chance(50)) {
    const parent = random.pick(natural);
    const own = parent.key.columns.map((column, i) => ({ ...column, name: `n${i}`, kind: "reference" as const, nullable: true }));
    columns.push(...own);
    references.push({
      columns: own.map((column) => column.name),
      parent: parent.name,
      parentColumns: parent.key.columns.map((column) => column.name),
      actions: "ON DELETE CASCADE ON UPDATE CASCADE",
    });
  }
  if (chance(35)) {
    columns.push({ name: "u", kind: "pooled", type: "TEXT", nullable: true });
    const shape = random.below(3);
    if (shape === 0) {
      constraints.push("UNIQUE(u)");
      uniques.push(["u"]);
    } else if (shape === 1) {
      columns.push({ name: "w", kind: "pooled", type: "TEXT", nullable: true });
      constraints.push("UNIQUE(u, w)");
      uniques.push(["u", "w"]);
    } else indexes.push(`CREATE UNIQUE INDEX ${name}_u ON ${name}(u) WHERE u <> 'u0.'`);
  }
  if (chance(20)) {
    const number = (column: string): ModelColumn => ({ name: column, kind: "number", type: "INTEGER", nullable: false });
    columns.push(number("f"), number("g"));
    constraints.push("CHECK(f + g <= 10)");
  }
  const declared = [...(kind === "link" ? key.columns : key.columns), ...columns].map((column) => {
    if (kind === "surrogate" && column.name === "id") return `id INTEGER PRIMARY KEY${chance(30) ? " AUTOINCREMENT" : ""}`;
    return `${column.name} ${column.type}${column.nullable ? "" : " NOT NULL"}`.trim();
  });
  const generated = chance(20) ? [`v TEXT GENERATED ALWAYS AS (m || '!') ${chance(50) ? "STORED" : "VIRTUAL"}`] : [];
  const primary = kind === "surrogate" ? [] : [`PRIMARY KEY(${key.columns.map((column) => column.name).join(", ")})`];
  const foreign = references.map(
    ({ columns: from, parent, parentColumns, actions }) =>
      `FOREIGN KEY(${from.join(", ")}) REFERENCES ${parent}(${parentColumns.join(", ")}) ${actions}`,
  );
  const without = kind !== "surrogate" && chance(40) ? " WITHOUT ROWID" : "";
  const sql = [
    `CREATE TABLE ${name}(${[...declared, ...generated, ...primary, ...constraints, ...foreign].join(", ")})${without}`,
    ...indexes,
  ];
  if (references.length > 0 && chance(50)) sql.push(`CREATE INDEX ${name}_ref ON ${name}(${references[0]?.columns.join(", ")})`);
  const up = references.find(
    ({ parent, columns: [from] }) => parent !== name && before.some((t) => t.name === parent) && from !== undefined,
  );
  const touched = up && before.find((table) => table.name === up.parent && table.key.kind === "surrogate");
  if (touched && touched.columns.some((column) => column.name === "y" && column.type === "TEXT") && chance(25)) {
    sql.push(
      `CREATE TRIGGER ${name}_touch AFTER INSERT ON ${name} BEGIN UPDATE ${touched.name} SET y = replace(NEW.m, 'm', 'touched by ') || hex(NEW.x) WHERE id = NEW.${up.columns[0]}; END`,
    );
  }
  if (chance(10)) {
    sql.push(
      `CREATE TRIGGER ${name}_refuse BEFORE DELETE ON ${name} WHEN OLD.m LIKE '%7.' BEGIN SELECT RAISE(ABORT, 'kept by a trigger'); END`,
    );
  }
  return { name, key, columns, references, uniques, derived: false, sql };
}

/** True where the marker is the row's name: nothing else tells it from others on every node. */
export const isMarked = ({ key }: ModelTable): boolean => key.kind === "surrogate" || key.kind === "none";

/** A table without a primary key. */
function drawKeyless(random: Random, before: readonly ModelTable[]): ModelTable {
  const chance = (percent: number) => random.below(100) < percent;
  const parents = before.filter(({ key }) => key.kind === "surrogate");
  const columns: ModelColumn[] = [
    { name: "m", kind: "marker", type: "TEXT", nullable: false },
    { name: "x", kind: "free", type: random.pick(FREE_TYPES), nullable: chance(70) },
    { name: "y", kind: "free", type: random.pick(FREE_TYPES), nullable: true },
  ];
  const references: ModelReference[] = [];
  if (parents.length > 0 && chance(60)) {
    columns.push({ name: "r", kind: "reference", type: "INTEGER", nullable: true });
    const actions = `ON DELETE ${random.pick(["CASCADE", "SET NULL", "NO ACTION"])} ON UPDATE CASCADE`;
    references.push({ columns: ["r"], parent: random.pick(parents).name, parentColumns: ["id"], actions });
  }
  const isUnique = chance(35);
  if (isUnique) columns.push({ name: "u", kind: "pooled", type: "TEXT", nullable: true });
  const declared = columns.map(({ name, type, nullable }) => `${name} ${type}${nullable ? "" : " NOT NULL"}`.trim());
  const foreign = references.map(
    ({ columns: from, parent, parentColumns, actions }) =>
      `FOREIGN KEY(${from.join(", ")}) REFERENCES ${parent}(${parentColumns.join(", ")}) ${actions}`,
  );
  const constraints = isUnique ? ["UNIQUE(u)"] : [];
  return {
    name: "loose",
    key: { kind: "none", columns: [] },
    columns,
    references,
    uniques: isUnique ? [["u"]] : [],
    derived: false,
    sql: [`CREATE TABLE loose(${[...declared, ...constraints, ...foreign].join(", ")})`],
  };
}

/** A table that only a trigger writes to: its effect must travel once. */
function logbookOf({ name }: ModelTable): ModelTable {
  const free = (column: string): ModelColumn => ({ name: column, kind: "free", type: "TEXT", nullable: true });
  return {
    name: "logbook",
    key: { kind: "surrogate", columns: [{ name: "id", kind: "part", type: "INTEGER", nullable: false }] },
    columns: [{ name: "m", kind: "marker", type: "TEXT", nullable: false }, free("x"), free("y")],
    references: [],
    uniques: [],
    derived: true,
    sql: [
      "CREATE TABLE logbook(id INTEGER PRIMARY KEY, m TEXT NOT NULL, x TEXT, y TEXT)",
      `CREATE TRIGGER logbook_of_${name} AFTER INSERT ON ${name} BEGIN INSERT INTO logbook(m, x) VALUES(replace(NEW.m, 'm', 'seen ') || hex(NEW.x), 'in ' || replace(NEW.m, 'm', '')); END`,
    ],
  };
}

import type { Fault } from "./faults.ts";

const SCOPE_TESTS = "packages/replica/test/scope.test.ts";
const HISTORIES = "packages/replica/test/scope-simulation.test.ts";
const WIRE = "services/sync-node/test/scoped-calls.test.ts";

/** Rules that keep teams on one server apart. */
export const SCOPE_FAULTS: Fault[] = [
  {
    name: "a scope shows every row of its tables",
    edits: [["AS x WHERE ${whole} AND (${own})`);", "AS x WHERE ${whole}`);"]],
    caughtBy: HISTORIES,
  },
  {
    name: "a scope shows every column of its tables",
    edits: [["asked.columns === null ? present : present.filter", "asked.columns !== undefined ? present : present.filter"]],
    caughtBy: SCOPE_TESTS,
  },
  {
    name: "a row that leaves a scope is deleted at the server",
    edits: [
      [
        "      this.takeFromCopy(table, row);\n      this.sides.forget(table, row, true);",
        "      this.takeFromCopy(table, row);\n      this.sides.run(`DELETE FROM main.${quote(table.name)} WHERE ${this.sides.match(table)}`, row);\n      this.sides.forget(table, row, true);",
      ],
    ],
    caughtBy: SCOPE_TESTS,
  },
  {
    name: "a row that leaves a scope stays with its nodes",
    edits: [
      ["      this.takeFromCopy(table, row);\n      this.sides.forget(table, row, true);", "      this.sides.forget(table, row, true);"],
    ],
    caughtBy: SCOPE_TESTS,
  },
  {
    name: "nodes of a scope may give rows to another team",
    edits: [['if (!this.sides.isOwn(table, row, "main")) return "with that it would not belong to the scope";', ""]],
    caughtBy: SCOPE_TESTS,
  },
  {
    name: "nodes of a scope may refer to rows that they may not see",
    edits: [
      ["if (this.sides.has(sql, row)) return `what it refers to by", "if (this.sides.has(sql, row) === null) return `what it refers to by"],
    ],
    caughtBy: SCOPE_TESTS,
  },
  {
    name: "what is not taken from a node of a scope is gone",
    edits: [
      [
        '      this.sides.keep(table, refused, this.sides.at(table, row, "copy"));\n      this.takeFromCopy(table, row);',
        "      this.takeFromCopy(table, row);",
      ],
    ],
    caughtBy: SCOPE_TESTS,
  },
  {
    name: "what a killed pass had put into the database comes there again",
    edits: [["agreeOnTaken(db, this.tables, this.scope);", ""]],
    caughtBy: SCOPE_TESTS,
  },
  {
    name: "what the database took in a killed pass is a conflict when its author goes on",
    edits: [["if (said.get(KIND) === UPDATED) {", "if (said.get(KIND) === UPDATED) return;\n  if (said.get(KIND) === UPDATED) {"]],
    caughtBy: SCOPE_TESTS,
  },
  {
    name: "nodes of a scope meet the whole database",
    edits: [["if (found) return found;\n      // The guard", "if (found) return whole;\n      // The guard"]],
    caughtBy: WIRE,
  },
  {
    name: "nodes of a scope may call whatever nodes may",
    edits: [["if (caller.scope !== null && limited === undefined) {", 'if (caller.scope === "" && limited === undefined) {']],
    caughtBy: WIRE,
  },
  {
    name: "a node syncs with nodes of a scope when it is told to",
    edits: [['if (own.role === "node" && peer.scope !== null &&', 'if (own.role === "node" && peer.scope === "" &&']],
    caughtBy: WIRE,
  },
  {
    name: "a certificate does not say what its holder is limited to",
    edits: [['scope === null ? "" : `/scope/${scope}`', '""']],
    caughtBy: "packages/trust/test/trust.test.ts",
  },
];

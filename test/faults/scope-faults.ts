import type { Fault } from "./fault.ts";

const SCOPE_TESTS = "packages/replica/test/scope.test.ts";
const SCHEMAS = "packages/replica/test/scope-schemas.test.ts";
const HOME = "packages/replica/test/scope-home.test.ts";
const MOVES = "packages/replica/test/scope-moves.test.ts";
const HISTORIES = "packages/replica/test/scope-simulation.test.ts";
const FILES = "services/sync-node/test/scope-files.test.ts";
const NARROWED = "services/sync-node/test/scope-narrowed.test.ts";
const PART = "packages/files/test/part.test.ts";
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
    name: "a row that got another integer in a scope is deleted at the server and comes anew",
    edits: [["    if (moves.follow() > 0) return this.mended();\n", ""]],
    caughtBy: MOVES,
  },
  {
    name: "what is typed in a row while it left the scope and came back is not written to it",
    edits: [["    if (moves.forward() > 0) return this.mended();\n", ""]],
    caughtBy: MOVES,
  },
  {
    name: "a row is known by the birth of the one that had its integer before",
    edits: [['where === written ? ["NULL", "NULL"] :', 'where !== side && where !== written ? ["NULL", "NULL"] :']],
    caughtBy: MOVES,
  },
  {
    name: "what was typed in rows that a smaller scope does not show any more is gone",
    edits: [["      if (row.copyChanged) this.sides.keepEdit(table, row, AFTER_IT_LEFT, this.sides.changedInCopy(table, row));\n", ""]],
    caughtBy: MOVES,
  },
  {
    name: "no round compares nodes of scopes with their server",
    edits: [["const pairs = [...ring, ...ofScopes];", "const pairs = ofScopes.length < 0 ? ofScopes : [...ring];"]],
    caughtBy: "test/e2e/scope-coordinator.test.ts",
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
        '      this.sides.keep(table, row, { side: "copy", reason: refused, change: { kind: "row" } });\n      this.takeFromCopy(table, row);',
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
    name: "increments of a counter that both sides made count twice after a crash",
    edits: [["if (found.toMain.length + found.combined.length > 0) this.taken.inserted(table, row);", ""]],
    caughtBy: SCHEMAS,
  },
  {
    name: "a trigger's effects come twice at the server of a scope",
    edits: [["if (!this.isResting) putInPlace(", "if (this.isResting) putInPlace("]],
    caughtBy: SCHEMAS,
  },
  {
    name: "a column that is taken out of a scope keeps its values at its nodes",
    edits: [["for (const column of table.retired) this.toCopy += emptyColumn(this.sides, table, column);", ""]],
    caughtBy: SCHEMAS,
  },
  {
    name: "what was typed into a column that has left the scope is gone",
    edits: [["if (row.n > before) sides.keepEdit(table, row,", "if (row.n < 0n) sides.keepEdit(table, row,"]],
    caughtBy: SCHEMAS,
  },
  {
    name: "nodes of a scope may refer by configuration to rows that they may not see",
    edits: [["const isThere = soft ? `AND EXISTS", "const isThere = soft ? `AND NOT EXISTS"]],
    caughtBy: SCHEMAS,
  },
  {
    name: "what a person takes after all goes to whatever row has its integer",
    edits: [['const isAnother = isThere && table.surrogate && change.kind === "row";', "const isAnother = false;"]],
    caughtBy: SCHEMAS,
  },
  {
    name: "nodes of a scope meet the whole database",
    edits: [["if (found) return found;\n      // The guard", "if (found) return whole;\n      // The guard"]],
    caughtBy: WIRE,
  },
  {
    name: "nodes of a scope are told how full the server's disk is",
    edits: [["...(context.isPart !== true && { clock", "...(context.isPart !== undefined && { clock"]],
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
  {
    name: "nodes of a scope may say what is outside of its folders",
    edits: [['if (part.has(path) || (kind !== "file" && part.leadsTo(path))) return;', "if (part.prefixes.length >= 0) return;"]],
    caughtBy: FILES,
  },
  {
    name: "who knows a hash gets the bytes that another team has",
    edits: [["losers: entry.losers.filter(({ hash }) => held.has(hash)),", ""]],
    caughtBy: FILES,
  },
  {
    name: "a deletion names bytes that another team has, and brings them back under its own name",
    edits: [['before: held.has(entry.before) ? entry.before : "",', ""]],
    caughtBy: FILES,
  },
  {
    name: "files that were accepted and not carried yet when a scope became smaller are gone",
    edits: [["    if (before !== null) await this.#push(new Part(before));\n", ""]],
    caughtBy: NARROWED,
  },
  {
    name: "files that only a node of a scope has leave its folder",
    edits: [['if (row.source === "" && row.seq > acknowledged) return State.ignored;', ""]],
    caughtBy: FILES,
  },
  {
    name: "files that a scope does not show any more stay with its nodes",
    edits: [
      ["      await this.departure.carryOut();\n    });\n    return true;", "    });\n    return true;"],
      ["await this.exclusively(() => this.departure.carryOut());", ""],
    ],
    caughtBy: PART,
  },
  {
    name: "what a scope shows again does not come back",
    edits: [["      manifest.forgetReceived();\n      manifest.reindex();\n", "      manifest.forgetReceived();\n"]],
    caughtBy: PART,
  },
  {
    name: "versions outside of the part are served to whoever knows their hash",
    edits: [['.find(({ path }) => path === "" || !this.part?.leavesOut(path)) ?? null;', "[0] ?? null;"]],
    caughtBy: PART,
  },
  {
    name: "a node of a scope may say to a coordinator that it is of none",
    edits: [['if (typeof scope === "string") return { own: statuses', 'if (scope === "") return { own: statuses']],
    caughtBy: "services/coordinator/test/scoped-nodes.test.ts",
  },
  {
    name: "a laptop takes the rows of every server with its scope",
    edits: [['if (mine !== "") throw otherServer();', 'if (mine !== "") return null;']],
    caughtBy: HOME,
  },
  {
    name: "a laptop does not remember which server its rows belong to",
    edits: [["    if (home !== null) noteHome(this.db, home);\n", ""]],
    caughtBy: HOME,
  },
  {
    name: "a full node that hears a laptop is taken for one",
    edits: [["return limited && exchanges ? theirs : null;", "return exchanges ? theirs : null;"]],
    caughtBy: HOME,
  },
  {
    name: "another server's copy tells a laptop of its nodes before it is refused",
    edits: [["    await meet(replica, batch.baseline);\n", ""]],
    caughtBy: "packages/session/test/scope-home.test.ts",
  },
];

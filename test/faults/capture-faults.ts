import { type Fault, replicaTest as tests } from "./fault.ts";

/** Rules of what is captured, and of the turns in which a database is worked on, broken. */
export const CAPTURE_FAULTS: Fault[] = [
  {
    name: "a drain commits while the application is at it",
    edits: [["if (!news || urgent || this.#waited === MOST_WAITS) {", "if (!news || urgent || this.#waited >= 0) {"]],
    caughtBy: tests("quiet"),
  },
  {
    name: "writes that leave no trace are no finding",
    edits: [["if (noted === undefined) this.silent.push(name);", "if (noted === null) this.silent.push(name);"]],
    caughtBy: tests("capture-check"),
  },
  {
    name: "capture that somebody silenced stays silent",
    edits: [
      ["      !this.silence.isForged &&\n", ""],
      ["    this.follower.hearAgain();\n", ""],
    ],
    caughtBy: tests("capture-check"),
  },
  {
    name: "rows displaced by OR REPLACE are not captured",
    edits: [["const clashes = table.uniques.map(clashSql);\n  if (clashes", "const clashes = [].map(clashSql);\n  if (clashes"]],
    caughtBy: tests("capture"),
  },
  {
    name: "a key that changes under the name rowid is not looked at",
    edits: [['(names.length === 1 ? ["rowid", "oid", "_rowid_"] : [])', "[]"]],
    caughtBy: tests("capture"),
  },
  {
    name: "an update takes a computed UNIQUE value without a look at who has it",
    edits: [['if (uniques.some(({ derived }) => derived)) return "BEFORE UPDATE";', ""]],
    caughtBy: tests("unique"),
  },
  {
    name: "what is applied is captured as if it were written here",
    edits: [['"(SELECT 1 FROM _scoutsync_applying) IS NULL"', '"1"']],
    caughtBy: tests("rules-exchange"),
  },
  {
    name: "a database is served while a migrated table is only partly compared",
    edits: [["      !this.reconciliation.isOpen &&\n", ""]],
    caughtBy: tests("migration-turns"),
  },
  {
    name: "half of a failed batch is committed",
    edits: [
      [
        'if (this.db.inTransaction) this.db.exec("ROLLBACK");\n      // Nothing is read',
        'if (this.db.inTransaction) this.db.exec("COMMIT");\n      // Nothing is read',
      ],
    ],
    caughtBy: tests("poison"),
  },
  {
    name: "identity: a database file that was replaced is written to all the same",
    edits: [
      ["      this.file.checkFiles();\n      beginWriting(", "      beginWriting("],
      ["    this.file.check();\n    while (!this.drainTurn())", "    while (!this.drainTurn())"],
      ["    // What went to a file that no path leads to is not durable, whatever SQLite says.\n    this.file.checkFiles();\n", ""],
    ],
    caughtBy: tests("replaced"),
  },
  {
    name: "a node looks for the lock now and then where others pass it on at once",
    edits: [["    if (nowMs < withoutPauseUntil) {", "    if (nowMs < -1) {"]],
    caughtBy: tests("opening"),
  },
  {
    name: "triggers name a column that goes",
    edits: [
      ["columns.map((column) => `, (SELECT ${row}.${quote(column.name)})`)", "columns.map((column) => `, ${row}.${quote(column.name)}`)"],
    ],
    caughtBy: tests("migrations"),
  },
  {
    name: "linked: who refers to a row of another database does not follow it",
    edits: [["this.followTarget(target, parent, names)", "this.followTarget(target, parent, [])"]],
    caughtBy: tests("linked"),
  },
  {
    name: "linked: what was written before a row moved is read by what has its integer now",
    edits: [
      ["for (const dependent of this.dependents()) dependent.drainBeside();", ""],
      [
        "if (!this.isCaughtUp && tries < MOST_TRIES) {\n          this.catchUp();\n          return null;\n        }\n        while (!this.isCaughtUp) this.catchUp();",
        "if (tries > MOST_TRIES) return null;",
      ],
    ],
    caughtBy: tests("linked"),
  },
  {
    name: "what was written to rows without a key before the snapshot of attaching is news",
    edits: [["    passOver(db, tables, seen);\n", ""]],
    caughtBy: tests("opening"),
  },
  {
    name: "linked: a migration does not wait until another database is drained",
    edits: [["error instanceof ParentBehind || !this.db.inTransaction) throw error;", "!this.db.inTransaction) throw error;"]],
    caughtBy: tests("linked"),
  },
];

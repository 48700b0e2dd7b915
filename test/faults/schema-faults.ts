import { type Fault, replicaTest as tests } from "./fault.ts";

/** Rules that hold where a schema changes, broken. */
export const SCHEMA_FAULTS: Fault[] = [
  {
    name: "a kept row that a migration brings back counts as compared",
    edits: [["      this.noteUnseen(state);\n", ""]],
    caughtBy: tests("migration-undrained"),
  },
  {
    name: "a table whose key is of another kind is taken for the renamed one",
    edits: [
      ["one.name === now && one.kind === kind)", "one.name === now)"],
      [
        'SELECT t.tid, coalesce(k.name, t.name) AS name, coalesce(k.kind, t.surrogate) AS kind FROM _scoutsync_table AS t LEFT JOIN _scoutsync_kind AS k ON k.tid = t.tid",\n    )\n    .all() as { tid: number; name: string; kind: number }[];\n  const captured',
        'SELECT t.tid, t.name, t.surrogate AS kind FROM _scoutsync_table AS t",\n    )\n    .all() as { tid: number; name: string; kind: number }[];\n  const captured',
      ],
      ["pairs.filter(([gone, now]) => kindOf.get(gone) === kindOf.get(now))", "pairs"],
    ],
    caughtBy: tests("migrations"),
  },
  {
    name: "who writes to a row under its table's former name knows what is held of it under the new one",
    edits: [["    return rows.out.withKey(other.tid, key ??", "    return other.tid < 0 && rows.out.withKey(other.tid, key ??"]],
    caughtBy: tests("schema-held"),
  },
  {
    name: "what is held of a row for a table that others know by another name stays a second row",
    edits: [["for (const held of this.renamed.take(row)) this.mergeHeld(held);", ""]],
    caughtBy: tests("rebuilt-tables"),
  },
  {
    name: "a table that a migration has filled is taken for an empty one that it has dropped",
    edits: [["return db.prepare(`SELECT 1 FROM ${quote(table.source)} LIMIT 1`).get() === undefined;", "return true;"]],
    caughtBy: tests("rebuilt-tables"),
  },
  {
    name: "seeds of which one is deleted and forgotten count as new rows of the server that seeds them last",
    edits: [["if (isMissing && sequence > floor) return null;", "if (isMissing) return null;"]],
    caughtBy: tests("seeded-tables"),
  },
  {
    name: "what a renamed column holds counts as written when it was renamed",
    edits: [["        String(day),\n", "        String(trusted ? NOW : day),\n"]],
    caughtBy: tests("schema-moves"),
  },
  {
    name: "a table without a key that comes back without its rows deletes them everywhere",
    edits: [["  if (former?.isWhole === false) {\n", "  if (!former || former.isWhole) return () => true;\n  else {\n"]],
    caughtBy: tests("returned-keyless"),
  },
  {
    name: "what a rebuilt table holds otherwise counts as written when it was rebuilt",
    edits: [["shapes.some(({ isRebuilt }) => isRebuilt) ? UNDATED : NOW", "NOW"]],
    caughtBy: tests("rebuilt-values"),
  },
  {
    name: "what a rebuilt table without a key holds otherwise counts as written when it was rebuilt",
    edits: [["former?.isWhole && former.isRebuilt ? UNDATED : earliest", "earliest"]],
    caughtBy: tests("rebuilt-values"),
  },
  {
    name: "what refers to a part of a key that holds text follows to another integer",
    edits: [["for (const column of left) column.references = null;", "left.clear();"]],
    caughtBy: tests("key-references"),
  },
  {
    name: "rows without a key count as edited now where a column went",
    edits: [["former.isWhole ? differing : latest", "null"]],
    caughtBy: tests("migration-deletes"),
  },
  {
    name: "rows without a key that VACUUM moved while a column went are taken for what is at their places now",
    edits: [["const inOrder = isAscending(", "const inOrder = stored.length < 0 && isAscending("]],
    caughtBy: tests("migration-deletes"),
  },
  {
    name: "what was captured before a migration that the node was down for is thrown away",
    edits: [["    if (broken.length > 0 && isFormer) this.takeFormer(shapes, tables, leaving);\n", ""]],
    caughtBy: tests("migration-undrained"),
  },
  {
    name: "rows without a key are not drained where a migration hides what another table held",
    edits: [["      if (former?.absent === null) this.attempt(broken, () => this.drainer.runKeyless(former));\n", ""]],
    caughtBy: tests("migration-undrained"),
  },
  {
    name: "rows go on waiting for a place in a table that was dropped",
    edits: [["    holdWaiting(this.db, absent);\n", ""]],
    caughtBy: tests("schema-held"),
  },
  {
    name: "a column that has another name since is dated by what it was called by",
    edits: [["days.get((table.columns[index] as { cid: number }).cid) ?? days.get(null) ?? UNDATED", "UNDATED"]],
    caughtBy: tests("rebuilt-less"),
  },
  {
    name: "rows of a table that is rebuilt without a column count as edited whatever they held in it",
    edits: [["for (const gone of this.guesses) {", "for (const gone of this.isWhole ? this.guesses : []) {"]],
    caughtBy: tests("rebuilt-less"),
  },
  {
    name: "what somebody set to its default is not told under another name of its column",
    edits: [["return this.added.includes(cid) && this.mayHaveBeen", "return this.positions.length < 0 && this.mayHaveBeen"]],
    caughtBy: tests("migrations"),
  },
  {
    name: "what a column held under its former name beats what others typed since under the new one",
    edits: [["return notBefore(Math.max(0, ...writes.map(({ time }) => time)) + 1);", "return EARLIEST;"]],
    caughtBy: tests("migrations"),
  },
  {
    name: "of several columns with new names each is dated by what was written last in any of them",
    edits: [["after(were.length > 0 ? were : this.gone)", "after(this.gone)"]],
    caughtBy: tests("renamed-columns"),
  },
  {
    name: "a column that came beside one with a new name may have been that as well",
    edits: [["    this.places = placesOf(table, shape, gone);\n", "    this.places = null;\n"]],
    caughtBy: tests("renamed-columns"),
  },
  {
    name: "a column with a new name is taken for the one at its place where another one went before it",
    edits: [[".slice(0, inPlace ? 1 : undefined)", ".slice(0, 1)"]],
    caughtBy: tests("renamed-columns"),
  },
  {
    name: "of the last columns with new names each may have moved up, whatever the row's hash says",
    edits: [[".slice(0, inPlace ? 1 : undefined)", ".slice()"]],
    caughtBy: tests("renamed-columns"),
  },
  {
    name: "what others typed under a column's new name is not put in where the column is renamed",
    edits: [["if (edit && (isOld ||", "if (edit && ("]],
    caughtBy: tests("migrations"),
  },
  {
    name: "what was there before a column went beats what others typed since",
    edits: [["if (dates) return this.writeUndated(state, cids, dates, row, { editOf, was, shown });", ""]],
    caughtBy: tests("rebuilt-less"),
  },
  {
    name: "a table rebuilt without a column: what was there of rows that are one beats what was typed before an edit of another column",
    edits: [["const dates = datesOf(row, states, cids);", "const dates = null;"]],
    caughtBy: tests("rebuilt-less"),
  },
  {
    name: "the default of a row that came without a column counts as written",
    edits: [["=> same(ours, state.birth) && sameValue(shown, fallback);", "=> same(ours, state.birth) && shown === undefined;"]],
    caughtBy: tests("dropped-column"),
  },
  {
    name: "what was written past broken capture is left out",
    edits: [
      [
        "      this.reconciliation.begin(table.tid, null, true);\n      installCapture(this.db, table);",
        "      installCapture(this.db, table);",
      ],
    ],
    caughtBy: tests("capture-check"),
  },
  {
    name: "one write with two times is ordered by each side's own",
    edits: [["moved = agreeOnTimes(state, incoming) || moved;", ""]],
    caughtBy: tests("snapshot"),
  },
  {
    name: "a column that refers by configuration is a number like any other",
    edits: [["column.references = parent.name;\n    column.soft = true;", "column.soft = true;"]],
    caughtBy: tests("soft-references"),
  },
  {
    name: "a migration throws away the values of rows that were deleted just before it",
    edits: [["const kept = setImagesAside(db, table, DELETES);", "const kept = false;"]],
    caughtBy: tests("migration-undrained"),
  },
  {
    name: "what was captured of a table is drained under columns that a migration has dropped",
    edits: [["for (const { table, shape, blind } of shrunk) this.recapture(table.tid, shape as Shape, blind);", ""]],
    caughtBy: tests("migration-undrained"),
  },
  {
    name: "what was captured is drained as if a table that is back had been captured all the time",
    edits: [["images.get(imageTable(table.tid)) === undefined ? null : capturedShape(db, table)", "images && capturedShape(db, table)"]],
    caughtBy: tests("migration-undrained"),
  },
  {
    name: "a column that got another name counts as written when its table is compared, where the row was drained before",
    edits: [["const shrunk = shapes.find(", "const shrunk = former ? undefined : shapes.find("]],
    caughtBy: tests("migration-undrained"),
  },
  {
    name: "rows keep the value of the rule before",
    edits: [["if (termsMoved(this.db, this.terms))", "if (termsMoved(this.db, this.terms) && this.unsettled)"]],
    caughtBy: tests("column-rules"),
  },
  {
    name: "numbers of writes are given again when a table's events are dropped",
    edits: [["  skipWrites(db, db.prepare(`SELECT max(n) FROM ${CAPTURE}`).pluck().get() as number);\n", ""]],
    caughtBy: tests("receipts"),
  },
  {
    name: "rows that a migration seeds without a key are new on every server",
    edits: [["const isNew = shape === null && table.keyless && !this.wasJustWritten(table);", "const isNew = false;"]],
    caughtBy: tests("keyless"),
  },
  {
    name: "an index that fell behind stops its database",
    edits: [["if (!isOfIndex(error)) throw error;\n      return this.mending", "throw error;\n      return this.mending"]],
    caughtBy: tests("every-schema"),
  },
  {
    name: "a row that gets another integer stays under its former one in an index",
    edits: [["if (!this.isFeeding || !this.wentAndCame(from, to))", "if (true)"]],
    caughtBy: tests("every-schema"),
  },
  {
    name: "what feeds an index rests with what else its trigger does",
    edits: [["return kept.length === 0 ? null :", "return kept.length >= 0 ? null :"]],
    caughtBy: tests("every-schema"),
  },
  {
    name: "a trigger runs that needs what only the application has",
    edits: [["restUnrunnable(db, tables, { triggers, ours, read, resting, virtual, feeds });", ""]],
    caughtBy: tests("every-schema"),
  },
  {
    name: "triggers that a person decided about do as they seem to",
    edits: [["triggersToSuspend(this.db, tables, this.options.triggers)", "triggersToSuspend(this.db, tables)"]],
    caughtBy: tests("every-schema"),
  },
  {
    name: "triggers that write what is captured run where it is applied, too",
    edits: [["writes !== null && !raises && harmless(writes, []);", "writes !== null && !raises;"]],
    caughtBy: tests("every-schema"),
  },
  {
    name: "a table rebuilt by a migration is not compared with what is known",
    edits: [["if (shape) this.reconciliation.begin(", "if (!shape) this.reconciliation.begin("]],
    caughtBy: tests("migrations"),
  },
  {
    name: "where capture never stopped, a row that is not compared yet counts as written in every column",
    edits: [["(isOld(name) ? comparison.blind : differs(", "(isOld(name) ? true : differs("]],
    caughtBy: tests("migration-turns"),
  },
  {
    name: "a crash ends the comparison of a migrated table",
    edits: [["this.open = new Map(stored.map(", "this.open = new Map(stored.slice(99).map("]],
    caughtBy: tests("migration-turns"),
  },
  {
    name: "the application's own triggers run again on apply",
    edits: [["step.raises || (step.writes !== null && !feeds(step))", 'step.sql === ""']],
    caughtBy: tests("migrations"),
  },
  {
    name: "schema: rows without a key whose table is back without them and without a column are deleted everywhere",
    edits: [["    return () => isBack;\n", "    return () => isBack || true;\n"]],
    caughtBy: tests("returned-keyless"),
  },
  {
    name: "a table that comes back without its rows deletes them everywhere",
    edits: [
      ["if (forgetMissing(this.db, this.rows, table, captured.get(table) ?? null) === 0) regain", "if (table.absent !== null) regain"],
    ],
    caughtBy: tests("schema-held"),
  },
  {
    name: "a table that is taken in again takes its old rows for new ones",
    edits: [["const renewed = rejoinTable(", "const renewed = ((..._: unknown[]) => [] as ReturnType<typeof rejoinTable>)("]],
    caughtBy: tests("schema-held"),
  },
  {
    name: "a table that one transaction rebuilds and renames is another table",
    edits: [["if (followRebuilt(this.rows, tables)) tables = catalogTables(this.db, shapes);", ""]],
    caughtBy: tests("schema-held"),
  },
  {
    name: "a rebuilt table is another one where its name was that of a dropped one",
    edits: [
      [
        "table.surrogate && exists.get(imageTable(table.tid)) === undefined",
        "table.surrogate && exists.get(rowsTable(table.tid)) === undefined",
      ],
    ],
    caughtBy: tests("schema-held"),
  },
  {
    name: "the copy of a table that is only excluded counts as the table",
    edits: [
      [
        "!here.has(tid) && exists.get(name) === undefined && exists.get(imageTable(tid)) !== undefined",
        "!here.has(tid) && exists.get(imageTable(tid)) !== undefined",
      ],
    ],
    caughtBy: tests("schema-held"),
  },
  {
    name: "a table that lacks columns of a rebuilt one counts as that one",
    edits: [["found.written += shape.isWhole ? 1 : 0;", "found.written++;"]],
    caughtBy: tests("schema-held"),
  },
  {
    name: "a rebuilt table of which no row is left is another one",
    edits: [["[...gone].filter(({ tid }) => isEmptied(db, tid))", "[...gone].filter(({ tid }) => tid < 0 && isEmptied(db, tid))"]],
    caughtBy: tests("schema-held"),
  },
  {
    name: "a row that comes under another name of its key has none",
    edits: [["  if (row.birth) showKey(row);\n", ""]],
    caughtBy: tests("renamed-keys"),
  },
  {
    name: "a row that was out of its table when its key got another name has none",
    edits: [["  if (fresh.size > 0) showKey({ table, key: keyCells(state), values, unwritten: fresh });\n", ""]],
    caughtBy: tests("renamed-keys"),
  },
  {
    name: "a row whose delete was kept back when its key got another name has none",
    edits: [["  showKey({ table, key, values: cells, unwritten });\n", ""]],
    caughtBy: tests("renamed-keys"),
  },
  {
    name: "a row that is held under another name of its key has none",
    edits: [["  showKey({ table, key, values, unwritten });\n", ""]],
    caughtBy: tests("renamed-keys"),
  },
  {
    name: "a row of a table that has another name here, and another one of its key, has none",
    edits: [["  showKey({ table: to, key: row.key, values, unwritten });\n", ""]],
    caughtBy: tests("renamed-keys"),
  },
  {
    name: "what was captured of a table made anew with another name for its key cannot be read",
    edits: [["return [...left, ...renamed.map(({ name }) => name)];", "return renamed.length > 0 ? null : left;"]],
    caughtBy: tests("migration-undrained"),
  },
  {
    name: "what was captured of a table made anew is read by the name that its integer key had",
    edits: [["return namesOf(before) !== namesOf(table);", "return before.source !== table.source;"]],
    caughtBy: tests("migration-undrained"),
  },
  {
    name: "what was captured is drained as if a table that refers to others had not gone",
    edits: [[" || this.hasRenamed(tables) || left.length > 0;", " || this.hasRenamed(tables);"]],
    caughtBy: tests("migration-undrained"),
  },
  {
    name: "what was captured is not drained where a row comes to the integer of one without a key that has lost a column",
    edits: [["if (child.keyless && store.columnsLeft().length < child.columns.length) {", "if (child.absent) {"]],
    caughtBy: tests("migration-undrained"),
  },
  {
    name: "the first row with NULL in its key has no place where its table has been renamed",
    edits: [["names.find((other) => isOf(table, other))", "undefined"]],
    caughtBy: tests("schema-held"),
  },
  {
    name: "a table is given a name that another one has",
    edits: [["taken ? `${name}\\n${tid} of its kind` : name", "name"]],
    caughtBy: tests("schema-held"),
  },
  {
    name: "a write under a table's name to come is of a second row of its birth",
    edits: [["    if (!found && row.birth && this.hasUnderAnotherName(row.table, row.birth)) row.birth = null;\n", ""]],
    caughtBy: tests("schema-held"),
  },
  {
    name: "what came before a migration is given up where the disk fails",
    edits: [["if (isOfSurroundings(error) || error instanceof ParentBehind", "if (error instanceof ParentBehind"]],
    caughtBy: tests("interrupted"),
  },
  {
    name: "a column that came by a migration has to have been written",
    edits: [["    if (writes.length === 0) return;\n", ""]],
    caughtBy: tests("migrations"),
  },
  {
    name: "what others told of a renamed column is not put into rows without a key that are as they were",
    edits: [["      else if (state && rows.columnsToFill(state).length > 0) toFill.push(state.birth);\n", ""]],
    caughtBy: tests("dropped-column"),
  },
  {
    name: "nobody can read a row whose key refers to a row of a table that is gone",
    edits: [['if (values.some((value) => value instanceof Ref)) return state.place.kind === "table" ? this.notedKey(state) : null;\n', ""]],
    caughtBy: tests("migration-deletes"),
  },
  {
    name: "an edit of a row whose key refers to a row of a table that is gone is of another row",
    edits: [["this.rows.of(table).hadLocalKey ? ", "hasLocalKey(table) ? "]],
    caughtBy: tests("migration-deletes"),
  },
  {
    name: "a row waits for good that names another one in its key, where that is no foreign key here",
    edits: [
      [
        "&& !isItself(value) && this.strayId(value, together) === null);",
        "&& !isItself(value) && (this.strayId(value, together) === null || table.key.some(({ name }) => name === table.columns[index]?.name)));",
      ],
    ],
    caughtBy: tests("foreign-keys"),
  },
  {
    name: "what a migration inserts again leaves nothing of what was kept back under its key",
    edits: [["if (alive && store.keptBack && store.readTable(first.key) && comeBack()) continue;", ""]],
    caughtBy: tests("quarantine"),
  },
  {
    name: "what a rebuild with a column less inserts again leaves nothing of what was kept back under its key",
    edits: [["if (shown) this.closeKeptBack(state, new Map(columns.map((cid) => [cid, shown.get(cid)])), write, row);", ""]],
    caughtBy: tests("quarantine"),
  },
  {
    name: "a row whose key shows another integer since a comparison is found by the former one",
    edits: [["(hasLocalKey(state.table) ? this.keys.keyValues(state) : shown) ?? shown", "this.keys.keyValues(state) ?? shown"]],
    caughtBy: tests("foreign-keys"),
  },
  {
    name: "the key of a row that comes once the table it refers to is gone is not noted",
    edits: [["const isNoted = this.keys.isNoted(state);", "const isNoted = state.table.keyless || state.table.keyReferences.length > 0;"]],
    caughtBy: tests("migration-deletes"),
  },
  {
    name: "all columns of rows without a key count as written where one came",
    edits: [["edit(slot, at, columnBits(table, columns), day);", "edit(slot, at, 0n, day);"]],
    caughtBy: tests("dropped-column"),
  },
  {
    name: "what lost in a table that was dropped is listed nowhere",
    edits: [['if (table.absent !== "excluded") yield*', 'if (table.absent === "key") yield*']],
    caughtBy: tests("dropped-column"),
  },
  {
    name: "what all wrote alike is listed once their table is gone",
    edits: [[".filter(({ cid, loser }) => !isOfMigration(state, cid, loser))", ""]],
    caughtBy: tests("dropped-column"),
  },
  {
    name: "rows without a key are not known by what most hold in a column that went",
    edits: [
      ["(blind ? null : pairsByPlace(db, table)) ?? likelyPairs(db, rows, table, gone)", "(blind ? null : pairsByPlace(db, table)) ?? []"],
    ],
    caughtBy: tests("rebuilt-less"),
  },
  {
    name: "rows without a key of a table made anew are those that were at their places",
    edits: [["(former.isWhole ? null : pairsByPlace(db, table)) ?? pairsBetween(db, known)", "[] as Pair[]"]],
    caughtBy: tests("rebuilt-less"),
  },
  {
    name: "rows without a key that may have been written count as written last",
    edits: [["former.isWhole ? differing : latest", "earliest"]],
    caughtBy: tests("rebuilt-less"),
  },
  {
    name: "what a renamed column holds in rows without a key counts as written now",
    edits: [["days.get(cid) ?? days.get(null) ?? earliest", "null"]],
    caughtBy: tests("dropped-column"),
  },
  {
    name: "a migration that was looked at in a transaction that failed is taken for triggers that somebody took off",
    edits: [["this.follower.begins = begins;", ""]],
    caughtBy: tests("interrupted"),
  },
];

/** One rule of the product broken on purpose: what to replace, and the quickest test that must notice. */
export interface Fault {
  name: string;
  /** Exact text, found once in all sources of the product, and what stands there instead. */
  edits: [find: string, replace: string][];
  /** A test file, or seeds of the simulation. */
  caughtBy: string | { seeds: [from: number, count: number]; options?: Record<string, unknown> };
}

const tests = (name: string) => `packages/replica/test/${name}.test.ts`;

export const FAULTS: Fault[] = [
  {
    name: "a drain commits while the application is at it",
    edits: [["if (!news || urgent || this.#waited === MOST_WAITS) {", "if (!news || urgent || this.#waited >= 0) {"]],
    caughtBy: tests("quiet"),
  },
  {
    name: "nobody is told of a deleted row that stays because others refer to it",
    edits: [["return referring.length === 0 ? [] : [keptReview(audited, state, referring)];", "return [];"]],
    caughtBy: tests("deletes"),
  },
  {
    name: "whoever knows of one of several deletes counts as having the row",
    edits: [["const mayBeGone = knowsDelete || ", "const mayBeGone = "]],
    caughtBy: tests("forgetting"),
  },
  {
    name: "a write that a delete knew may beat it",
    edits: [["compareWrites(write, deleted, knowledge) > 0 && !isKnown(write);", "compareWrites(write, deleted, knowledge) > 0;"]],
    caughtBy: tests("forgetting"),
  },
  {
    name: "a row goes to others without what is kept for it by value",
    edits: [["for (const target of dependsOn(this.rows, table, id, values)) if (target.kept) this.mention(target);", ""]],
    caughtBy: tests("forgotten-parents"),
  },
  {
    name: "a row that waits goes to others without the deleted ones that it refers to",
    edits: [['    if (state.place.kind === "waiting" || this.needed.has(placeName(state))) this.mentionMeant(state);\n', ""]],
    caughtBy: tests("forgotten-parents"),
  },
  {
    name: "a settled conflict is forgotten before every node has what settled it",
    edits: [[" && this.options.isKnownToAll({ origin, sequence });", ";"]],
    caughtBy: tests("forgetting"),
  },
  {
    name: "another integer counts as an edit of a row",
    edits: [["if (this.hasEdits(state) || !this", "if (this.hasNews(state) || !this"]],
    caughtBy: tests("forgetting"),
  },
  {
    name: "a row goes in a drain before the new ones are born that it was made to refer to",
    edits: [[": end?.op === Op.delete && !last;", ": false;"]],
    caughtBy: tests("kept-values"),
  },
  {
    name: "a kept row goes while the rows that refer to it are not known",
    edits: [["    if (this.isComparing()) return;\n", ""]],
    caughtBy: tests("migration-deletes"),
  },
  {
    name: "rows without a key count as edited now where a column went",
    edits: [["const day = former && !former.isWhole ? EARLIEST : null;", "const day = null;"]],
    caughtBy: tests("migration-deletes"),
  },
  {
    name: "rows without a key that VACUUM moved while a column went are taken for what is at their places now",
    edits: [["const inOrder = noted.every(", "const inOrder = noted.length < 0 && noted.every("]],
    caughtBy: tests("migration-deletes"),
  },
  {
    name: "what was captured before a migration that the node was down for is thrown away",
    edits: [["    if (broken.length > 0 && this.rows.tables.length === 0) this.takeFormer(shapes, tables, leaving);\n", ""]],
    caughtBy: tests("migration-undrained"),
  },
  {
    name: "rows without a key are not drained where a migration hides what another table held",
    edits: [["      if (former?.absent === null) this.attempt(broken, () => this.drainer.runKeyless(former));\n", ""]],
    caughtBy: tests("migration-undrained"),
  },
  {
    name: "a row that its parent woke while it was being placed stays as it was stored",
    edits: [["return this.showWoken(state, woken, { cells, shown, before });", "return true;"]],
    caughtBy: tests("woken"),
  },
  {
    name: "rows go on waiting for a place in a table that was dropped",
    edits: [["    holdWaiting(this.db, absent);\n", ""]],
    caughtBy: tests("schema-held"),
  },
  {
    name: "a part of a row is told under the columns of whole rows",
    edits: [["cids === null && table.absent === null ? table.tid", "cids === null ? table.tid"]],
    caughtBy: tests("schema-held"),
  },
  {
    name: "the default of a row that came without a column counts as written",
    edits: [["=> same(ours, state.birth) && sameValue(shown, fallback);", "=> same(ours, state.birth) && shown === undefined;"]],
    caughtBy: tests("dropped-column"),
  },
  {
    name: "nobody hears of a write whose value went with its column",
    edits: [["      ...gone.map((write) => ({ ...write, alive: true })),\n", ""]],
    caughtBy: tests("migration-deletes"),
  },
  {
    name: "what a vector covers counts as deleted, whether or not it was forgotten",
    edits: [["if (this.hasEdits(state) || !this.mayBeForgotten(state)) return true;", "if (this.hasEdits(state)) return true;"]],
    caughtBy: tests("forgetting"),
  },
  {
    name: "what a peer says was forgotten counts as forgotten",
    edits: [["if (!batch.floor || !isFilled) return;", "if (!batch.floor) return;"]],
    caughtBy: tests("forgetting"),
  },
  {
    name: "two rows under one dot share a place in the log",
    edits: [["    if (this.repairing) this.contested.yieldTo(row);\n", ""]],
    caughtBy: tests("snapshot"),
  },
  {
    name: "a stream goes on from what the file before had, when another is in its place",
    edits: [["if (replica.run !== own) stop.abort(otherFile(replica.name));", ""]],
    caughtBy: "test/e2e/replaced-live.test.ts",
  },
  {
    name: "a node that was restored counts as having what it had",
    edits: [['Object.assign(link, { run: "", node: null });', ""]],
    caughtBy: "test/e2e/replaced-live.test.ts",
  },
  {
    name: "a bundle says nothing of who was put out",
    edits: [["    await carryRevocations(client, head.revocations);\n", ""]],
    caughtBy: "test/e2e/trust.test.ts",
  },
  {
    name: "a certificate that another CA signed is taken",
    edits: [["if (!read.checkIssued(this.ca) || !read.verify(this.ca.publicKey)) {", "if (!read.checkIssued(this.ca)) {"]],
    caughtBy: "packages/trust/test/trust.test.ts",
  },
  {
    name: "who was put out is let in",
    edits: [["if (this.#revocations.includes(identity)) {", "if (this.#revocations.version < 0) {"]],
    caughtBy: "packages/trust/test/trust.test.ts",
  },
  {
    name: "a certificate that ran out is taken",
    edits: [["if (now > identity.validUntilMs || now < identity.validFromMs) {", "if (now < identity.validFromMs) {"]],
    caughtBy: "packages/trust/test/trust.test.ts",
  },
  {
    name: "a join code lets in more than one",
    edits: [["renameSync(path, join(used, `${this.#hash(asked.secret)}.json`));", ""]],
    caughtBy: "packages/trust/test/trust.test.ts",
  },
  {
    name: "a list of revoked identities needs no signature",
    edits: [
      ['wire.content.length <= MOST_BYTES && verify("sha256", wire.content, caKey, wire.signature);', "wire.content.length <= MOST_BYTES;"],
    ],
    caughtBy: "packages/trust/test/trust.test.ts",
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
    name: "as many sessions begin at once as are asked for at the same moment",
    edits: [["const opened = ends.length > 1 ? this.#places.open() : () => {};", "const opened = () => {};"]],
    caughtBy: "services/coordinator/test/pacing.test.ts",
  },
  {
    name: "what was asked for by hand ends after one session, whatever is still missing",
    edits: [["      if (demanded || !this.automatic) await this.#goOn([...open], now.busy, demanded);\n", ""]],
    caughtBy: "services/coordinator/test/pacing.test.ts",
  },
  {
    name: "what a node says of one file root twice goes into the registry twice",
    edits: [
      [
        "name.length <= LONGEST_NAME && !known.has(name)) known.set(name, one);",
        "name.length <= LONGEST_NAME) known.set(`${known.size} ${name}`, one);",
      ],
    ],
    caughtBy: "services/coordinator/test/hostile-node.test.ts",
  },
  {
    name: "a node does not care how many rows may pass",
    edits: [["      changesPerSecond: Number(changesPerSecond),", "      changesPerSecond: 0 * Number(changesPerSecond),"]],
    caughtBy: "services/coordinator/test/limits.test.ts",
  },
  {
    name: "rows for the metadata of sync are taken",
    edits: [["if (/^(_scoutsync_|sqlite_)/i.test(head.name)) throw", 'if (head.name === "") throw']],
    caughtBy: "services/sync-node/test/hostile.test.ts",
  },
  {
    name: "who answers may answer as another node",
    edits: [['if (nodeId === "" || (identity.role === "node" && identity.id === nodeId)) return;', "if (identity.id !== nodeId) return;"]],
    caughtBy: "services/sync-node/test/impersonation.test.ts",
  },
  {
    name: "a member may say what another node has",
    edits: [["(identity.id === nodeId || memberKey(identity) === memberKey(own))", '(identity.id !== "" || memberKey(own) !== "")']],
    caughtBy: "services/sync-node/test/impersonation.test.ts",
  },
  {
    name: "what a node says under another one's run is taken for that one's word",
    edits: [['`${node?.id ?? ""}/${run}`', '`${node === undefined ? "" : ""}/${run}`']],
    caughtBy: "packages/session/test/acquaintances.test.ts",
  },
  {
    name: "live nodes that hold different rows leave it at that",
    edits: [["  await mend(context, peer.address, database, signal);\n", ""]],
    caughtBy: "services/sync-node/test/hostile.test.ts",
  },
  {
    name: "a machine that was put back goes on under its origin",
    edits: [["if (!(error instanceof NeverMade) || !this.giveUpOrigin()) throw error;", "throw error;"]],
    caughtBy: tests("snapshot"),
  },
  {
    name: "one write with two times is ordered by each side's own",
    edits: [["let moved = agreeOnTimes(state, incoming);", "let moved = false;"]],
    caughtBy: tests("snapshot"),
  },
  {
    name: "a sensitive value is shown in lists of conflicts",
    edits: [["return value !== null && this.#covers(table, column) ? VEILED : value;", "return value;"]],
    caughtBy: tests("sensitive"),
  },
  {
    name: "a conflict is decided by what stands for a sensitive value",
    edits: [
      [
        "const version = ({ write, value }: Version): ReviewVersion => ({\n        value,",
        'const version = ({ write }: Version): ReviewVersion => ({\n        value: "(sensitive)",',
      ],
    ],
    caughtBy: tests("sensitive"),
  },
  {
    name: "a column that refers by configuration is a number like any other",
    edits: [["column.references = parent.name;\n    column.soft = true;", "column.soft = true;"]],
    caughtBy: tests("soft-references"),
  },
  {
    name: "a reference by configuration keeps a deleted row",
    edits: [["this.referring(parent, true).map", "this.referring(parent).map"]],
    caughtBy: tests("soft-references"),
  },
  {
    name: "a deleted row that stays is written as if what it refers to were there",
    edits: [['if (stray || missing) return this.placement.evict(state, cells, stray ?? "parent", missing, before);', ""]],
    caughtBy: tests("circles"),
  },
  {
    name: "nobody is told that children refer to the row which took their parent's integer",
    edits: [["&& this.rows.wasUsed(table, id)) this.takenOver.follow(", "&& id < 0n) this.takenOver.follow("]],
    caughtBy: tests("rules-identity"),
  },
  {
    name: "joining again leaves the key of a row that waits as it was",
    edits: [
      ["if (key !== null && !state.key?.equals(key)) this.rebear(state, result);", "if (key === undefined) this.rebear(state, result);"],
      [": this.renamedKey(state);", ": state.key;"],
    ],
    caughtBy: "packages/replica/test/entity-simulation.test.ts",
  },
  {
    name: "a delete in mid-stream knows what whoever revived its row knew",
    edits: [["return isNews || this.rowsAreHeld", "return this.rowsAreHeld"]],
    caughtBy: "packages/replica/test/entity-simulation.test.ts",
  },
  {
    name: "another server's new row takes over what a deleted one left behind",
    edits: [["this.rows.byId(state.table, id) || this.leftBehind.hold(state, id)", "this.rows.byId(state.table, id)"]],
    caughtBy: tests("left-behind"),
  },
  {
    name: "rows that refer to each other are placed as if deleted rows' integers were theirs",
    edits: [["isContested || this.cycle.size > 0 || this.rows.same.exist", "isContested || this.rows.same.exist"]],
    caughtBy: tests("circles"),
  },
  {
    name: "what was left behind comes to mean the row that was there first",
    edits: [["return taken.length > 0;", "return false;"]],
    caughtBy: tests("left-behind"),
  },
  {
    name: "nobody is asked about a new row that refers to an integer which a sync gave to another row",
    edits: [["if (meant) this.notices.refers(", "if (meant && id < 0n) this.notices.refers("]],
    caughtBy: tests("former-ids"),
  },
  {
    name: "a row that lives on as a new one since a node joined again is not listed",
    edits: [["if (isKnown) this.notices.reborn(", "if (!isKnown) this.notices.reborn("]],
    caughtBy: tests("forgetting"),
  },
  {
    name: "a row that a migration hid from the drain is named by its bare integer",
    edits: [["for (const { index, parent } of table.keyReferences) this.bearUncompared(parent, first.key[index], first.wall);", ""]],
    caughtBy: tests("migration-undrained"),
  },
  {
    name: "a migration throws away the values of rows that were deleted just before it",
    edits: [["const kept = setDeletesAside(db, table);", "const kept = false;"]],
    caughtBy: tests("migration-undrained"),
  },
  {
    name: "a row gives way to one that refers to it",
    edits: [["if (this.related.leansOn(waiting, holders)) return false;", ""]],
    caughtBy: tests("circles"),
  },
  {
    name: "what one row says is kept as the value of another that it is one with",
    edits: [["own === undefined ? was : own", "own ?? was"]],
    caughtBy: tests("former-ids"),
  },
  {
    name: "an edit under an integer that another row had overwrites what its author never saw",
    edits: [
      [
        "writeUnseen(state, cid, wall, this.knowledge, own === undefined ? was : own);\n      state.own.delete(cid);\n      return false;",
        "return true;",
      ],
    ],
    caughtBy: tests("former-ids"),
  },
  {
    name: "a write that never saw others' counts as having known them",
    edits: [["contextOfReplacing(replaced, knowledge, false)", "contextOfReplacing(before, knowledge)"]],
    caughtBy: tests("former-ids"),
  },
  {
    name: "of concurrent increments the latest counts",
    edits: [["if (tallies.length < writes.length) return chosen(latest);", "if (tallies.length <= writes.length) return chosen(latest);"]],
    caughtBy: tests("column-rules"),
  },
  {
    name: "text of a database may become markup in the dashboard",
    edits: [["  \"require-trusted-types-for 'script'\",\n", ""]],
    caughtBy: "services/coordinator/test/dashboard-assets.test.ts",
  },
  {
    name: "a row that is kept out is listed once per node",
    edits: [['if (kind === "parked") return JSON.stringify([kind, database, table, key, toJsonColumns(review.image)]);', ""]],
    caughtBy: "services/coordinator/test/http-api.test.ts",
  },
  {
    name: "an edit of a counter does not say what it found",
    edits: [["if (alive) found ??= event.found;", ""]],
    caughtBy: tests("column-rules"),
  },
  {
    name: "what a run added before is added again by its next edit",
    edits: [["known.totals.filter(({ origin }) => origin !== dot.origin)", "known.totals.filter(({ origin }) => origin >= 0)"]],
    caughtBy: "packages/core/test/rules.test.ts",
  },
  {
    name: "who removed an element of a set is not asked whether it was known",
    edits: [["&& knew(write, dot.origin, dot.sequence, causality),", ","]],
    caughtBy: "packages/core/test/rules.test.ts",
  },
  {
    name: "what writes under a rule say of themselves is not sent",
    edits: [["if (tallies.length > 0) flags |= RecordFlags.rules;", ""]],
    caughtBy: { seeds: [1, 20], options: { rules: true } },
  },
  {
    name: "a batch made under other rules is taken",
    edits: [['checkTerms(this.options.name, formatTerms(this.terms), batch.terms ?? "");', ""]],
    caughtBy: tests("column-rules"),
  },
  {
    name: "rows keep the value of the rule before",
    edits: [["if (termsMoved(this.db, this.terms))", "if (termsMoved(this.db, this.terms) && this.unsettled)"]],
    caughtBy: tests("column-rules"),
  },
  {
    name: "numbers of writes start again when the dirty list is emptied",
    edits: [["skipWrites(db, events);", ""]],
    caughtBy: tests("receipts"),
  },
  {
    name: "numbers of writes are given again when a table's events are dropped",
    edits: [["  skipWrites(db, db.prepare(`SELECT max(n) FROM ${CAPTURE}`).pluck().get() as number);\n", ""]],
    caughtBy: tests("receipts"),
  },
  {
    name: "a write is said to be at a peer that lacks its change",
    edits: [["last.get(oid, vector.get(knowledge.nameOf(oid)) ?? 0)", "last.get(oid, Number.MAX_SAFE_INTEGER)"]],
    caughtBy: tests("receipts"),
  },
  {
    name: "a batch is applied before what waits in the dirty list is drained",
    edits: [
      ["unpacked: Buffer | null): ApplyResult {\n    this.turns.drain();", "unpacked: Buffer | null): ApplyResult {"],
      ["const drained = this.drainer.run(until);\n    this.rows.flush();", "const drained = true;"],
    ],
    caughtBy: tests("rules-drain"),
  },
  {
    name: "a new write is not later than its row: the wall clock decides",
    edits: [["state ? Math.max(wall, latestTime(state) + 1) : wall", "wall"]],
    caughtBy: tests("rules-drain"),
  },
  {
    name: "captured times later than the drain's clock are believed",
    edits: [["Math.min(this.wallUs(), capturedUs)", "(Number.isFinite(capturedUs) ? capturedUs : this.wallUs())"]],
    caughtBy: tests("rules-drain"),
  },
  {
    name: "rows displaced by OR REPLACE are not captured",
    edits: [["const clashes = table.uniques.map(clashSql);\n  if (clashes", "const clashes = [].map(clashSql);\n  if (clashes"]],
    caughtBy: tests("capture"),
  },
  {
    name: "rows without a key that OR REPLACE displaced are not looked for",
    edits: [["for (let left = known - there; left > 0; left--)", "for (let left = 0; left > 0; left--)"]],
    caughtBy: tests("keyless"),
  },
  {
    name: "a rowid is believed to name the row that it named before",
    edits: [["return this.isAt(key, hash) ? key : null;", "return key;"]],
    caughtBy: tests("keyless"),
  },
  {
    name: "rows that a migration seeds without a key are new on every server",
    edits: [["const isNew = shape === null && table.keyless && !this.wasJustWritten(table);", "const isNew = false;"]],
    caughtBy: tests("keyless"),
  },
  {
    name: "a row with NULL in its key is nobody's",
    edits: [["this.foundWithoutKey ||= table.twin === null;", ""]],
    caughtBy: tests("keyless"),
  },
  {
    name: "a drain whose turn ends with the last event ends no group",
    edits: [
      ["ORDER BY n LIMIT ${EVENTS_AT_ONCE + 1}`", "ORDER BY n LIMIT ${EVENTS_AT_ONCE}`"],
      ["const complete = raw.length <= EVENTS_AT_ONCE;\n      if (!complete) raw.pop();", "const complete = raw.length < EVENTS_AT_ONCE;"],
    ],
    caughtBy: tests("groups"),
  },
  {
    name: "a drain ends a transaction whose rows a later one has edited",
    edits: [["if ((event & 7) === Op.insert && isNew)", "if (isNew)"]],
    caughtBy: tests("groups"),
  },
  {
    name: "a drain ends a transaction whose rows a later one has replaced",
    edits: [["if ((event & 7) === Op.insert && isNew)", "if ((event & 7) === Op.insert)"]],
    caughtBy: tests("groups"),
  },
  {
    name: "a damaged range is believed",
    edits: [["wire.protocol !== WITHOUT_FRAME_SUM && !frameSum(wire)", "wire.protocol > 9 && !frameSum(wire)"]],
    caughtBy: "packages/protocol/test/conversion.test.ts",
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
    name: "who holds the value of a UNIQUE expression is not asked",
    edits: [["return derived ? this.displacedHolders(waiting, values)", "return derived ? []"]],
    caughtBy: tests("unique"),
  },
  {
    name: "a deleted row that is referred to by value goes, whoever knew of the reference",
    edits: [
      [
        "const dead = [...this.rows.concrete(state.table, cells).dead, ...byValue.map((target) => ({ state: target, ref: null }))];",
        "const { dead } = this.rows.concrete(state.table, cells);",
      ],
    ],
    caughtBy: tests("foreign-keys"),
  },
  {
    name: "a row without a key refers to a kept row, and that goes all the same",
    edits: [["noteReferred: (state, values) => this.noteReferred(state, values)", "noteReferred: () => undefined"]],
    caughtBy: tests("foreign-keys"),
  },
  {
    name: "a trigger runs that needs what only the application has",
    edits: [["for (const trigger of unrunnable(db, tables, ours, suspended, virtual)) suspended.add(trigger);", ""]],
    caughtBy: tests("every-schema"),
  },
  {
    name: "triggers that a person decided about do as they seem to",
    edits: [["triggersToSuspend(this.db, tables, this.options.triggers)", "triggersToSuspend(this.db, tables)"]],
    caughtBy: tests("every-schema"),
  },
  {
    name: "triggers that write what is captured run where it is applied, too",
    edits: [["writtenTables(body).every(harmless);", "true;"]],
    caughtBy: tests("every-schema"),
  },
  {
    name: "a reference to a UNIQUE value stays behind when somebody else changes the value",
    edits: [["const touched = table.dependants.filter(", "const touched = [].filter("]],
    caughtBy: tests("foreign-keys"),
  },
  {
    name: "what is applied is captured as if it were written here",
    edits: [['"(SELECT 1 FROM _scoutsync_applying) IS NULL"', '"1"']],
    caughtBy: tests("rules-exchange"),
  },
  {
    name: "a table rebuilt by a migration is not compared with what is known",
    edits: [["if (shape) this.reconciliation.begin(", "if (!shape) this.reconciliation.begin("]],
    caughtBy: tests("migrations"),
  },
  {
    name: "keys that ignore case are told apart by it",
    edits: [['if (column.collation === "NOCASE") return', 'if (column.collation === "none") return']],
    caughtBy: tests("values"),
  },
  {
    name: "a delete of most of a table at once is an ordinary delete",
    edits: [["count.deleted >= rows && count.deleted > count.live * share", "count.deleted < 0"]],
    caughtBy: tests("quarantine"),
  },
  {
    name: "a restart in the middle of a mass delete lets the rest of it go",
    edits: [["FROM _scoutsync_quarantine WHERE draining = 1", "FROM _scoutsync_quarantine WHERE draining = 9"]],
    caughtBy: tests("quarantine"),
  },
  {
    name: "a mass delete that is let go takes what others wrote since with it",
    edits: [
      [
        "Buffer.compare(state.hash, hash) !== 0;\n  }\n\n  /** Puts a row into",
        "Buffer.compare(state.hash, hash) > 9;\n  }\n\n  /** Puts a row into",
      ],
    ],
    caughtBy: tests("quarantine"),
  },
  {
    name: "edits of others to a row whose delete is kept back are lost",
    edits: [["if (changes === 0) this.keptBack?.update(key, indexes, values, raw);", "void changes;"]],
    caughtBy: tests("quarantine"),
  },
  {
    name: "a row that is inserted again under a kept-back key counts as written whole",
    edits: [["if (alive && comeBack()) continue;", "if (alive && comeBack()) written = written.map(() => true);"]],
    caughtBy: tests("quarantine"),
  },
  {
    name: "a captured write to a row that is not compared yet hides what nobody captured",
    edits: [["return written.map((was, i) => was || doubts.written[i] === true);", "return written;"]],
    caughtBy: tests("migration-turns"),
  },
  {
    name: "where capture never stopped, a row that is not compared yet counts as written in every column",
    edits: [["(isOld(name) ? comparison.blind : differs(", "(isOld(name) ? true : differs("]],
    caughtBy: tests("migration-turns"),
  },
  {
    name: "a database is served while a migrated table is only partly compared",
    edits: [["      !this.reconciliation.isOpen &&\n", ""]],
    caughtBy: tests("migration-turns"),
  },
  {
    name: "a crash ends the comparison of a migrated table",
    edits: [["this.open = new Map(stored.map(", "this.open = new Map(stored.slice(99).map("]],
    caughtBy: tests("migration-turns"),
  },
  {
    name: "64-bit integers pass through a double",
    edits: [
      ["this.buffer.writeBigInt64BE(value, this.length + 1)", "this.buffer.writeBigInt64BE(BigInt(Number(value)) - 1n, this.length + 1)"],
    ],
    caughtBy: tests("values"),
  },
  {
    name: "the write that arrives last wins",
    edits: [["if (best && compareWrites(write, best, causality) > 0) best = write;", "best = write;"]],
    caughtBy: tests("rules-merge"),
  },
  {
    name: "a write that lost against a concurrent one is forgotten",
    edits: [
      [
        "register.filter((held) => !replaces(write, held, causality));",
        "register.filter((held) => !replaces(write, held, causality) && compareWrites(held, write, causality) > 0);",
      ],
    ],
    caughtBy: tests("rules-merge"),
  },
  {
    name: "the context of a write leaves out what it replaced",
    edits: [["return joined ? knowledge.contextOf(joined) : base;", "return base;"]],
    caughtBy: { seeds: [1, 60], options: { replicas: 4 } },
  },
  {
    name: "the write that settles a conflict does not carry the record",
    edits: [
      [
        "of lostWrites(state, cid, writes, knowledge)) {\n    // Under",
        "of lostWrites(state, cid, writes, knowledge).slice(writes.length)) {\n    // Under",
      ],
    ],
    caughtBy: tests("rules-merge"),
  },
  {
    name: "deletes do not travel",
    edits: [["state.deletes.filter((write) => !covered(write.origin, write.sequence))", "state.deletes.filter(() => false)"]],
    caughtBy: tests("rules-merge"),
  },
  {
    name: "a delete beats every later edit",
    edits: [["  if (beats(state.birth)) return true;\n", "  if (deleted) return false;\n"]],
    caughtBy: tests("rules-merge"),
  },
  {
    name: "a parent that a concurrent child refers to goes all the same",
    edits: [["if (!state.kept && !this.isApart(state, parent, ref)) continue;", "continue;"]],
    caughtBy: tests("rules-merge"),
  },
  {
    name: "text that is not valid UTF-8 is sent as the string it is read as",
    edits: [["if (plain && !(table.utf8 && mayHoldRawText(row))) {", "if (plain) {"]],
    caughtBy: tests("values"),
  },
  {
    name: "the first mention of a row leaves out writes that lost",
    edits: [
      [
        "writes.filter((write) => !covered(write.origin, write.sequence) && !byBirth(write))",
        "writes.filter((write) => write.value === undefined && !covered(write.origin, write.sequence) && !byBirth(write))",
      ],
    ],
    caughtBy: tests("rules-merge"),
  },
  {
    name: "the vector moves with every batch, not at the end of a stream",
    edits: [["else this.savePosition(batch.run, join(this.position(batch.run), batch.to));", "else this.knowledge.join(batch.to);"]],
    caughtBy: tests("rules-exchange"),
  },
  {
    name: "a batch is taken whatever range it starts from",
    edits: [["if (!isCovered(batch.from, known)) {", "if (known === null) {"]],
    caughtBy: tests("rules-exchange"),
  },
  {
    name: "a position is taken for that of any run",
    edits: [['"SELECT vector FROM _scoutsync_position WHERE run = ?"', '"SELECT vector FROM _scoutsync_position WHERE run = ? OR 1"']],
    caughtBy: tests("rules-exchange"),
  },
  {
    name: "a batch ends in the middle of a transaction",
    edits: [
      [
        "request.whole && at < goal ? this.groups.endAfter(origin, at) : null",
        "request.whole && at > goal ? this.groups.endAfter(origin, at) : null",
      ],
    ],
    caughtBy: tests("groups"),
  },
  {
    name: "what a relay passes on is cut anywhere",
    edits: [["this.groups.learn(batch.groups ?? []);", "this.groups.learn([]);"]],
    caughtBy: tests("groups"),
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
    name: "a batch's SHA-256 is not looked at",
    edits: [["if (Buffer.compare(sum, batch.sha256) !== 0) throw", "if (sum === null) throw"]],
    caughtBy: tests("poison"),
  },
  {
    name: "others may claim changes of this run",
    edits: [["if (this.knowledge.isSelf(origin) && !this.knowledge.covers(origin, sequence)) throw new NeverMade();", ""]],
    caughtBy: tests("snapshot"),
  },
  {
    name: "a re-key decision that arrives later counts, not the greatest",
    edits: [
      [
        "compareDots(fact, held, knowledge);\n    if (order <= 0) return false;",
        "compareDots(fact, held, knowledge);\n    if (order === 0) return false;",
      ],
    ],
    caughtBy: tests("rules-identity"),
  },
  {
    name: "the row that arrived last gets another integer, not the one born last",
    edits: [["holder && this.related.compareBirths(holder, waiting) > 0 ? holder : waiting", "waiting"]],
    caughtBy: tests("rules-identity"),
  },
  {
    name: "a contested UNIQUE value stays with who came first",
    edits: [["holders.some((holder) => this.related.compareBirths(holder, waiting) < 0)", "holders.length > 0"]],
    caughtBy: { seeds: [1, 40] },
  },
  {
    name: "rows are placed by REPLACE",
    edits: [['raw: readonly number[], otherwise = "ABORT")', 'raw: readonly number[], otherwise = "REPLACE")']],
    caughtBy: { seeds: [1, 40] },
  },
  {
    name: "foreign key actions run on apply",
    edits: [['db.pragma("foreign_keys = OFF");', 'db.pragma("foreign_keys = ON");']],
    caughtBy: { seeds: [1, 40] },
  },
  {
    name: "an origin is read back from the file and continued",
    edits: [
      [
        "this.self = this.origin(drawOrigin(this.random(ORIGIN_BYTES)), this.author);",
        "this.self = [...this.vectorEntries.keys()].at(-1) ?? this.origin(drawOrigin(this.random(ORIGIN_BYTES)), this.author);",
      ],
    ],
    caughtBy: tests("rules-identity"),
  },
  {
    name: "row hashes are combined by XOR",
    edits: [
      [
        "lanes[lane] = (lanes[lane] as number) + sign * ((hash[byte] as number) * 0x100_0000 + low);",
        "lanes[lane] = ((lanes[lane] as number) ^ ((hash[byte] as number) * 0x100_0000 + low)) >>> 0;",
      ],
      ["(before?.sum ?? 0n) + difference);", "(before?.sum ?? 0n) ^ difference);"],
      ["this.total = BigInt.asUintN(128, this.total + difference);", "this.total = BigInt.asUintN(128, this.total ^ difference);"],
    ],
    caughtBy: tests("digest-sums"),
  },
  {
    name: "new rows are taken for one after the other where a change of another table came between",
    edits: [["        sequence === (waiting[at - 4] as number) + 1 &&\n", ""]],
    caughtBy: tests("queued-rows"),
  },
  {
    name: "the application's own triggers run again on apply",
    edits: [["return /\\bRAISE\\s*\\(/i.test(body) || !writtenTables(body).every(harmless);", 'return body === "";']],
    caughtBy: tests("migrations"),
  },
  {
    name: "clock: what a wrong clock stamped stays as it is though nobody has seen it",
    edits: [["if (after < to && Math.abs(shiftUs) > TOLERANCE_US)", "if (after > to && Math.abs(shiftUs) > TOLERANCE_US)"]],
    caughtBy: tests("rules-time"),
  },
  {
    name: "clock: what somebody has seen is stamped again",
    edits: [["const after = Math.max(stretch.after, this.shared);", "const { after } = stretch;"]],
    caughtBy: tests("rules-time"),
  },
  {
    name: "clock: a correction is applied twice",
    edits: [["this.stretches = [{ after: this.stretches[0]?.after ?? 0, correctionUs, stepsUs: 0, compared: true }];", ""]],
    caughtBy: tests("rules-time"),
  },
  {
    name: "clock: a correction outlives the clock that it was for",
    edits: [["this.correctionUs = 0;\n    this.stretches.push(", "this.stretches.push("]],
    caughtBy: tests("rules-time"),
  },
  {
    name: "clock: a write that is stamped again goes before one that it knew",
    edits: [["Math.max(shifted(time), floor + 1)", "shifted(time)"]],
    caughtBy: tests("rules-time"),
  },
  {
    name: "clock: one clock that is behind decides for all",
    edits: [["offsets[Math.floor((offsets.length - 1) / 2)]", "offsets[0]"]],
    caughtBy: "services/sync-node/test/clock.test.ts",
  },
  {
    name: "identity: a database file that was replaced is written to all the same",
    edits: [
      ['      this.file.checkFiles();\n      this.db.exec("BEGIN IMMEDIATE");', '      this.db.exec("BEGIN IMMEDIATE");'],
      ["    this.file.check();\n    while (!this.drainTurn())", "    while (!this.drainTurn())"],
      ["    // What went to a file that no path leads to is not durable, whatever SQLite says.\n    this.file.checkFiles();\n", ""],
    ],
    caughtBy: tests("replaced"),
  },
  {
    name: "identity: a restore into the file is not noticed",
    edits: [["if (this.readMark() === this.mark) return;", "if (this.readMark() !== null) return;"]],
    caughtBy: tests("replaced"),
  },
  {
    name: "identity: a node that stops removes whatever lock is there",
    edits: [["if (mine !== null && fileId(lockPath(path)) === mine) rmSync", "rmSync"]],
    caughtBy: tests("replaced"),
  },
  {
    name: "identity: a restored replica serves at once",
    edits: [
      [
        '    if (this.problem === "") return;\n    throw new SyncError({\n      code: "RESTORED",',
        '    if (this.problem !== "never") return;\n    throw new SyncError({\n      code: "RESTORED",',
      ],
    ],
    caughtBy: tests("restored"),
  },
  {
    name: "identity: nobody notices that others have more of a database's own changes",
    edits: [["if (oid !== undefined && !this.knowledge.covers(oid, sequence) && this.knowledge.isOwn(oid)) return true;", ""]],
    caughtBy: tests("restored"),
  },
  {
    name: "copies joined as shared: values that differ are taken for the same",
    edits: [
      [
        "isTwin && state.table.indexOf.has(cid) && !state.columns.has(cid) && sameValue(current(cid), value)",
        "isTwin && state.table.indexOf.has(cid)",
      ],
    ],
    caughtBy: tests("joining"),
  },
  {
    name: "copies joined as shared: rows without a key that came before keep the name of their copy",
    edits: [["this.rows.keyCells(state).map((cell) => shared.nameOfKeyless(cell)),", "this.rows.keyCells(state),"]],
    caughtBy: tests("joining-keyless"),
  },
  {
    name: "rows without a key are named by their place among all rows of a file",
    edits: [["copy = last?.equals(hash) ? copy + 1 : 1;", "copy += 1;"]],
    caughtBy: tests("joining-keyless"),
  },
  {
    name: "copies joined as shared: a birth without a column counts as having written NULL there",
    edits: [["if (isNamedByBirth(state.table) && state.twins.length === 0) return none;", "if (isNamedByBirth(state.table)) return none;"]],
    caughtBy: tests("joining-keyless"),
  },
  {
    name: "rows without a key are one with equal ones of every file",
    edits: [['[Buffer.concat([name, Buffer.from(origin, "latin1")])]', "[Buffer.concat([name, Buffer.alloc(origin.length - 16)])]"]],
    caughtBy: tests("joining-keyless"),
  },
  {
    name: "copies joined as shared: keys made of references keep their old names",
    edits: [
      [
        "if (state.key) state.key = packKey(state.table.key, this.cells(",
        "if (state.key) state.key = packKey(state.table.key, ((x) => x)(",
      ],
    ],
    caughtBy: tests("joining"),
  },
  {
    name: "copies joined as shared: a row under another integer is not looked for",
    edits: [["if (identity !== birth && this.rows.hasAlias(identity.origin, identity.sequence)) return false;", ""]],
    caughtBy: tests("joining"),
  },
  {
    name: "copies that differ are joined though nobody said what they are",
    edits: [['if (choice !== "") return choice;', 'if (choice !== "" || ours === "") return "shared";']],
    caughtBy: tests("joining"),
  },
  {
    name: "a dry run tells the peer what to note",
    edits: [['peer.getChanges({ ...request, baseline: "" }, stop)', "peer.getChanges(request, stop)"]],
    caughtBy: "packages/session/test/joining.test.ts",
  },
  {
    name: "rows that look like copies are joined as distinct without a word",
    edits: [['if (choice === "distinct" && equal * 2 > smaller)', 'if (choice === "distinct" && equal > smaller * 2)']],
    caughtBy: "packages/session/test/joining.test.ts",
  },
  {
    name: "a kept row does not keep what it refers to",
    edits: [
      ["if (!state.kept && !this.isApart(state, parent, ref)) continue;", "if (!this.isApart(state, parent, ref)) continue;"],
      [".some((child) => child.kept || this.meansApart(child, state))", ".some((child) => this.meansApart(child, state))"],
    ],
    caughtBy: tests("rules-merge"),
  },
  {
    name: "an edit that is cut off from its row's delete gets no dot",
    edits: [
      [
        "else if (alive && state && written.includes(true) && !hasCombiningRule(table)) {",
        "else if (alive && state && written.length > 9_999) {",
      ],
    ],
    caughtBy: tests("kept-values"),
  },
  {
    name: "what a parked row held is gone when its key is written anew",
    edits: [['if (existing.place.kind !== "table") closeWinners(', 'if (existing.place.kind === "dead") closeWinners(']],
    caughtBy: tests("kept-values"),
  },
  {
    name: "what a deleted row held unseen is gone when its key is written anew",
    edits: [["if (winner && deletes.every((deleted) => concurrent(winner, deleted, knowledge)))", "if (winner && deletes.length === 0)"]],
    caughtBy: tests("kept-values"),
  },
  {
    name: "a row that was displaced is followed only where its insert was drained with it",
    edits: [
      [
        "if (displaced) die(displaced.image, displaced.wall);",
        "if (displaced && (alive || born !== null)) die(displaced.image, displaced.wall);",
      ],
    ],
    caughtBy: tests("kept-values"),
  },
  {
    name: "rows of a table that is not here are not put in when it comes",
    edits: [["this.due = [...this.store.tables, ...this.renamed()].some(", "this.due = this.renamed().some("]],
    caughtBy: tests("schema-held"),
  },
  {
    name: "a held value is not passed on",
    edits: [["!state.table.indexOf.has(cid) && writes.some(", "state.table.indexOf.has(cid) && writes.some("]],
    caughtBy: tests("schema-held"),
  },
  {
    name: "an application that replaces a row clears columns it does not have",
    edits: [
      [
        "for (const { cid } of state.table.columns) {\n    const before = registerOf(state, cid);",
        "for (const cid of [...state.table.columns.map((column) => column.cid), ...state.columns.keys()]) {\n    const before = registerOf(state, cid);",
      ],
    ],
    caughtBy: tests("rolling"),
  },
  {
    name: "what a migration writes knows what was held",
    edits: [
      [
        "const unseen = new Set(this.rows.columnsToFill(state));\n    if (unseen.size > 0) {",
        "const unseen = new Set<number>();\n    if (unseen.size > 0) {",
      ],
    ],
    caughtBy: tests("rolling"),
  },
  {
    name: "held values overwrite what a migration has written",
    edits: [["heldForTable(state, this.knowledge, isUnwritten)", "heldForTable(state, this.knowledge)"]],
    caughtBy: tests("schema-held"),
  },
  {
    name: "a birth that has not written a column counts as its writer",
    edits: [["...here.filter(({ cid }) => !unwritten.has(cid))", "...here"]],
    caughtBy: tests("rolling"),
  },
  {
    name: "digests of different schemas are compared",
    edits: [["return isComparable(batch.schema, this.reader.schemaPrint());", "return true;"]],
    caughtBy: tests("schema-held"),
  },
  {
    name: "a table that comes back without its rows deletes them everywhere",
    edits: [["if (!table.keyless) forgetMissing(this.db, this.rows, table);", ""]],
    caughtBy: tests("schema-held"),
  },
  {
    name: "a table that is taken in again takes its old rows for new ones",
    edits: [["const renewed = rejoinTable(", "const renewed = ((..._: unknown[]) => [] as ReturnType<typeof rejoinTable>)("]],
    caughtBy: tests("schema-held"),
  },
  {
    name: "triggers name a column that goes",
    edits: [
      ["columns.map((column) => `, (SELECT ${row}.${quote(column.name)})`)", "columns.map((column) => `, ${row}.${quote(column.name)}`)"],
    ],
    caughtBy: tests("migrations"),
  },
  {
    name: "ended: of what is held beyond the vector only the first part is sent",
    edits: [["final = beyondTo === null;", "final = true;"]],
    caughtBy: tests("reissue"),
  },
  {
    name: "ended: a write that was issued again does not know itself by its first name",
    edits: [["if (source === named && sequence <= later.sequence) return true;", ""]],
    caughtBy: tests("reissue"),
  },
  {
    name: "ended: who knew a write by its first name does not know it by the other",
    edits: [["named !== undefined; named = causality.sourceOf(named)) {", "named !== undefined; named = undefined) {"]],
    caughtBy: tests("reissue"),
  },
  {
    name: "ended: an edit of a write that was issued again does not know its first name",
    edits: [["      raise(source, write.sequence);\n", "      void source;\n"]],
    caughtBy: tests("reissue"),
  },
  {
    name: "ended: a write that is issued again changes its place among concurrent ones",
    edits: [
      [
        "causality.compareOrigins(rootOf(a.origin, causality), rootOf(b.origin, causality))",
        "causality.compareOrigins(a.origin, b.origin)",
      ],
    ],
    caughtBy: tests("reissue"),
  },
  {
    name: "ended: a row that was issued again and comes by its first name is taken for a new one",
    edits: [["return Math.max(owns ?? 0, names ?? 0);", "return owns ?? 0 + 0 * (names ?? 0);"]],
    caughtBy: tests("reissue"),
  },
  {
    name: "an incident is told at every look",
    edits: [
      [
        "this.#mark.run(id, channel, phase, now.toISOString());",
        "this.#mark.run(id, channel, `${phase} ${now.toISOString()}`, now.toISOString());",
      ],
    ],
    caughtBy: "services/coordinator/test/alerts.test.ts",
  },
  {
    name: "an incident is over when nobody looks at it",
    edits: [["const still = byKey.get(key);", "const still = open.server_id === null ? byKey.get(key) : undefined;"]],
    caughtBy: "services/coordinator/test/alerts.test.ts",
  },
  {
    name: "the canary trusts what was captured",
    edits: [["[await ask(table, false), await ask(table, true)]", "[await ask(table, false), await ask(table, false)]"]],
    caughtBy: "services/coordinator/test/canary.test.ts",
  },
  {
    name: "the canary leaves out nodes that it cannot dial",
    edits: [
      [
        "if (node.enabled && node.online && !node.reachable) this.#due.set",
        "if (node.enabled && node.online && node.reachable) this.#due.set",
      ],
    ],
    caughtBy: "services/coordinator/test/canary.test.ts",
  },
  {
    name: "those who watch are not told that a short session is over",
    edits: [['this.#nodes.get(id)?.set("session", JSON.stringify(session));', 'this.#nodes.get(id)?.set("session", "null");']],
    caughtBy: "services/coordinator/test/fleet-changes.test.ts",
  },
  {
    name: "a node that can only dial out is not told to when it holds other files",
    edits: [
      [
        "return apart.find(hasAllFiles) ?? apart[0] ?? null;",
        "return (node.limited ? apart.find(hasAllFiles) ?? apart[0] : undefined) ?? null;",
      ],
    ],
    caughtBy: "services/coordinator/test/real-nodes.test.ts",
  },
  {
    name: "a job cancelled by hand is there again at once",
    edits: [['this.#registry.servers.update(job.serverId, { failures, last_error: "Cancelled by hand" });', ""]],
    caughtBy: "services/coordinator/test/http-api.test.ts",
  },
  {
    name: "what a node holds for others is what it lacks",
    edits: [["const common = intersection(sources);", "const common = union(sources);"]],
    caughtBy: "services/coordinator/test/http-api.test.ts",
  },
  {
    name: "forgetting: a node that is away is not waited for",
    edits: [["if (!this.isStable(dots) || waitedFor.length > 0) {", "if (!this.isStable(dots)) {"]],
    caughtBy: tests("forgetting"),
  },
  {
    name: "forgetting: a tombstone goes before its time",
    edits: [
      [
        "if (state.deletes.some(({ time }) => time > this.youngUs)) {",
        "if (state.deletes.some(({ time }) => time > this.youngUs + 1e18)) {",
      ],
    ],
    caughtBy: tests("forgetting"),
  },
  {
    name: "forgetting: what others have and this replica lacks is not looked at",
    edits: [["return !this.result.alone && this.result.ahead.length === 0 &&", "return !this.result.alone &&"]],
    caughtBy: tests("forgetting"),
  },
  {
    name: "forgetting: a row goes though a deleted one that stays refers to it",
    edits: [["if (this.needed.has(state)) return true;", ""]],
    caughtBy: tests("forgetting"),
  },
  {
    name: "forgetting: who lacks what was forgotten goes on from its vector",
    edits: [
      ["if (!isCovered(floor, vector) && !this.isFilling(batch, floor, vector)) {", 'if (batch.run === "" && !isCovered(floor, vector)) {'],
    ],
    caughtBy: tests("forgetting"),
  },
  {
    name: "forgetting: a sender that lacks what was forgotten here is believed",
    edits: [
      ["if (batch.final && !isCovered(this.vector, batch.vector) &&", 'if (batch.run === "" && !isCovered(this.vector, batch.vector) &&'],
    ],
    caughtBy: tests("forgetting"),
  },
  {
    name: "forgetting: an old batch brings a forgotten row back",
    edits: [["return this.rejoining || this.holdsNews(row) ||", "return row.birth !== null || this.rejoining || this.holdsNews(row) ||"]],
    caughtBy: tests("forgetting"),
  },
  {
    name: "forgetting: of a row that comes back only what is new is sent",
    edits: [["const covered: Covered = this.isWhole(state) ? () => false : this.covered;", "const covered: Covered = this.covered;"]],
    caughtBy: tests("forgetting"),
  },
  {
    name: "forgetting: a key used again stays deleted where the clock was behind",
    edits: [["if (knew(state.birth, deleted.origin, deleted.sequence, knowledge)) return true;", ""]],
    caughtBy: tests("forgetting"),
  },
  {
    name: "joining again: rows that were edited here go with those that were deleted elsewhere",
    edits: [["if (this.entityHasNews(state)) reborn.push(state);", "if (this.entityHasNews(state) && table.keyless) reborn.push(state);"]],
    caughtBy: tests("forgetting"),
  },
  {
    name: "joining again: what a new row refers to goes",
    edits: [
      ["const isNeeded = this.placement.related.referrers(state).some(", "const isNeeded = this.placement.related.referrers(state).every("],
    ],
    caughtBy: tests("forgetting"),
  },
  {
    name: "joining again: what was deleted elsewhere stays",
    edits: [["return { reborn, gone: [...open.values()] };", "return { reborn, gone: [] };"]],
    caughtBy: tests("forgetting"),
  },
  {
    name: "joining again: a comparison that was cut is taken for whole",
    edits: [
      [
        "if (this.active && this.run === batch.run && isCovered(floor, this.floor)) return;",
        "if (this.run === batch.run) return this.active ? undefined : this.begin();",
      ],
    ],
    caughtBy: tests("forgetting"),
  },
  {
    name: "joining again: rows of a table that the peer has dropped are taken for deleted",
    edits: [["if (!this.prints.has(tablePrint(state.table))) throw notTheSameTable(state.table);", ""]],
    caughtBy: tests("forgetting"),
  },
  {
    name: "nobody is behind for its files",
    edits: [
      [
        "if (!node.limited) return lacks(node, all) || node.files.some(({ root }) => apart.has(root)) || wantsFiles(node, nodes);",
        "if (!node.limited) return lacks(node, all) && apart.size >= 0;",
      ],
    ],
    caughtBy: "services/coordinator/test/real-nodes.test.ts",
  },
  {
    name: "a node that was heard and could not be dialled is never dialled again",
    edits: [["return !reachable && Date.now() - triedMs > afterMs;", "return !reachable && triedMs < 0 && afterMs > 0;"]],
    caughtBy: "services/coordinator/test/fleet.test.ts",
  },
  {
    name: "the coordinator trusts its memory when another process has written",
    edits: [["this.#cached === null || this.#cached.outside !== outside", "this.#cached === null || this.#cached.outside > outside"]],
    caughtBy: "services/coordinator/test/registry.test.ts",
  },
  {
    name: "the coordinator remembers what was rolled back",
    edits: [["const undone = () => servers.reread();", "const undone = () => void servers.list();"]],
    caughtBy: "services/coordinator/test/registry.test.ts",
  },
  {
    name: "what was undone in a shared commit counts as done",
    edits: [["for (const waiting of good) waiting.done();", "for (const waiting of group) waiting.done();"]],
    caughtBy: "services/coordinator/test/registry.test.ts",
  },
  {
    name: "a restored database is nobody that lacks anything",
    edits: [["if (isRestored !== 0) restored.set(name, vector);", 'if (isRestored !== 0 && problem === "") restored.set(name, vector);']],
    caughtBy: "services/coordinator/test/leases.test.ts",
  },
  {
    name: "a restored database is a source like any other",
    edits: [["if (isRestored !== 0) restored.set(name, vector);", "if (isRestored !== 0) vectors.set(name, vector);"]],
    caughtBy: "services/coordinator/test/leases.test.ts",
  },
  {
    name: "one row that is kept out explains whatever differs",
    edits: [["if (!(await isExplained(difference))) return 0;", "await isExplained(difference);"]],
    caughtBy: "packages/session/test/session.test.ts",
  },
  {
    name: "a node whose worker was killed gets its next session by chance",
    edits: [["(this.#kept.has(serverId) ? 0 : this.#countKept())", "0"]],
    caughtBy: "services/coordinator/test/session-places.test.ts",
  },
  {
    name: "a session that never ends gives way to nobody",
    edits: [["const over = leases.filter((lease) => ran(lease) >= 1)", "const over = leases.filter((lease) => ran(lease) >= TURNS_ALONE)"]],
    caughtBy: "services/coordinator/test/pacing.test.ts",
  },
  {
    name: "giving way costs an attempt although something came",
    edits: [
      ["if (gain(now.node, began.source) < missing ||", "if (gain(now.node, began.source) < 0 ||"],
      ["return done > 1n && done <=", "return done > 1n && done < 0n && done <="],
    ],
    caughtBy: "services/coordinator/test/pacing.test.ts",
  },
  {
    name: "jobs that do not parse hold up their nodes",
    edits: [["      await queue()?.mend();\n", ""]],
    caughtBy: "services/coordinator/test/hostile-node.test.ts",
  },
  {
    name: "a live link calls rows that are kept out diverged",
    edits: [["if (rows > 0) return context.logger.info({ ...about, rows }", "if (rows < 0) return context.logger.info({ ...about, rows }"]],
    caughtBy: "services/sync-node/test/live.test.ts",
  },
  {
    name: "a file root whose digest is that of others lacks nothing",
    edits: [["(there.digest !== digest || pending > 0)", "there.digest !== digest"]],
    caughtBy: "services/coordinator/test/leases.test.ts",
  },
  {
    name: "a session that was reported twice counts twice",
    edits: [["if (leases.get(lease_id) === null) return false;", 'if (lease_id === "") return false;']],
    caughtBy: "services/coordinator/test/leases.test.ts",
  },
  {
    name: "those who watch are not told of a node that changed",
    edits: [
      ["filter(([field, text]) => told.get(field) !== text)", 'filter(([field, text]) => told.get(field) !== text && field !== "session")'],
    ],
    caughtBy: "services/coordinator/test/fleet-changes.test.ts",
  },
  {
    name: "nobody gives way to rows that refer to each other",
    edits: [["if (holders.length === 0) return [];", "return [];"]],
    caughtBy: "packages/replica/test/circles.test.ts",
  },
  {
    name: "rows that came and went between two drains are not there for what referred to them",
    edits: [["bore: this.bearGone(table, events)", "bore: false"]],
    caughtBy: tests("short-lived-rows"),
  },
  {
    name: "a row that goes after what it refers to was replaced does not say so",
    edits: [["written = this.takenOver.withReferences(state, image, written);", ""]],
    caughtBy: tests("short-lived-rows"),
  },
  {
    name: "move: of a key that names one row twice one place follows it",
    edits: [["        row.cids.push(column.cid);", "        if (row.cids.length === 0) row.cids.push(column.cid);"]],
    caughtBy: tests("foreign-keys"),
  },
  {
    name: "linked: the integer of a row that came deleted is given out again",
    edits: [
      [
        "if (id <= 0n || id === GREATEST || !this.isNumbered(table)) return;",
        "if (id <= 0n || id === GREATEST || this.isNumbered(table)) return;",
      ],
    ],
    caughtBy: tests("linked"),
  },
  {
    name: "linked: who refers to a row of another database does not follow it",
    edits: [
      ["for (const dependent of locked) dependent.followLinked();", ""],
      ["    this.followLinked();\n    const drained", "    const drained"],
    ],
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
    name: "linked: a row that is not known yet is shown under the integer that its author saw",
    edits: [
      [
        "return { id: this.unused(target, ref), ref, state: OPEN };\n    const holder",
        "return { id: BigInt(ref.sequence), ref, state: OPEN };\n    const holder",
      ],
    ],
    caughtBy: tests("linked"),
  },
  {
    name: "linked: sums of rows hold the integers of other databases",
    edits: [["if (table.linked.length === 0) return rowHash(table, id, values);", "return rowHash(table, id, values);"]],
    caughtBy: tests("linked"),
  },
];

import { type Fault, replicaTest as tests } from "./fault.ts";

/** Rules by which the rows of others are taken in, broken. */
export const APPLY_FAULTS: Fault[] = [
  {
    name: "a value that lost in a column which is renamed then is shown to nobody",
    edits: [["for (const review of goneColumnReviews(audited)) take(review);", ""]],
    caughtBy: tests("dropped-column"),
  },
  {
    name: "a sensitive value is shown under the name that its column had",
    edits: [[" && this.#isGone(table, column)", " && false"]],
    caughtBy: tests("dropped-column"),
  },
  {
    name: "what was written past capture is written over unseen",
    edits: [["if (values) stood = this.placement.pastCapture.standing(state, values);", ""]],
    caughtBy: tests("went-past-capture"),
  },
  {
    name: "what was written past capture and is not written over yet is forgotten",
    edits: [["return this.found.has(nameOf(state));", "return this.found.delete(nameOf(state));"]],
    caughtBy: tests("went-past-capture"),
  },
  {
    name: "what was written past capture is written over unseen once what comes over it was rolled back",
    edits: [["this.placement.pastCapture.drop();", ""]],
    caughtBy: tests("went-past-capture"),
  },
  {
    name: "what was written past capture is lost where the table shows another row's value over it",
    edits: [["if (stood) this.pastCapture.keep(state, stood, { changed, cells: shown });", ""]],
    caughtBy: tests("went-past-capture"),
  },
  {
    name: "what triggers write on each node counts as written past capture",
    edits: [["this.placement.pastCapture.isOrdinary = this.writesUnseen(tables);", ""]],
    caughtBy: tests("went-past-capture"),
  },
  {
    name: "a kept row goes while the rows that refer to it are not known",
    edits: [["    if (this.isComparing()) return;\n", ""]],
    caughtBy: tests("migration-deletes"),
  },
  {
    name: "a row that its parent woke while it was being placed stays as it was stored",
    edits: [["return this.showWoken(state, woken, { cells, shown, before });", "return true;"]],
    caughtBy: tests("woken"),
  },
  {
    name: "two rows under one dot share a place in the log",
    edits: [["    if (this.repairing) this.contested.yieldTo(row);\n", ""]],
    caughtBy: tests("snapshot"),
  },
  {
    name: "a reference by configuration keeps a deleted row",
    edits: [["this.referring(parent, true) : []", "this.referring(parent) : []"]],
    caughtBy: tests("soft-references"),
  },
  {
    name: "a deleted row that stays is written as if what it refers to were there",
    edits: [['if (stray || missing) return this.placement.evict(state, cells, stray ?? "parent", missing, before);', ""]],
    caughtBy: tests("circles"),
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
    edits: [
      [
        "return left.some(({ parent, id }) => !this.related.hadLast(parent, id));",
        "return left.some(({ parent, id }) => this.rows.byId(parent.table, id) === null && !this.related.hadLast(parent, id));",
      ],
    ],
    caughtBy: tests("left-behind"),
  },
  {
    name: "of deleted rows that had one integer a row that comes means the last",
    edits: [["return left.some(({ parent, id }) => !this.related.hadLast(parent, id));", "return taken.length > 0;"]],
    caughtBy: tests("left-behind"),
  },
  {
    name: "what a deleted row left behind comes to mean a later deleted one that had its integer",
    edits: [["    if (last && wanted !== null) this.said.sayLast(state.table, wanted, last);\n", ""]],
    caughtBy: tests("left-behind"),
  },
  {
    name: "whoever took over from a later deleted row gets the integer that another's rows show",
    edits: [["this.rows.byIdentity(table, said.origin, said.sequence) : last;", "last : last;"]],
    caughtBy: tests("left-behind"),
  },
  {
    name: "what was left behind comes to mean a row whose author knew that the one it means was deleted",
    edits: [["if (id !== null) this.leftBehind.say(state, id);", ""]],
    caughtBy: tests("bare-references"),
  },
  {
    name: "a deleted row is kept for what its own node makes refer to it on others only",
    edits: [["this.placement.kept.keepReferred(leftBehind);", ""]],
    caughtBy: tests("bare-references"),
  },
  {
    name: "a deleted row is kept for what was written blindly on others only",
    edits: [["const isAny = isBlind || (this.holdsUnknown", "const isAny = (this.holdsUnknown"]],
    caughtBy: tests("migration-deletes"),
  },
  {
    name: "a deleted row is kept for what was written under a former integer on others only",
    edits: [["this.isBlind = true;", ""]],
    caughtBy: tests("former-ids"),
  },
  {
    name: "a row that is deleted already goes on as before where somebody else deleted it, too",
    edits: [["this.kept.cameDead(state, wasDead)", "this.kept.cameDead(state, false)"]],
    caughtBy: tests("bare-references"),
  },
  {
    name: "a deleted row that is kept is compared without what keeps it",
    edits: [["for (const child of this.keeping(state)) writer.mention(child);", "continue;"]],
    caughtBy: tests("foreign-keys"),
  },
  {
    name: "an integer of nobody stays one though its author has come to name a row by it",
    edits: [['if (value instanceof Ref && state.place.kind === "table") {', "if (state.partial) {"]],
    caughtBy: tests("foreign-keys"),
  },
  {
    name: "a row goes on showing what it did before a foreign key was declared, whomever it names",
    edits: [["if (this.repairing && [...state.own.values()].some((said) => said instanceof Ref)) moved = true;", ""]],
    caughtBy: tests("foreign-keys"),
  },
  {
    name: "a row gives way to one that refers to it",
    edits: [["if (this.related.leansOn(waiting, holders)) return false;", ""]],
    caughtBy: tests("circles"),
  },
  {
    name: "rows that name each other by columns which are no foreign keys here wait for each other for good",
    edits: [["const strays = this.rows.waiting({ like: STRAY });", "const strays: RowState[] = [];"]],
    caughtBy: tests("foreign-keys"),
  },
  {
    name: "who holds the value of a UNIQUE expression is not asked",
    edits: [["return derived ? this.displacedHolders(waiting, values, at)", "return derived ? []"]],
    caughtBy: tests("unique"),
  },
  {
    name: "a deleted row that is referred to by value goes, whoever knew of the reference",
    edits: [
      [
        "return [...this.rows.references.concrete(state.table, cells).dead, ...byValue.map((target) => ({ state: target, ref: null }))];",
        "return this.rows.references.concrete(state.table, cells).dead;",
      ],
    ],
    caughtBy: tests("foreign-keys"),
  },
  {
    name: "a reference to a UNIQUE value stays behind when somebody else changes the value",
    edits: [["const touched = table.dependants.filter(", "const touched = [].filter("]],
    caughtBy: tests("foreign-keys"),
  },
  {
    name: "a parent that a concurrent child refers to goes all the same",
    edits: [["if (!state.kept && !this.isApart(state, parent, ref)) continue;", "continue;"]],
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
    name: "what a relay passes on is cut anywhere",
    edits: [["this.groups.learn(batch.groups ?? []);", "this.groups.learn([]);"]],
    caughtBy: tests("groups"),
  },
  {
    name: "a batch's SHA-256 is not looked at",
    edits: [["if (Buffer.compare(sum, batch.sha256) !== 0) throw", "if (sum === null) throw"]],
    caughtBy: tests("poison"),
  },
  {
    name: "others may claim changes of this run",
    edits: [["if (knowledge.isSelf(origin) && !knowledge.covers(origin, sequence)) throw new NeverMade();", ""]],
    caughtBy: tests("snapshot"),
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
    name: "copies joined as shared: rows without a key that came before keep the name of their copy",
    edits: [["this.rows.keys.keyCells(state).map((cell) => shared.nameOfKeyless(cell)),", "this.rows.keys.keyCells(state),"]],
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
    edits: [["if (identity !== birth && this.rows.log.hasAlias(identity.origin, identity.sequence)) return false;", ""]],
    caughtBy: tests("joining"),
  },
  {
    name: "copies that differ are joined though nobody said what they are",
    edits: [['if (choice !== "") return choice;', 'if (choice !== "" || ours === "") return "shared";']],
    caughtBy: tests("joining"),
  },
  {
    name: "a kept row does not keep what it refers to",
    edits: [
      ["if (!state.kept && !this.isApart(state, parent, ref)) continue;", "if (!this.isApart(state, parent, ref)) continue;"],
      [
        "children.some((child) => child.kept || this.meansApart(child, parent))",
        "children.some((child) => this.meansApart(child, parent))",
      ],
    ],
    caughtBy: tests("rules-merge"),
  },
  {
    name: "rows of a table that is not here are not put in when it comes",
    edits: [["this.due = [...this.store.tables, ...this.renamed()].some(", "this.due = this.renamed().some("]],
    caughtBy: tests("schema-held"),
  },
  {
    name: "held values overwrite what a migration has written",
    edits: [
      ["heldForTable(state, this.knowledge, isUnwritten)", "heldForTable(state, this.knowledge)"],
      ["if (bits.every((mask) => mask === 0n)) {", "toFill.push(state.birth);\n    if (bits.every((mask) => mask === 0n)) {"],
    ],
    caughtBy: tests("schema-held"),
  },
  {
    name: "a birth that has not written a column counts as its writer",
    edits: [["...here.filter(({ cid }) => !unwritten.has(cid))", "...here"]],
    caughtBy: tests("rolling"),
  },
  {
    name: "forgetting: an old batch brings a forgotten row back",
    edits: [["this.rejoining || this.holdsNews(row) ||", "return row.birth !== null || this.rejoining || this.holdsNews(row) ||"]],
    caughtBy: tests("forgetting"),
  },
  {
    name: "nobody gives way to rows that refer to each other",
    edits: [["if (holders.length === 0 && rivals.length === 0) return [];", "return [];"]],
    caughtBy: tests("circles"),
  },
  {
    name: "which of rows that are placed together has a UNIQUE value is decided as they come",
    edits: [["if (unique.length < 2) return [];", "return [];"]],
    caughtBy: tests("circles"),
  },
  {
    name: "whom rows that are placed together wake comes before the rest of them",
    edits: [
      ["this.placement.wakeLater(() => {\n      for (const member of members)", "(() => {\n      for (const member of members)"],
      ["      this.evictWithout(members);\n    });", "      this.evictWithout(members);\n    })();"],
    ],
    caughtBy: tests("circles"),
  },
  {
    name: "of a circle it is asked what a row says itself, not what is shown for all that are one with it",
    edits: [
      [
        "this.placement.valuesFor(state, this.placement.entities.shown(state)).missing) continue",
        "this.placement.valuesFor(state, this.rows.cells(state)).missing) continue",
      ],
    ],
    caughtBy: tests("circles"),
  },
  {
    name: "a row that waits and was written elsewhere is not decided about again",
    edits: [["if (wasWaiting) this.decisions.forget();", ""]],
    caughtBy: tests("unique"),
  },
  {
    name: "move: of a key that names one row twice one place follows it",
    edits: [["        row.cids.push(column.cid);", "        if (row.cids.length === 0) row.cids.push(column.cid);"]],
    caughtBy: tests("foreign-keys"),
  },
  {
    name: "a row that was deleted apart from an edit is not compared by its values",
    edits: [["if (isDeleted(incoming, knowledge)) return moved;", "if (incoming.deletes.some(({ alive }) => !alive)) return moved;"]],
    caughtBy: tests("foreign-keys"),
  },
  {
    name: "the key of a row that names a parked one is not noted",
    edits: [[": shown) ?? shown;", ": shown);"]],
    caughtBy: tests("foreign-keys"),
  },
  {
    name: "a row that is one with others means whom it says itself, not whom they show",
    edits: [
      ["? this.members.shown({ members: this.members.entityOf(child) })[child.table.indexOf.get(cid) as number]", "? child.own.get(cid)"],
    ],
    caughtBy: tests("circles"),
  },
];

import { type Fault, replicaTest as tests } from "./fault.ts";

/** Rules that make writes of what was captured, broken. */
export const DRAIN_FAULTS: Fault[] = [
  {
    name: "what was just committed is in the vector only as long as the node runs",
    edits: [["this.knowledge.flush();\n    this.linkedRows.seal();", "this.linkedRows.seal();"]],
    caughtBy: tests("interrupted"),
  },
  {
    name: "what a mass delete emptied in other rows stays empty when it is undone",
    edits: [["for (const say of this.emptying.splice(0)) say();", ""]],
    caughtBy: tests("quarantine-references"),
  },
  {
    name: "undoing a mass delete brings back a reference that somebody had emptied before it",
    edits: [
      ["hash.equals(CONFIRMED) ? this.write(new ByteReader(image), quarantine) : null", "this.write(new ByteReader(image), quarantine)"],
    ],
    caughtBy: tests("quarantine-references"),
  },
  {
    name: "a reference that a mass delete emptied in a row that another one took stays empty when both are undone",
    edits: [["if (!cells) return this.keptBackBy(table, key);", "if (!cells) return null;"]],
    caughtBy: tests("quarantine-references"),
  },
  {
    name: "undoing a mass delete brings back a reference that the application had emptied by the same clock",
    edits: [["event.from = this.goesFrom.get(name) ?? null;", "event.from = 0;"]],
    caughtBy: tests("quarantine-references"),
  },
  {
    name: "undoing a mass delete brings back a reference that somebody has emptied since",
    edits: [["register.find((write) => isDot(write, by))", "register[0]"]],
    caughtBy: tests("quarantine-references"),
  },
  {
    name: "a reference that mass deletes of several nodes emptied stays empty when all are undone",
    edits: [
      [
        "if (!mine || register.length === 1) return mine !== undefined;",
        "if (!mine || register.length >= 1) return register.length === 1;",
      ],
    ],
    caughtBy: tests("quarantine-references"),
  },
  {
    name: "undoing a mass delete settles what another node has emptied meanwhile",
    edits: [["registerOf(state, columnAt(table, index).cid).length === 1))", "columnAt(table, index)))"]],
    caughtBy: tests("quarantine-references"),
  },
  {
    name: "what refers to a row that takes a deleted one's integer is drained before it does",
    edits: [["return went && at < own ? noted.slice(at) : [];", "return went && at < own ? noted.slice(noted.length) : [];"]],
    caughtBy: tests("retaken-keys"),
  },
  {
    name: "an application that has dropped a table counts as one that saw its rows",
    edits: [[" || (missesRows && wentBefore)) return unseeingDelete", ") return unseeingDelete"]],
    caughtBy: tests("out-of-sight"),
  },
  {
    name: "rows that an application leaves behind count as ones that it did not see",
    edits: [[" && !this.unseen.areLeftBy(state, id, image);", ";"]],
    caughtBy: tests("out-of-sight"),
  },
  {
    name: "a row goes in a drain before the new ones are born that it was made to refer to",
    edits: [[": end?.op === Op.delete && !last;", ": false;"]],
    caughtBy: tests("kept-values"),
  },
  {
    name: "a row that goes after an integer was used again is not there for what referred to it before",
    edits: [["if (went && this.row.bearGone(", "if (went && went.n < 0 && this.row.bearGone("]],
    caughtBy: tests("short-lived-rows"),
  },
  {
    name: "a row that is displaced after an integer was used again is not there for what referred to it before",
    edits: [["displacedBy = event.n;", ""]],
    caughtBy: tests("short-lived-rows"),
  },
  {
    name: "rows that came and went in one list, far apart, are kept back as a mass delete",
    edits: [[" || (goes && this.going.delete(name))", ""]],
    caughtBy: tests("short-lived-rows"),
  },
  {
    name: "nobody is told that children refer to the row which took their parent's integer",
    edits: [["&& this.rows.wasUsed(table, id)) this.takenOver.follow(", "&& id < 0n) this.takenOver.follow("]],
    caughtBy: tests("rules-identity"),
  },
  {
    name: "what takes over a deleted row's integer beats what others made of the reference meanwhile",
    edits: [["const time = meant.time + (knowledge.isOwn(meant.origin) ? 1 : 0);", "const time = Date.now() * 2_000;"]],
    caughtBy: tests("bare-references"),
  },
  {
    name: "a delete in mid-stream knows what whoever revived its row knew",
    edits: [["missesRows || this.isNews(row) || (", "missesRows || ("]],
    caughtBy: "packages/replica/test/entity-simulation.test.ts",
  },
  {
    name: "nobody is asked about a new row that refers to an integer which a sync gave to another row",
    edits: [["if (meant) this.notices.refers(", "if (meant && id < 0n) this.notices.refers("]],
    caughtBy: tests("former-ids"),
  },
  {
    name: "a row that a migration hid from the drain is named by its bare integer",
    edits: [["for (const { index, parent } of table.keyReferences) this.bearUncompared(parent, first.key[index], first.wall);", ""]],
    caughtBy: tests("migration-undrained"),
  },
  {
    name: "what one row says is kept as the value of another that it is one with",
    edits: [["own === undefined ? was : own", "own ?? was"]],
    caughtBy: tests("former-ids"),
  },
  {
    name: "an edit under an integer that another row had leaves nowhere what this node typed in a row that it is one with",
    edits: [["if (unseen) this.closeApart(member, unseen, { shown, standing }, row);", ""]],
    caughtBy: tests("former-ids"),
  },
  {
    name: "an edit under an integer that another row had overwrites what that shows of a row that it is one with",
    edits: [["others && held ? this.shownOf(member, held, shown) : null", "null"]],
    caughtBy: tests("former-ids"),
  },
  {
    name: "an edit under an integer that another row had replaces what this node wrote there, shown or not",
    edits: [["lost.time >= givenAt && (!shown || isOneWrite(lost, shown, knowledge))", "lost.time >= givenAt"]],
    caughtBy: tests("former-ids"),
  },
  {
    name: "an edit under an integer that another row had replaces what this node wrote before that",
    edits: [["lost.time >= givenAt && ", ""]],
    caughtBy: tests("former-ids"),
  },
  {
    name: "an edit under an integer that another row had overwrites what its author never saw",
    edits: [
      [
        "      const write = writeUnseen(state, cid, at, this.knowledge, own === undefined ? was : own, showed, givenAt);\n      state.own.delete(cid);\n      if (shown) this.closeKeptBack(state, shown, write, row);\n      return false;",
        "      return true;",
      ],
    ],
    caughtBy: tests("former-ids"),
  },
  {
    name: "an edit of a counter does not say what it found",
    edits: [["if (alive) found ??= event.found;", ""]],
    caughtBy: tests("column-rules"),
  },
  {
    name: "rows without a key that OR REPLACE displaced are not looked for",
    edits: [["for (let left = known - there; left > 0; left--)", "for (let left = 0; left > 0; left--)"]],
    caughtBy: tests("keyless"),
  },
  {
    name: "rows without a key go on meaning the row whose integer another one took",
    edits: [["table.keyless ? (equalRowsOnce(rows, table, values, hashes) ?? []) : [", "table.keyless ? [] : ["]],
    caughtBy: tests("keyless"),
  },
  {
    name: "rows without a key that were written or deleted since go on meaning the row whose integer another one took",
    edits: [["const written = this.takenOver.withReferences(state, image, marked);", "const written = marked;"]],
    caughtBy: tests("keyless"),
  },
  {
    name: "rows without a key go on meaning the row whose integer another one took where a column of theirs was dropped since",
    edits: [["of former && !former.isWhole ? takenOver(rows, table) : []", "of []"]],
    caughtBy: tests("migration-undrained"),
  },
  {
    name: "what was captured of a table that was renamed while the node was down is drained under its new name",
    edits: [["table.name = names.get(table.name) ?? table.name;", "names.delete(table.name);"]],
    caughtBy: tests("migration-undrained"),
  },
  {
    name: "a table that is renamed is looked for under its former name",
    edits: [["this.hasRenamed(tables) || left.length", "left.length"]],
    caughtBy: tests("migration-undrained"),
  },
  {
    name: "drain: a decision about one column of a row without a key writes all of them",
    edits: [["event.slot || -1n", "-1n"]],
    caughtBy: tests("decided-keyless"),
  },
  {
    name: "drain: an event of a decision that was not carried out is taken for half of another one",
    edits: [["event.slot !== 0n && next.rowid !== event.rowid", "false"]],
    caughtBy: tests("decided-keyless"),
  },
  {
    name: "rows without a key that were displaced just before a migration are not looked for",
    edits: [["    this.keyless.displaced(table, displaced.map(keylessEvent));\n", ""]],
    caughtBy: tests("migration-undrained"),
  },
  {
    name: "rows without a key are counted by columns that a migration has dropped",
    edits: [["const left = store.columnsLeft();", "const left = table.columns;"]],
    caughtBy: tests("migration-undrained"),
  },
  {
    name: "text that is not UTF-8 is looked for as bytes, and its row taken for displaced",
    edits: [['IS ${raw.includes(index) ? "CAST(? AS TEXT)" : "?"} COLLATE', "IS ? COLLATE"]],
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
      [
        "const complete = raw.length <= EVENTS_AT_ONCE;\n      const next = complete ? undefined : raw.pop();",
        "const complete = raw.length < EVENTS_AT_ONCE;\n      const next = undefined;",
      ],
    ],
    caughtBy: tests("groups"),
  },
  {
    name: "a part of a drain ends where no transaction did",
    edits: [["this.commits.push(latest)", "this.commits.push(latest - 1)"]],
    caughtBy: tests("groups"),
  },
  {
    name: "commits are not seen by a drain that waits for the lock",
    edits: [["pauseThread(Math.min(left, LOOK_EVERY_MS));\n    look();", "pauseThread(Math.min(left, LOOK_EVERY_MS));"]],
    caughtBy: tests("groups"),
  },
  {
    name: "a look at the database sees no commit",
    edits: [["    this.parts.file.checkMark();\n    this.parts.drainer.see();\n    return true;", "    return true;"]],
    caughtBy: tests("groups"),
  },
  {
    name: "a drain ends a transaction whose rows a later one has written again",
    edits: [["if (last > this.endedTo && last <= this.lookedTo) again = Math.min(again, last);", ""]],
    caughtBy: tests("groups"),
  },
  {
    name: "a drain ends a transaction that refers to a row which a later one has edited",
    edits: [
      ["if (!isNew) for (const { child } of table.referencedBy)", "if (!isNew && last > 0) for (const { child } of table.referencedBy)"],
    ],
    caughtBy: tests("groups"),
  },
  {
    name: "a drain ends a transaction that refers to a row which a later one has written over",
    edits: [["(values[3] as bigint) > highestOf(table)", "(values[3] as bigint) > 0n * highestOf(table)"]],
    caughtBy: tests("groups"),
  },
  {
    name: "a drain ends a transaction though a later one has taken the integer of a row that it deleted",
    edits: [["if (table.surrogate && isInsert && last > 0) return null;", ""]],
    caughtBy: tests("groups"),
  },
  {
    name: "a row without a key refers to a kept row, and that goes all the same",
    edits: [["noteReferred: (state, values) => this.affected.noteReferred(state, values)", "noteReferred: () => undefined"]],
    caughtBy: tests("foreign-keys"),
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
    name: "a row that is displaced and written by the same statement goes without its values",
    edits: [["displaced?.at === event.at && values === null", "values === undefined"]],
    caughtBy: tests("unique"),
  },
  {
    name: "a row that was displaced is followed only where its insert was drained with it",
    edits: [["if (displaced) die(displaced);", "if (displaced && (alive || born !== null)) die(displaced);"]],
    caughtBy: tests("kept-values"),
  },
  {
    name: "what a migration writes knows what was held",
    edits: [["const unseen = new Set(this.rows.columnsToFill(state));", "const unseen = new Set<number>();"]],
    caughtBy: tests("rolling"),
  },
  {
    name: "a counter with another name is what it was, and no addition",
    edits: [["const valued = (edit.former ?? replaced).map", "const valued = replaced.map"]],
    caughtBy: tests("renamed-rules"),
  },
  {
    name: "rows that came and went between two drains are not there for what referred to them",
    edits: [["bore: this.row.bearGone(table, events)", "bore: false"]],
    caughtBy: tests("short-lived-rows"),
  },
  {
    name: "a row that goes after what it refers to was replaced does not say so",
    edits: [["written = this.takenOver.withReferences(state, image, written);", ""]],
    caughtBy: tests("short-lived-rows"),
  },
  {
    name: "drain: a reference that is older than the row it names stays a bare integer",
    edits: [["    this.early.note(state, values, written);\n", ""]],
    caughtBy: tests("early-references"),
  },
  {
    name: "drain: everybody who has a reference that named nobody says whom it means",
    edits: [["    return meant !== undefined && this.knowledge.isOwn(meant.origin);", "    return meant !== undefined;"]],
    caughtBy: tests("early-references"),
  },
  {
    name: "drain: a row that comes back with a reference that named nobody is not looked at",
    edits: [["[rowid] : null);\n    this.early.placed(state, cells);\n", "[rowid] : null);\n"]],
    caughtBy: tests("early-references"),
  },
  {
    name: "drain: whom a reference means is said while a node joins again, and brings back what was deleted",
    edits: [["    const isJoining = this.isJoining();", "    const isJoining = this.isDue === null;"]],
    caughtBy: tests("early-references"),
  },
  {
    name: "drain: the word of whom a reference means beats what others wrote apart",
    edits: [["time: meant.time, context,", "time: meant.time + 1, context,"]],
    caughtBy: tests("early-references"),
  },
  {
    name: "drain: a row whose reference is written anew counts as drained and compared, whatever its application wrote before",
    edits: [["    if (hash && state.hash && !hash.equals(state.hash)) this.rehash(state, hash);\n", ""]],
    caughtBy: tests("retaken-keys"),
  },
  {
    name: "drain: nobody looks again at a row without a key that was not read yet when a row took the integer it holds",
    edits: [["        if (states === null) this.readLater(parent, id);\n", ""]],
    caughtBy: tests("early-references"),
  },
  {
    name: "drain: what comes with the row that it refers to is written twice",
    edits: [["      if (state !== OPEN) taken.set(", "      taken.set("]],
    caughtBy: tests("early-references"),
  },
  {
    name: "linked: everybody who has a number that named nobody says whom it means",
    edits: [["if (isFirst && !this.isOurs(state, cid, id, target)) state", "if (isFirst && id < 0n) state"]],
    caughtBy: tests("linked"),
  },
];

import { type Fault, replicaTest as tests } from "./fault.ts";

/** Rules of what is forgotten, kept back or left for a person to decide, broken. */
export const FORGETTING_FAULTS: Fault[] = [
  {
    name: "nobody is told of a deleted row that stays because others refer to it",
    edits: [["return referring.length === 0 ? [] : [keptReview(audited, state, referring)];", "return [];"]],
    caughtBy: tests("deletes"),
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
    name: "joining again leaves the key of a row that waits as it was",
    edits: [
      ["if (key !== null && !state.key?.equals(key)) this.rebear(state, result);", "if (key === undefined) this.rebear(state, result);"],
      [": this.renamedKey(state);", ": state.key;"],
    ],
    caughtBy: tests("entity-forgetting"),
  },
  {
    name: "a row that lives on as a new one since a node joined again is not listed",
    edits: [["if (isKnown) this.notices.reborn(", "if (!isKnown) this.notices.reborn("]],
    caughtBy: tests("forgetting"),
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
    name: "a mass delete that is let go takes what rows of others refer to since with it",
    edits: [["this.putBackParents(this.rows.atLog(tid, BigInt(slot)))", "this.putBackParents(null)"]],
    caughtBy: tests("quarantine"),
  },
  {
    name: "a mass delete that is let go takes the parents of rows that were put back out of another one",
    edits: [["this.putBackParents(state && this.rows.byDot(", "this.putBackParents(null && this.rows.byDot("]],
    caughtBy: tests("quarantine"),
  },
  {
    name: "a kept-back row whose key names a row is nowhere once that has another integer",
    edits: [["if (noted && keptBack.has(noted)) return noted;", ""]],
    caughtBy: tests("quarantine"),
  },
  {
    name: "whoever looks for what keeps a deleted row does not see kept-back rows",
    edits: [["...named, ...this.keptBackNaming(parent)]", "...named]"]],
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
    name: "quarantine: a row whose parent waits for a place is let go all the same",
    edits: [[" || this.lacksParent(table, local)", ""]],
    caughtBy: tests("quarantine"),
  },
  {
    name: "quarantine: who inserts a kept-back row again has seen what others wrote to it since",
    edits: [["if (!known) return null;", "return null;"]],
    caughtBy: tests("quarantine"),
  },
  {
    name: "quarantine: what a kept-back row held is nowhere once its integer is given out again",
    edits: [["keptBack = store.keptBack?.cells(first.key) ?? null;", "keptBack = null;"]],
    caughtBy: tests("quarantine"),
  },
  {
    name: "quarantine: what a kept-back row showed is nowhere once its integer, which was another's before, is given out again",
    edits: [["      if (shown) this.closeKeptBack(state, shown, write, row);\n      return false;", "      return false;"]],
    caughtBy: tests("former-ids"),
  },
  {
    name: "quarantine: what is let go may be what a row refers to that is kept for one written since",
    edits: [["else if (!parent.kept || open.some((other) => isSame(other, parent))) continue;", "else continue;"]],
    caughtBy: tests("mass-delete-simulation"),
  },
  {
    name: "quarantine: what is let go may be what a row refers to that waited when it was deleted",
    edits: [["if (this.writes.isNamedUnseen(state)) this.rows", "if (false) this.rows"]],
    caughtBy: tests("quarantine"),
  },
  {
    name: "quarantine: a row that comes back has no parent where that was deleted alone meanwhile",
    edits: [["    this.placement.kept.reviveParents(state, cells, this.nowUs());\n", ""]],
    caughtBy: tests("quarantine"),
  },
  {
    name: "forgetting: joining again ends what another node that was away wrote to the row",
    edits: [["localWrite(null, state.birth.time, state.deletes, knowledge)", "localWrite(state, 0, state.deletes, knowledge)"]],
    caughtBy: tests("forgetting"),
  },
  {
    name: "forgetting: a row that joins again under its name says nothing of what was counted in it",
    edits: [["        (cid) => registerOf(state, cid),\n", ""]],
    caughtBy: tests("forgetting"),
  },
  {
    name: "forgetting: what a row that waits refers to goes where its node joins again",
    edits: [["        if (stays) needed.note(state);\n", ""]],
    caughtBy: tests("forgetting"),
  },
  {
    name: "forgetting: a row that waits goes where its node joins again, though another one waits for it",
    edits: [
      ["this.entityHasNews(state) || this.unseen?.has(state) : this.hasNews(state)", "this.entityHasNews(state) : this.hasNews(state)"],
    ],
    caughtBy: tests("forgetting"),
  },
  {
    name: "forgetting: of a row that goes nobody is told to what it referred",
    edits: [["(cell instanceof Ref ? (values?.[index] ?? cell) : cell)", "cell"]],
    caughtBy: tests("forgetting"),
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
    name: "what is held for a column that is lacking is not in a row that joins again as a new one",
    edits: [["if (held?.value !== undefined) fresh.columns.set(", "if (held === null) fresh.columns.set("]],
    caughtBy: tests("forgetting"),
  },
  {
    name: "a write that was issued again is known by its last name alone where its node joins again",
    edits: [["named = this.knowledge.sourceOf(named))\n      if ((vector.get", "named = undefined)\n      if ((vector.get"]],
    caughtBy: {
      seeds: [42600048, 1],
      options: { replicas: 4, steps: 90, forgetting: true, reissue: true, rules: true, clocks: true, moreTables: true },
    },
  },
  {
    name: "what lost in a row that joins again as a new one is nowhere",
    edits: [["      closeLosers(fresh, cid, writes, birth, this.knowledge);\n", ""]],
    caughtBy: tests("forgetting"),
  },
  {
    name: "a row that joined copies name alike gets a name of its own where its node joins again",
    edits: [
      [
        "const keepsName = this.isOthersToo(state) && !this.placement.entities.concerns(state);",
        "const keepsName = state.key !== null && this.isOthersToo(state) && !this.placement.entities.concerns(state);",
      ],
    ],
    caughtBy: tests("forgotten-copies"),
  },
  {
    name: "a row that was kept back is put back though its parent has to wait",
    edits: [['    if (missing) return this.placement.evict(state, cells, "parent", missing, before);\n    const bound', "    const bound"]],
    caughtBy: tests("quarantine"),
  },
];

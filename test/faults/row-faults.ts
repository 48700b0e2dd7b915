import { type Fault, replicaTest as tests } from "./fault.ts";

/** Rules of rows and of which of several writes counts, broken. */
export const ROW_FAULTS: Fault[] = [
  {
    name: "a write that a delete knew may beat it",
    edits: [["compareWrites(write, deleted, knowledge) > 0 && !isKnown(write);", "compareWrites(write, deleted, knowledge) > 0;"]],
    caughtBy: tests("forgetting"),
  },
  {
    name: "a write that never saw others' counts as having known them",
    edits: [["contextOfReplacing(replaced, knowledge, false)", "contextOfReplacing(before, knowledge)"]],
    caughtBy: tests("former-ids"),
  },
  {
    name: "of concurrent increments the latest counts",
    edits: [
      [
        "if (!writes.every((write) => isCombinable(rule, write))) return chosen(latest);",
        "if (writes.every((write) => isCombinable(rule, write))) return chosen(latest);",
      ],
    ],
    caughtBy: tests("column-rules"),
  },
  {
    name: "a change beyond every double is kept as infinite",
    edits: [
      ["if (!isTotal(sum)) throw", "if (!isNumber(sum)) throw"],
      [
        "const sum = bounded(subtract(numberOf(value), sumOf({ base: known.base, totals: others }, causality)));",
        "const sum = subtract(numberOf(value), sumOf({ base: known.base, totals: others }, causality));",
      ],
    ],
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
    name: "a new write is not later than its row: the wall clock decides",
    edits: [
      ["state ? Math.max(wall, latestTime(state) + 1) : wall", "wall"],
      ["const at = Math.max(wall, latestTime(state) + 1);", "const at = wall;"],
    ],
    caughtBy: tests("rules-drain"),
  },
  {
    name: "a rowid is believed to name the row that it named before",
    edits: [["return this.isAt(key, hash) ? key : null;", "return key;"]],
    caughtBy: tests("keyless"),
  },
  {
    name: "keys that ignore case are told apart by it",
    edits: [['if (column.collation === "NOCASE") return', 'if (column.collation === "none") return']],
    caughtBy: tests("values"),
  },
  {
    name: "edits of others to a row whose delete is kept back are lost",
    edits: [["if (changes === 0) this.keptBack?.update(key, indexes, values, raw);", "void changes;"]],
    caughtBy: tests("quarantine"),
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
    name: "a delete beats every later edit",
    edits: [["  if (beats(state.birth)) return true;\n", "  if (deleted) return false;\n"]],
    caughtBy: tests("rules-merge"),
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
    name: "rows are placed by REPLACE",
    edits: [['raw: readonly number[], otherwise = "ABORT")', 'raw: readonly number[], otherwise = "REPLACE")']],
    caughtBy: { seeds: [1, 40] },
  },
  {
    name: "new rows are taken for one after the other where a change of another table came between",
    edits: [["        sequence === (waiting[at - 4] as number) + 1 &&\n", ""]],
    caughtBy: tests("queued-rows"),
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
    name: "a column that a birth does not tell of is not its own any more once that was issued again",
    edits: [["    if (renameWrites(state, birth, knowledge)) moved = true;\n", ""]],
    caughtBy: tests("reissue"),
  },
  {
    name: "a shared row's birth that was issued again is none of the copies' births",
    edits: [["this.members.has(rootOf(oid, this.knowledge))", "this.members.has(oid)"]],
    caughtBy: tests("reissue"),
  },
  {
    name: "a delete that nobody has yet goes on knowing of rows whose table was dropped since",
    edits: [["    unseeDeletes(parts, this.clock.sharedTo);\n", ""]],
    caughtBy: tests("out-of-sight"),
  },
  {
    name: "a rebuilt table's rows are compared by the integers of rows in other databases",
    edits: [["asHashed(before, hashed())", "values"]],
    caughtBy: tests("linked"),
  },
  {
    name: "a row whose key was changed goes for all though the other one went with its table",
    edits: [["isKeyChange(values, raw[i + 1]) || ", ""]],
    caughtBy: tests("migration-deletes"),
  },
  {
    name: "a mass delete that only moved rows to other keys says nothing of that",
    edits: [["moved === 1 ? REPLACED : null", "null"]],
    caughtBy: tests("migration-deletes"),
  },
  {
    name: "rows without a key are one with equal ones of every file",
    edits: [['[Buffer.concat([name, Buffer.from(origin, "latin1")])]', "[Buffer.concat([name, Buffer.alloc(origin.length - 16)])]"]],
    caughtBy: tests("joining-keyless"),
  },
  {
    name: "what a deleted row held unseen is gone when its key is written anew",
    edits: [["if (winner && !deletes.some((deleted) => knew(", "if (winner && deletes.length === 0 && !deletes.some((deleted) => knew("]],
    caughtBy: tests("kept-values"),
  },
  {
    name: "what a deleted row held unseen counts as seen by a delete before it",
    edits: [
      [
        "if (winner && !deletes.some((deleted) => knew(deleted, winner.origin, winner.sequence, knowledge)))",
        "if (winner && !deletes.some((deleted) => knew(deleted, winner.origin, winner.sequence, knowledge) || knew(winner, deleted.origin, deleted.sequence, knowledge)))",
      ],
    ],
    caughtBy: tests("kept-values"),
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
    name: "forgetting: a key used again stays deleted where the clock was behind",
    edits: [["if (knew(state.birth, deleted.origin, deleted.sequence, knowledge)) return true;", ""]],
    caughtBy: tests("forgetting"),
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
    name: "linked: hashes under a former shape hold the integers of other databases",
    edits: [["[asHashed(table, cells), ...formerly]", "[values, ...formerly]"]],
    caughtBy: tests("linked"),
  },
  {
    name: "what a deleted row left behind stays at its former integer when it is back",
    edits: [["    if (wasDead) this.repoint(state);\n    const placed", "    const placed"]],
    caughtBy: tests("left-behind"),
  },
  {
    name: "hashes that an earlier version made of references held otherwise than as integers stay",
    edits: [["(spelled ? [`${name} as ${spelled}`] : [])", "[]"]],
    caughtBy: tests("spelled-references"),
  },
  {
    name: "linked: sums of rows hold the integers of other databases",
    edits: [["if (table.linked.length === 0) return values;", "return values;"]],
    caughtBy: tests("linked"),
  },
  {
    name: "of rows whose keys are written the same only one is found",
    edits: [["return exact.length > 0 ? exact : found.slice(0, 1);", "return found.slice(0, 1);"]],
    caughtBy: tests("key-text"),
  },
  {
    name: "the history of a deleted row whose key is no integer is not known",
    edits: [["  if (!table.surrogate && states.length === 0) {", "  if (table.keyless && states.length === 0) {"]],
    caughtBy: tests("restore"),
  },
  {
    name: "a deleted row whose integer others had since cannot be restored by its birth",
    edits: [["  if (table.surrogate && !byId) {", "  if (table.surrogate && !byId) {\n    return null;"]],
    caughtBy: tests("restore"),
  },
  {
    name: "restore: what it brought back is nowhere where another server inserted its key",
    edits: [["if (asked) writeAgain(", "if (asked?.length === 0) writeAgain("]],
    caughtBy: tests("restore"),
  },
  {
    name: "restore: what it brought back settles what had lost there",
    edits: [["if (isRuled || register.some((held) => held !== winner && held.value !== undefined)) {", "if (isRuled) {"]],
    caughtBy: tests("restore"),
  },
  {
    name: "restore: what it brought back in columns that its table lacks is nowhere",
    edits: [["for (const cid of [...table.columns.map((column) => column.cid), ...lacking]) {", "for (const { cid } of table.columns) {"]],
    caughtBy: tests("restore"),
  },
];

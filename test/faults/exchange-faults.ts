import { type Fault, replicaTest as tests } from "./fault.ts";

/** Rules of the log, and of what one replica gives to another, broken. */
export const EXCHANGE_FAULTS: Fault[] = [
  {
    name: "whoever knows of one of several deletes counts as having the row",
    edits: [["const mayBeGone = knowsDelete || ", "const mayBeGone = "]],
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
    name: "a part of a row is told under the columns of whole rows",
    edits: [["cids === null && table.absent === null ? table.tid", "cids === null ? table.tid"]],
    caughtBy: tests("schema-held"),
  },
  {
    name: "nobody hears of a write whose value went with its column",
    edits: [["      ...gone.map((write) => ({ ...write, alive: true })),\n", ""]],
    caughtBy: tests("migration-deletes"),
  },
  {
    name: "rows for the metadata of sync are taken",
    edits: [["if (/^(_scoutsync_|sqlite_)/i.test(head.name)) throw", 'if (head.name === "") throw']],
    caughtBy: "services/sync-node/test/hostile.test.ts",
  },
  {
    name: "a machine that was put back goes on under its origin",
    edits: [["if (!(error instanceof NeverMade) || !this.giveUpOrigin()) throw error;", "throw error;"]],
    caughtBy: tests("snapshot"),
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
    name: "a batch is applied before what waits in the dirty list is drained",
    edits: [
      ["unpacked: Buffer | null): ApplyResult {\n    this.turns.drain();", "unpacked: Buffer | null): ApplyResult {"],
      ["const drained = this.drainer.run(until);\n    this.rows.flush();", "const drained = true;"],
    ],
    caughtBy: tests("rules-drain"),
  },
  {
    name: "a damaged range is believed",
    edits: [["wire.protocol !== WITHOUT_FRAME_SUM && !frameSum(wire)", "wire.protocol > 9 && !frameSum(wire)"]],
    caughtBy: "packages/protocol/test/conversion.test.ts",
  },
  {
    name: "deletes do not travel",
    edits: [["state.deletes.filter((write) => !covered(write.origin, write.sequence))", "state.deletes.filter(() => false)"]],
    caughtBy: tests("rules-merge"),
  },
  {
    name: "text that is not valid UTF-8 is sent as the string it is read as",
    edits: [["if (plain && !(table.utf8 && mayHoldRawText(row)) && !(holdsLongText && row.some(isEmptyBlob))) {", "if (plain) {"]],
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
    name: "copies joined as shared: a birth without a column counts as having written NULL there",
    edits: [["if (isNamedByBirth(state.table) && state.twins.length === 0) return none;", "if (isNamedByBirth(state.table)) return none;"]],
    caughtBy: tests("joining-keyless"),
  },
  {
    name: "digests of different schemas are compared",
    edits: [["return isComparable(batch.schema, this.reader.schemaPrint());", "return true;"]],
    caughtBy: tests("schema-held"),
  },
  {
    name: "ended: of what is held beyond the vector only the first part is sent",
    edits: [["final = beyondTo === null;", "final = true;"]],
    caughtBy: tests("reissue"),
  },
  {
    name: "forgetting: of a row that comes back only what is new is sent",
    edits: [["const covered: Covered = this.isWhole(state) ? () => false : this.covered;", "const covered: Covered = this.covered;"]],
    caughtBy: tests("forgetting"),
  },
  {
    name: "parts of a killed transaction are sent as soon as the first that was heard of",
    edits: [["    for (const origin of origins) if (!later.has(origin)) addWithNext(origin);\n", ""]],
    caughtBy: tests("groups"),
  },
  {
    name: "of the parts of a killed transaction only two are sent right behind each other",
    edits: [["at = next.get(at)) ordered", "at = at === origin ? next.get(at) : undefined) ordered"]],
    caughtBy: tests("groups"),
  },
];

import { type Fault, replicaTest as tests } from "./fault.ts";

/** Rules of whose a database file is and of its clock, broken. */
export const IDENTITY_FAULTS: Fault[] = [
  {
    name: "rows that a migration makes of others are told by integers which mean other rows elsewhere",
    edits: [["cells[index] = knowledge.dotText(identity.origin, identity.sequence);", ""]],
    caughtBy: tests("seeded-tables"),
  },
  {
    name: "rows that a migration seeds are new ones where the others' are still on their way",
    edits: [["const isMissing = !state && knowledge.covers(origin, sequence);", "const isMissing = !state;"]],
    caughtBy: tests("seeded-tables"),
  },
  {
    name: "numbers of writes start again when the dirty list is emptied",
    edits: [["skipWrites(db, events);", ""]],
    caughtBy: tests("receipts"),
  },
  {
    name: "a write is said to be at a peer that lacks its change",
    edits: [["last.get(oid, vector.get(knowledge.nameOf(oid)) ?? 0)", "last.get(oid, Number.MAX_SAFE_INTEGER)"]],
    caughtBy: tests("receipts"),
  },
  {
    name: "captured times later than the drain's clock are believed",
    edits: [["if (capturedUs > wallUs) return false;", "if (capturedUs > wallUs) return Number.isFinite(capturedUs);"]],
    caughtBy: tests("rules-drain"),
  },
  {
    name: "captured times from long before the last drain are believed",
    edits: [["return capturedUs >= wallUs - (this.uptimeUs() - this.drainedUs) - LONGEST_TRANSACTION_US;", "return true;"]],
    caughtBy: tests("rules-drain"),
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
    name: "rows without a key are named by their place among all rows of a file",
    edits: [["copy = last?.equals(hash) ? copy + 1 : 1;", "copy += 1;"]],
    caughtBy: tests("joining-keyless"),
  },
  {
    name: "linked: what waited while one of two databases was put back is read by the file that is there, in silence",
    edits: [["return this.waited !== null && (", "return false && ("]],
    caughtBy: tests("linked-questions"),
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
];

import { type Fault, replicaTest as tests } from "./fault.ts";

/** Rules of rows that are one, broken. */
export const ENTITY_FAULTS: Fault[] = [
  {
    name: "one entity: a row that parts from it, and names itself, names who has its former integer",
    edits: [["if (moved.length > 0) this.showNaming(entities, moved);", ""]],
    caughtBy: tests("circles"),
  },
  {
    name: "one entity: rows with one UNIQUE value that were born apart stay two",
    edits: [["if (holders.some((holder) => this.placement.entities.unify(waiting, holder))) return true;", ""]],
    caughtBy: tests("entities"),
  },
  {
    name: "one entity: a row that was edited to a value counts as born with it",
    edits: [["if (!this.isBirths(a, unique) || !this.isBirths(b, unique)) return false;", ""]],
    caughtBy: tests("entities"),
  },
  {
    name: "one entity: an edit goes to one of the rows only",
    edits: [
      [
        "if (members.length < 2) return this.writeColumns(state, written, wall, row);",
        "return this.writeColumns(state, written, wall, row);",
      ],
    ],
    caughtBy: tests("entities"),
  },
  {
    name: "one entity: a delete goes to one of the rows only",
    edits: [["member.state.deletes = [deleted(writeTo(member.state, at), replaced)];", ""]],
    caughtBy: tests("entities"),
  },
  {
    name: "one entity: a row forgets what it says itself where its table shows something else",
    edits: [["if (!sameValue(shown, cell)) state.own.set(", "if (cell === undefined) state.own.set("]],
    caughtBy: tests("entities"),
  },
  {
    name: "one entity: rows that came to differ are one again when their values meet",
    edits: [["if (!a || !b || this.isApart(a, b)) continue;", "continue;"]],
    caughtBy: tests("entities"),
  },
  {
    name: "one entity: who shows the integer of a deleted row does not follow it where another row has that",
    edits: [["return said instanceof Ref && nameOf(said) === nameOf(state.identity);", "return false;"]],
    caughtBy: tests("entity-simulation"),
  },
  {
    name: "one entity: join rows stay one though what they join is two",
    edits: [["    this.touchJoinedKeys(seed, moved);\n", ""]],
    caughtBy: tests("entities"),
  },
  {
    name: "a delete counts as knowing rows that its application could not see",
    edits: [["if (this.unseen.referTo(row) || (missesRows && wentBefore)) return", "if (missesRows && wentBefore) return"]],
    caughtBy: tests("entities"),
  },
  {
    name: "one entity: of a deleted one that is kept only one row is shown",
    edits: [["(this.divide(connected).entities[0]?.members ?? []).map((member) => member.state)", "[state]"]],
    caughtBy: tests("entities"),
  },
  {
    name: "one entity: rows that are deleted are kept by name, not for what refers to any of them",
    edits: [['const stood = all.some(({ state }) => state.kept || state.place.kind === "table");', "const stood = false;"]],
    caughtBy: tests("entity-simulation"),
  },
  {
    name: "one entity: a row follows an integer that its own reference does not mean",
    edits: [["cids.filter((cid) => !this.related.meansAnother(current, cid, state))", "cids"]],
    caughtBy: tests("entity-simulation"),
  },
  {
    name: "one entity: deleted rows that were one with others are forgotten",
    edits: [["if (state.same.length > 0 || this.entities.concerns(state)) return true;", ""]],
    caughtBy: tests("entity-forgetting"),
  },
  {
    name: "one entity: what a row that is not shown refers to is forgotten",
    edits: [["      this.needed.noteEntities(this.entities);\n", ""]],
    caughtBy: tests("entity-forgetting"),
  },
  {
    name: "one entity: what is new of a row that the peer has forgotten goes with it",
    edits: [["if (!unknown.has(member)) takeNews(parts, server, member, { alive, unknown }, at);", "if (!unknown.has(member)) continue;"]],
    caughtBy: tests("entity-forgetting"),
  },
  {
    name: "one entity: of those that nobody else holds each lives on by itself",
    edits: [["for (const other of others) endTogether(", "for (const other of others.slice(0, 0)) endTogether("]],
    caughtBy: tests("entity-forgetting"),
  },
  {
    name: "one entity: letting a mass delete go deletes a row that its application had not seen",
    edits: [["    if (key) keptBack?.spare(key);\n", ""]],
    caughtBy: tests("entity-forgetting"),
  },
  {
    name: "what a kept row refers to goes once that lives",
    edits: [["      open.push(...this.keptParents(state));\n", ""]],
    caughtBy: tests("deletes"),
  },
  {
    name: "one entity: what a row that is not shown holds for a column stays held once that comes",
    edits: [["this.due ||= this.late.length > 0;", "this.late = [];"]],
    caughtBy: tests("entity-schema"),
  },
  {
    name: "one entity: a migration that fills its column counts as knowing what was held for it",
    edits: [["(others && target.late) || NONE", "NONE"]],
    caughtBy: tests("entity-schema"),
  },
  {
    name: "one entity: a repair leaves what the table shows as it is",
    edits: [["if (this.repairing && this.placement.entities.concerns(state)) this.placement.entities.touch(state.birth);", ""]],
    caughtBy: tests("entity-schema"),
  },
  {
    name: "one entity: arranging it writes over what a migration wrote that is not compared yet",
    edits: [["    if (connected.filter((state) => this.noteUnseen(state)).length > 0) return;\n", ""]],
    caughtBy: tests("entity-schema"),
  },
  {
    name: "one entity: tables that are left to people are decided about",
    edits: [["holder.table !== table || this.placement.parks(table)", "holder.table !== table"]],
    caughtBy: tests("entities"),
  },
];

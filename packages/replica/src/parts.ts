import type Database from "better-sqlite3";
import { type Terms, formatTerms } from "@scoutsync/core";
import { Applier } from "./apply/apply.ts";
import { Delivery } from "./apply/delivery.ts";
import { Joining } from "./apply/joining.ts";
import { Placement } from "./apply/placement.ts";
import { Veil } from "./audit/veil.ts";
import { DigestSums } from "./digest/digest-sums.ts";
import { Drain } from "./drain/drain.ts";
import { EarlyReferences } from "./drain/early-references.ts";
import { Restored } from "./identity/restored.ts";
import { SameFile } from "./identity/same-file.ts";
import { Knowledge } from "./identity/knowledge.ts";
import { Groups } from "./log/groups.ts";
import { SharedRows } from "./identity/shared-rows.ts";
import { Floor } from "./forgetting/floor.ts";
import { Members } from "./forgetting/members.ts";
import { Rejoin } from "./forgetting/rejoin.ts";
import { LinkedFollower } from "./linked/linked-follower.ts";
import { LinkedParent } from "./linked/linked-parent.ts";
import { LinkedRows } from "./linked/linked-rows.ts";
import { LogReader } from "./log/read.ts";
import type { ReplicaOptions } from "./replica.ts";
import { FormerIds, REMEMBERED_US } from "./rows/former-ids.ts";
import { EntityMembers } from "./rows/members.ts";
import { RowStore } from "./rows/row-store.ts";
import { SchemaFollower } from "./schema/follow.ts";
import { SeenSchema } from "./schema/seen.ts";
import { CaptureFaults } from "./capture/faults.ts";
import { Silence } from "./capture/silence.ts";
import { Quarantine, quarantineLimits } from "./quarantine/quarantine.ts";
import { Reconciliation } from "./schema/reconcile.ts";
import { ReplicaClock } from "./time/replica-clock.ts";
import { LONGEST_TURN_MS, Turns } from "./turns.ts";
import { Exchange } from "./exchange.ts";
import type { Surroundings } from "./surroundings.ts";
import type { RowState } from "./rows/row-state.ts";
import { Questions } from "./audit/questions.ts";
import { keptChoice } from "./identity/baseline.ts";
import { writing } from "./write-lock.ts";

/** What a replica is made of. Each part needs those before it; what comes later it is given by way of a function. */
export type Parts = ReturnType<typeof makeParts>;

/** Makes the parts of one replica on a file that is open and prepared. */
export function makeParts(
  { db, real, options, terms, run }: { db: Database.Database; real: string; options: ReplicaOptions; terms: Terms; run: string },
  surroundings: Surroundings,
  { noteProblem, dependents }: { noteProblem: (problem: string) => void; dependents: () => Turns[] },
) {
  const { nowUs } = surroundings;
  const faults = new CaptureFaults(run);
  const clock = new ReplicaClock({ nowUs, uptimeUs: surroundings.uptimeUs ?? nowUs, correctionUs: options.clockCorrectionUs ?? 0 });
  const file = new SameFile(db, options.path, real);
  file.begin();
  const digest = new DigestSums(db);
  const knowledge = new Knowledge(db, options.nodeName, surroundings.random);
  const rows = new RowStore(db, {
    digest,
    causality: knowledge,
    shared: new SharedRows(db, knowledge),
    former: new FormerIds(db, nowUs, surroundings.rememberedUs ?? REMEMBERED_US),
    linked: new LinkedRows(db, knowledge, (name) => surroundings.neighbour?.(name) ?? null),
  });
  if (options.isReferredTo) rows.touched = new Map();
  const veil = new Veil(options.sensitive ?? [], () => rows.tables);
  const parts = { db, rows, knowledge };
  const linkedRows = new LinkedParent(parts);
  const entityMembers = new EntityMembers(parts);
  const groups = new Groups(parts);
  const audited = { ...parts, members: entityMembers, veil, rules: terms.rules, left: { catalogs: -1, count: 0 } };
  const reconciliation = new Reconciliation(parts, terms.rules);
  const isComparing = () => reconciliation.isOpen;
  const noteUnseen = (state: RowState) => reconciliation.noteUnseen(state);
  const early = new EarlyReferences({ ...parts, isJoining: () => rejoining.active, isComparing });
  const placement = new Placement({ ...parts, members: entityMembers, park: options.park ?? [], isComparing, noteUnseen, early });
  const quarantine = new Quarantine({
    ...parts,
    placement,
    limits: quarantineLimits(options),
    nowUs,
  });
  const drainer = new Drain({
    ...parts,
    members: entityMembers,
    clock,
    groups,
    reconciliation,
    quarantine,
    early,
    isMidStream: () => reader.isMidStream,
  });
  const floor = new Floor(parts);
  const members = new Members(db, { id: options.nodeId, name: options.nodeName });
  const rejoining = new Rejoin({ ...parts, placement, early });
  const joining = new Joining({
    ...parts,
    placement,
    choice: writing(db, () => keptChoice(db, options.baseline)),
    limited: options.limited === true,
  });
  const reader = new LogReader({
    ...parts,
    groups,
    digest,
    run,
    node: { id: options.nodeId, name: options.nodeName },
    terms: formatTerms(terms),
    nowUs,
    clock,
    statement: () => joining.statementText,
    floor,
  });
  const applier = new Applier({
    ...parts,
    placement,
    nowUs,
    groups,
    floor,
    rejoin: rejoining,
    renamed: () => delivery.begin(),
  });
  if (options.trial) applier.rename = (cell) => joining.cell(cell);
  const delivery = new Delivery({ ...parts, placement, applier, nowUs });
  const restored = new Restored(db, knowledge, options.serveRestored === true);
  const seen = new SeenSchema(db);
  const silence = new Silence({ db, rows, seen });
  const shared = {
    ...parts,
    digest,
    placement,
    delivery,
    drainer,
    reconciliation,
    quarantine,
    faults,
    silence,
    seen,
    clock,
  };
  const turns = new Turns({
    ...shared,
    path: options.path,
    turnMs: surroundings.turnMs ?? LONGEST_TURN_MS,
    file,
    floor,
    reader,
    early,
    linkedRows,
    linkedFollower: new LinkedFollower({ ...parts, placement, nowUs: () => clock.nowUs() }),
    dependents: () => (options.isReferredTo === true ? dependents() : []),
    drainNeighbour: (name) => surroundings.neighbour?.(name)?.drain(),
  });
  const follower = new SchemaFollower({
    ...shared,
    options,
    terms,
    nowUs,
    silently: (work) => turns.silently(work),
    followLinked: () => turns.followLinked(),
    dropLinked: () => turns.dropLinked(),
    noteProblem,
  });
  turns.follower = follower;
  const exchange = new Exchange({
    ...parts,
    options,
    terms,
    nowUs,
    file,
    digest,
    clock,
    restored,
    reader,
    applier,
    joining,
    rejoining,
    silence,
    follower,
    turns,
  });
  const questions = new Questions({ audited, placement, quarantine, turns, nowUs: () => clock.nowUs(), database: options.name });
  return {
    audited,
    clock,
    digest,
    drainer,
    exchange,
    faults,
    file,
    floor,
    follower,
    joining,
    knowledge,
    linkedRows,
    members,
    placement,
    quarantine,
    questions,
    reader,
    reconciliation,
    rejoining,
    restored,
    rows,
    turns,
    veil,
    applier,
  };
}

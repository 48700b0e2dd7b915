import type { Write } from "@scoutsync/core";
import type { Placement } from "../apply/placement.ts";
import type { Knowledge } from "../identity/knowledge.ts";
import type { Member } from "../rows/members.ts";
import { localWrite, replaceColumn } from "../rows/local-writes.ts";
import { latestTime, registerOf } from "../rows/registers.ts";
import { type ExistenceWrite, ownedDots, type RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";

interface Parts {
  rows: RowStore;
  knowledge: Knowledge;
  placement: Placement;
}

/** What the server knows. */
interface Server {
  /** True for a row that was deleted and forgotten there. */
  isUnknown: (state: RowState) => boolean;
  /** True for a write that it has not seen. */
  isNews: (dot: { origin: number; sequence: number }) => boolean;
}

/**
 * When a replica joins again: of rows that are one, the server may hold some and have forgotten others. Those that live
 * there live on for all: they take what is news of the others, which are deleted by a write that everyone gets. Inside the
 * transaction that judges. Returns the deleted rows that they now refer to, by writes that know of the delete.
 */
export function letHeldOnesLive(parts: Parts, server: Server, nowUs: number): Write[] {
  const { members, entities, related, kept } = parts.placement;
  const taken: Write[] = [];
  for (const group of members.groups()) {
    for (const entity of members.divide(group).entities) {
      const alive = entity.members.filter((member) => member.alive);
      const unknown = new Set(alive.filter(({ state }) => server.isUnknown(state)));
      if (unknown.size === 0 || unknown.size === alive.length) continue;
      const at = Math.max(nowUs, ...alive.map(({ state }) => latestTime(state) + 1));
      for (const member of alive) if (!unknown.has(member)) takeNews(parts, server, member, { alive, unknown }, at);
      for (const member of unknown) endTogether(parts, member);
      taken.push(...alive.map(({ state }) => state.birth));
    }
  }
  entities.arrangeTouched();
  return taken.flatMap((birth) => {
    const state = related.again(birth);
    return state?.place.kind === "table" ? kept.keptParents(state) : [];
  });
}

/** A row says what the table showed by a write of another that the server does not know. */
function takeNews(
  { rows, knowledge, placement }: Parts,
  server: Server,
  { state, cells }: Member,
  { alive, unknown }: { alive: readonly Member[]; unknown: ReadonlySet<Member> },
  at: number,
): void {
  const { table } = state;
  const news = table.columns.flatMap(({ cid }, index) => {
    if (!table.surrogate && table.key.some((part) => part.cid === cid)) return [];
    const { write, member } = placement.members.shownWrite(alive, cid);
    return unknown.has(member) && server.isNews(write) ? [{ cid, index, write, value: member.cells[index] ?? null }] : [];
  });
  if (news.length === 0) return;
  const before = ownedDots(state);
  const replaced = news.flatMap(({ cid, write }) => [...registerOf(state, cid), write]);
  const write = localWrite(state, at, replaced, knowledge);
  const next = [...cells];
  for (const { cid, index, write: shown, value } of news) {
    const had = cells[index] ?? null;
    replaceColumn(state, cid, write, knowledge, { value, found: had }, { shown, value: had });
    next[index] = value;
  }
  rows.saveRegisters(state, next, before);
  placement.entities.touch(state.birth);
}

/** Deletes one of several rows that are one, where another lives on for it: what refers to it means that one. */
export function endTogether({ rows, knowledge, placement }: Parts, { state, cells }: Member): void {
  const before = ownedDots(state);
  state.deletes = [endOfKnown(state, knowledge)];
  state.kept = false;
  rows.saveRegisters(state, cells, before);
  placement.entities.touch(state.birth);
}

/**
 * Deletes a row as far as it is known here, and no further: a delete beats all that it knew, whatever the times, and by its own
 * time nothing that somebody else wrote meanwhile.
 */
export function endOfKnown(state: RowState, knowledge: Knowledge): ExistenceWrite {
  return { ...localWrite(null, state.birth.time, state.deletes, knowledge), alive: false };
}

import { concurrent, type SqlValue, winnerOf, type Write } from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import { pick, stateAt } from "../rows/foreign-keys.ts";
import { localWrite, replaceColumn } from "../rows/local-writes.ts";
import { registerOf } from "../rows/registers.ts";
import { ownedDots, type RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { bindable } from "../rows/table-store.ts";
import type { ForeignKey } from "../schema/catalog.ts";

/** A row that refers to a value which another row is about to lose. */
export interface ValueFollower {
  birth: Write;
  foreign: ForeignKey;
}

/**
 * Rows that refer to values of this one, by a foreign key to a UNIQUE column that is no key, which a change of others
 * replaces: those whose reference was written apart from the change. Its author's own followed it, as far as his schema says so.
 * Call before the change is in the table. `moved` are the writes that make it, where they are not the row's own.
 */
export function followersOf(
  rows: RowStore,
  knowledge: Knowledge,
  state: RowState,
  { changed, moved = winnersOf(state, changed, knowledge) }: { changed: readonly number[]; moved?: readonly Write[] },
): ValueFollower[] {
  const { table } = state;
  const names = new Set(changed.map((index) => table.columns[index]?.name));
  const touched = table.dependants.filter(({ targets, isKey }) => !isKey && targets.some((target) => names.has(target)));
  if (touched.length === 0) return [];
  const values = rows.tableValues(state);
  if (!values) return [];
  return touched.flatMap((foreign) => {
    const target = pick(table, foreign.targets, table.surrogate ? state.slot : null, values) as SqlValue[] | null;
    if (!target) return [];
    const keys = rows.of(foreign.child).keysReferring(foreign, bindable(target));
    return keys
      .flatMap((key) => stateAt(rows, foreign.child, key) ?? [])
      .filter((child) => cidsOf(foreign).some((cid) => wroteApart(child, cid, moved, knowledge)))
      .map(({ birth }) => ({ birth, foreign }));
  });
}

const winnersOf = (state: RowState, changed: readonly number[], knowledge: Knowledge): Write[] =>
  changed.flatMap((index) => winnerOf(registerOf(state, state.table.columns[index]?.cid ?? -1), knowledge) ?? []);

function wroteApart(child: RowState, cid: number, moved: readonly Write[], knowledge: Knowledge): boolean {
  const write = winnerOf(registerOf(child, cid), knowledge);
  return write !== undefined && moved.some((other) => concurrent(write, other, knowledge));
}

const cidsOf = ({ child, columns }: ForeignKey): number[] =>
  columns.map((name) => child.columns.find((column) => column.name === name)?.cid ?? -1);

/**
 * Lets rows refer to the values that the row has now: an ordinary write, made by everyone who has both, so that whoever
 * sees them in the other order gets it. A reference that is part of a key stays: it names the row.
 */
export function follow(rows: RowStore, knowledge: Knowledge, state: RowState, followers: readonly ValueFollower[]): void {
  const values = followers.length > 0 ? rows.tableValues(state) : null;
  for (const { birth, foreign } of values ? followers : []) {
    const { child, columns, targets } = foreign;
    const current = rows.byDot(birth.origin, birth.sequence);
    const target = pick(state.table, targets, state.table.surrogate ? state.slot : null, values ?? []) as SqlValue[] | null;
    const key = current && rows.keys.keyValues(current);
    const partOfKey = !child.keyless && child.key.some(({ name }) => columns.includes(name));
    if (!current || current.place.kind !== "table" || !target || !key || partOfKey) continue;
    const before = ownedDots(current);
    const cids = cidsOf(foreign);
    const replaced = cids.flatMap((cid) => [...registerOf(current, cid)]);
    const write = localWrite(current, 0, replaced, knowledge);
    for (const cid of cids) replaceColumn(current, cid, write, knowledge);
    const bound = bindable(target);
    rows.of(child).update(
      key,
      cids.map((cid) => child.indexOf.get(cid) as number),
      bound.values,
      bound.raw,
    );
    const now = rows.of(child).read(key);
    if (now) rows.saveInTable(current, child.surrogate ? current.slot : null, now, before);
  }
}

import { brief, type ReadableChange, type VersionVector, type Write } from "@scoutsync/core";
import { registerOf } from "../rows/registers.ts";
import { releaseRead, valueOf } from "../rows/row-state.ts";
import { type Audited, keyOf, shown } from "./context.ts";

/** Up to `limit` changes after `since`, each with the values its dot still owns, in the order they travel. */
export function readableChanges(
  audited: Audited,
  since: VersionVector,
  limit: number,
): { changes: ReadableChange[]; next: VersionVector | null } {
  const { db, knowledge } = audited;
  const changes: ReadableChange[] = [];
  const next = new Map(since);
  const entries = db
    .prepare("SELECT sequence, tid, slot FROM _scoutsync_log WHERE oid = ? AND sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?")
    .safeIntegers(true)
    .raw(true);
  for (const oid of [...knowledge.entries.keys()].sort((a, b) => knowledge.compareOrigins(a, b))) {
    const origin = knowledge.nameOf(oid);
    const goal = knowledge.entries.get(oid) ?? 0;
    const left = limit - changes.length;
    const found = entries.all(oid, since.get(origin) ?? 0, goal, left + 1) as [bigint, bigint, bigint][];
    for (const [sequence, tid, slot] of found.slice(0, left)) {
      const change = readable(audited, oid, Number(sequence), Number(tid), slot);
      if (change) changes.push(change);
      next.set(origin, Number(sequence));
    }
    if (found.length > left) return { changes, next };
    next.set(origin, Math.max(goal, next.get(origin) ?? 0));
  }
  return { changes, next: null };
}

function readable(audited: Audited, oid: number, sequence: number, tid: number, slot: bigint): ReadableChange | null {
  const { rows, knowledge } = audited;
  const state = rows.atLog(tid, slot);
  if (!state) return null;
  const { table } = state;
  const cells = rows.cells(state);
  const mine = (write: Write) => write.origin === oid && write.sequence === sequence;
  const deleted = state.deletes.find(mine);
  const born = mine(state.birth);
  const columns = table.columns.flatMap((column, index) => {
    const write = registerOf(state, column.cid).find(mine);
    if (!write) return [];
    return [{ name: column.name, value: brief(shown(audited, table, index, valueOf(write, cells[index] ?? null))) }];
  });
  releaseRead(state, cells);
  const write = deleted ?? (born ? state.birth : [...state.columns.values()].flat().find(mine));
  return {
    dot: knowledge.dotText(oid, sequence),
    table: table.name,
    key: keyOf(audited, state),
    operation: deleted && !deleted.alive ? "delete" : born ? "insert" : "update",
    timeUs: write?.time ?? state.birth.time,
    author: knowledge.authorOf(oid),
    columns,
  };
}

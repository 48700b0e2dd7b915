import type { Database } from "better-sqlite3";
import type { Knowledge } from "../identity/knowledge.ts";
import type { IncomingRow } from "../log/incoming.ts";
import { ownedDots, type RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import { packKey } from "../rows/values.ts";
import { reissueRow } from "./reissue.ts";

interface Dot {
  origin: number;
  sequence: number;
}

/**
 * Two rows under one dot: somebody made changes up under the next numbers of an origin, and its own changes that came to have
 * these numbers were taken for known. The log holds one row per dot, so what is here is issued again under an origin of this
 * replica's: from there on each is a write of its own, and reaches everybody.
 */
export class Contested {
  private readonly db: Database;
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  /** The origin under which changes of an origin were last issued again, by their numbers and name: one for many rows, not one each. */
  private readonly issued = new Map<string, string>();

  constructor(parts: { db: Database; rows: RowStore; knowledge: Knowledge }) {
    this.db = parts.db;
    this.rows = parts.rows;
    this.knowledge = parts.knowledge;
  }

  /** Before a whole row is merged to mend a difference, in the same transaction: its dots are not those of other rows any more. */
  yieldTo(row: IncomingRow): void {
    for (const { origin, sequence } of writesOf(row)) {
      const holder = this.rows.byDot(origin, sequence);
      if (!holder || isRow(holder, row)) continue;
      const dots = [...ownedDots(holder).values()].filter((dot) => dot.origin === origin);
      const again = this.originFor(origin, dots);
      reissueRow(this.db, this.rows, holder, { source: origin, origin: again, after: 0 });
      const reached = Math.max(...dots.map((dot) => dot.sequence));
      if (!this.knowledge.covers(again, reached)) this.knowledge.advance(again, reached);
    }
  }

  private originFor(source: number, dots: readonly Dot[]): number {
    const name = this.knowledge.nameOf(source);
    // By name: what a rolled-back transaction drew has no number.
    const known = this.knowledge.numberOf(this.issued.get(name) ?? "");
    if (known !== undefined && !dots.some(({ sequence }) => this.rows.log.holds(known, sequence))) return known;
    const drawn = this.knowledge.drawReissue(source);
    this.issued.set(name, this.knowledge.nameOf(drawn));
    return drawn;
  }
}

function writesOf({ birth, twins, columns, deletes, rekey, closed, same }: IncomingRow): Dot[] {
  return [
    ...(birth ? [birth] : []),
    ...twins,
    ...columns.flatMap(({ writes }) => writes),
    ...deletes,
    ...(rekey ? [rekey] : []),
    ...closed,
    ...same,
  ];
}

function isRow(state: RowState, { table, identity, key }: IncomingRow): boolean {
  if (state.table.tid !== table.tid) return false;
  if (identity) return state.identity.origin === identity.origin && state.identity.sequence === identity.sequence;
  return key !== null && state.key !== null && state.key.equals(packKey(table.key, key));
}

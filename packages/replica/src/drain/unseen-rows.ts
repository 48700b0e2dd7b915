import { Ref } from "@scoutsync/core";
import type { Knowledge } from "../identity/knowledge.ts";
import { isAlive } from "../rows/registers.ts";
import type { RowState } from "../rows/row-state.ts";
import type { RowStore } from "../rows/row-store.ts";
import type { Table } from "../schema/catalog.ts";

/**
 * Rows that are out of their tables and not deleted: parked ones, and those that another row stands for. The application
 * that deletes what they refer to cannot see them, so its delete says nothing of them.
 */
export class UnseenRows {
  private readonly rows: RowStore;
  private readonly knowledge: Knowledge;
  /** By number of a table, the identities of its rows that are referred to; read once per drain. */
  private readonly named = new Map<number, ReadonlySet<string>>();

  constructor({ rows, knowledge }: { rows: RowStore; knowledge: Knowledge }) {
    this.rows = rows;
    this.knowledge = knowledge;
  }

  /** Call at the start of a drain. */
  forget(): void {
    this.named.clear();
  }

  /** True when such a row refers to this one; where references are by value, when there is any that may. */
  referTo({ table, identity }: RowState): boolean {
    if (table.dependants.some(({ child }) => this.rows.waiting({ table: child, limit: 1 }).length > 0)) return true;
    if (!table.surrogate || table.referencedBy.length === 0) return false;
    let named = this.named.get(table.tid);
    if (!named) this.named.set(table.tid, (named = this.namesOf(table)));
    return named.has(`${identity.origin}:${identity.sequence}`);
  }

  private namesOf(parent: Table): ReadonlySet<string> {
    const names = new Set<string>();
    for (const child of new Set(parent.referencedBy.map((reference) => reference.child))) {
      const unseen = [...this.rows.waiting({ table: child }), ...(this.rows.same.exist ? this.rows.joined(child) : [])];
      for (const row of unseen) {
        if (!isAlive(row, this.knowledge)) continue;
        const cells = this.rows.cells(row);
        for (const { index, parent: target } of child.references) {
          const ref = cells[index];
          if (target === parent && ref instanceof Ref) names.add(`${ref.origin}:${ref.sequence}`);
        }
      }
    }
    return names;
  }
}

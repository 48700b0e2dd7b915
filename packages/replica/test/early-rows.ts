import type { SimulatedHistory } from "./simulated-applications.ts";
import type { Node } from "./verdict.ts";

/** Integers of parents that are written after their children; the same at all nodes, above all that SQLite gives out here. */
const FROM = 2_000;

/**
 * An application that enforces no foreign keys and writes a child before its parent, under an integer that others write
 * for a parent of theirs. The child means whoever its author's application then finds there, or the parent that it adds.
 */
export class EarlyRows {
  private readonly history: Pick<SimulatedHistory, "value" | "trace" | "ledger">;
  /** Children whose parent is still to be written, by node. */
  private readonly open = new Map<string, { marker: string; table: string; id: number }[]>();
  /** Children that another application has written anew with the integer that it saw: two say whom they mean. */
  private readonly disputed = new Set<string>();
  private readonly next = new Map<string, number>();
  private parents = 0;

  constructor(history: Pick<SimulatedHistory, "value" | "trace" | "ledger">) {
    this.history = history;
  }

  /** An integer that no parent of the node has, nor another child waits for. */
  private idFor(node: Node): number {
    let id = this.next.get(node.name) ?? FROM;
    while (node.app.prepare("SELECT 1 FROM parent WHERE id = ?").get(id) !== undefined) id++;
    this.next.set(node.name, id + 1);
    return id;
  }

  /** Writes a child. */
  insert(node: Node, table: string, { marker, x, y }: { marker: string; x: string; y: string }): void {
    const id = this.idFor(node);
    node.app.pragma("foreign_keys = OFF");
    node.app.prepare(`INSERT INTO ${table}(m, p, x, y) VALUES(?, ?, ?, ?)`).run(marker, id, x, y);
    node.app.pragma("foreign_keys = ON");
    const open = this.open.get(node.name) ?? [];
    open.push({ marker, table, id });
    this.open.set(node.name, open);
  }

  /** The application writes a row anew as a whole: whom it means is for this one to say, too. */
  replaced(node: Node, table: string, marker: string, id: unknown): void {
    if ((table !== "child" && table !== "note") || typeof id !== "number" || id < FROM || id >= FROM + 1_000) return;
    this.disputed.add(marker);
    this.history.ledger.parents.delete(marker);
    const open = this.open.get(node.name) ?? [];
    open.push({ marker, table, id });
    this.open.set(node.name, open);
  }

  /** Writes the parent of the child that has waited longest, unless a sync has brought one. False where none waits. */
  complete(node: Node): boolean {
    const child = this.open.get(node.name)?.shift();
    if (!child) return false;
    const { marker, table, id } = child;
    const means = () =>
      node.app.prepare(`SELECT parent.m FROM ${table} AS c JOIN parent ON parent.id = c.p WHERE c.m = ?`).pluck().get(marker) as
        | string
        | undefined;
    const there = node.app.prepare(`SELECT p FROM ${table} WHERE m = ?`).pluck().get(marker) as number | undefined;
    if (there === undefined) return true;
    if (means() === undefined && there === id) {
      const parent = `parent-e${++this.parents}-${node.name}`;
      const [x, y] = [this.history.value(), this.history.value()];
      node.app.prepare("INSERT INTO parent(id, m, x, y) VALUES(?, ?, ?, ?)").run(id, parent, x, y);
      this.history.trace(`${node.name} inserts ${parent} (${id}) for ${marker}`);
      this.history.ledger.rows.set(parent, "parent");
      this.history.ledger.wrote(parent, "x", x, []);
      this.history.ledger.wrote(parent, "y", y, []);
    }
    const parent = means();
    if (parent === undefined || this.disputed.has(marker)) return true;
    this.history.trace(`${node.name} has ${marker} hang on ${parent}`);
    this.history.ledger.parents.set(marker, parent);
    // Whoever deleted one of the two meanwhile could not know of the other, nor whom it means.
    this.history.ledger.lives(marker);
    return true;
  }
}

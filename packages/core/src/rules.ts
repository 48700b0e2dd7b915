import { SyncError } from "./errors.ts";

/**
 * How concurrent writes of one column become one value. `lww`: the latest wins. `max`, `min`: the greatest or least by
 * SQLite's comparison. `counter`: all increments are added. `set`: a JSON array of elements that are added and removed
 * one by one. `prefer`: writes of the nodes named first win, whatever the time. An edit that knew the others replaces them all, under every rule.
 */
export type Rule = { kind: "lww" | "max" | "min" | "counter" | "set" } | { kind: "prefer"; authors: readonly string[] };

export const LWW: Rule = { kind: "lww" };

/** Rules whose value is made of all concurrent writes, so that each write says what it changed. */
export const isCombining = ({ kind }: Rule): boolean => kind === "counter" || kind === "set";

/** Reads `max`, `counter`, `prefer:hub,shop`. Throws INVALID_ARGUMENT. */
export function parseRule(text: string): Rule {
  const [kind, list] = text.split(/:(.*)/s) as [string, string | undefined];
  if (list === undefined && (kind === "lww" || kind === "max" || kind === "min" || kind === "counter" || kind === "set")) return { kind };
  const authors = (list ?? "").split(",").map((name) => name.trim());
  if (kind === "prefer" && authors.every((name) => name !== "")) return { kind, authors };
  throw new SyncError({
    code: "INVALID_ARGUMENT",
    message: `"${text}" is no rule for a column`,
    action: "Write lww, max, min, counter, set, or prefer:NODE,NODE with the names of the nodes whose writes win, best first.",
  });
}

export function formatRule(rule: Rule): string {
  return rule.kind === "prefer" ? `prefer:${rule.authors.join(",")}` : rule.kind;
}

/**
 * What all replicas of a database must agree on, by `table.column` in lower case. Its text, equal where the terms are, goes with every batch.
 */
export interface Terms {
  rules: ReadonlyMap<string, Rule>;
  /**
   * Columns that hold the integer key of another table without a foreign key that says so: that table and its key, with
   * the name of its database in front where it is another one.
   */
  references: ReadonlyMap<string, string>;
}

export const NO_TERMS: Terms = { rules: new Map(), references: new Map() };

/**
 * Reads `table.column=rule` and `table.column->[database.]table.column` entries. Throws INVALID_ARGUMENT for what it cannot read and
 * for two rules or references of one column.
 */
export function parseTerms(entries: readonly string[]): Terms {
  const rules = new Map<string, Rule>();
  const references = new Map<string, string>();
  for (const entry of entries) {
    const [, from, to] = /^([^=]+?\.[^=]+?)\s*->\s*((?:[^=]+\.)?[^=.]+\.[^=.]+)$/s.exec(entry.trim()) ?? [];
    if (from !== undefined && to !== undefined) {
      const name = from.trim().toLowerCase();
      if (references.has(name)) {
        throw new SyncError({ code: "INVALID_ARGUMENT", message: `column "${name}" refers to two tables`, action: "Keep one of them." });
      }
      references.set(name, to.trim().toLowerCase());
      continue;
    }
    const [, column, text] = /^([^=]+\.[^=]+)=(.*)$/s.exec(entry.trim()) ?? [];
    if (column === undefined || text === undefined) {
      throw new SyncError({
        code: "INVALID_ARGUMENT",
        message: `"${entry}" names no column and rule`,
        action: "Write TABLE.COLUMN=RULE, for example match.score=max.",
      });
    }
    const name = column.trim().toLowerCase();
    if (rules.has(name)) {
      throw new SyncError({ code: "INVALID_ARGUMENT", message: `column "${name}" has two rules`, action: "Keep one of them." });
    }
    rules.set(name, parseRule(text.trim()));
  }
  return { rules, references };
}

/** The table and the column that a reference names, and the database where that is another one; null otherwise. */
export function referenceTarget(to: string): { database: string | null; table: string; column: string } {
  const parts = to.split(".");
  const [table, column] = parts.slice(-2) as [string, string];
  return { database: parts.length > 2 ? parts.slice(0, -2).join(".") : null, table, column };
}

/** One line per column whose rule is not the default or that refers to another table, in a fixed order: equal where the terms are. */
export function formatTerms({ rules, references }: Terms): string {
  const ruled = [...rules].filter(([, rule]) => rule.kind !== "lww").map(([column, rule]) => `${column}=${formatRule(rule)}`);
  return [...ruled, ...[...references].map(([column, target]) => `${column}->${target}`)].sort().join("\n");
}

/** Throws RULES_DIFFER, naming each column with the rule here and there, unless the two texts say the same. */
export function checkTerms(database: string, here: string, there: string): void {
  if (here === there) return;
  const lines = (text: string) => text.split("\n").filter((line) => line !== "");
  const columnOf = (line: string) => line.split(/=|->/, 1)[0] as string;
  const said = (text: string, column: string) => {
    const own = lines(text).filter((line) => columnOf(line) === column);
    return own.map((line) => line.slice(column.length).replace(/^=/, "")).join(" and ") || "lww";
  };
  const columns = [...new Set([...lines(here), ...lines(there)].map(columnOf))].sort();
  const differing = columns.filter((column) => said(here, column) !== said(there, column));
  const list = differing.map((column) => `${column} (here ${said(here, column)}, there ${said(there, column)})`);
  throw new SyncError({
    code: "RULES_DIFFER",
    message: `the two nodes have different rules for columns of "${database}": ${list.join(", ")}`,
    action:
      "Give both nodes the same rules and references (`rules` and `references` in the configuration file, or --rule and --reference) and start them again. Nothing was exchanged.",
  });
}

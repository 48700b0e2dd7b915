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
}

export const NO_TERMS: Terms = { rules: new Map() };

/** Reads `table.column=rule` entries. Throws INVALID_ARGUMENT for what it cannot read and for two rules of one column. */
export function parseTerms(entries: readonly string[]): Terms {
  const rules = new Map<string, Rule>();
  for (const entry of entries) {
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
  return { rules };
}

/** One line per column whose rule is not the default, in a fixed order: equal where the terms are. */
export function formatTerms({ rules }: Terms): string {
  return [...rules]
    .filter(([, rule]) => rule.kind !== "lww")
    .map(([column, rule]) => `${column}=${formatRule(rule)}`)
    .sort()
    .join("\n");
}

/** Throws RULES_DIFFER, naming each column with the rule here and there, unless the two texts say the same. */
export function checkTerms(database: string, here: string, there: string): void {
  if (here === there) return;
  const byColumn = (text: string) =>
    new Map(text.split("\n").flatMap((line) => (line === "" ? [] : [line.split(/=(.*)/s) as [string, string]])));
  const [ours, theirs] = [byColumn(here), byColumn(there)];
  const differing = [...new Set([...ours.keys(), ...theirs.keys()])].sort().filter((column) => ours.get(column) !== theirs.get(column));
  const list = differing.map((column) => `${column} (here ${ours.get(column) ?? "lww"}, there ${theirs.get(column) ?? "lww"})`);
  throw new SyncError({
    code: "RULES_DIFFER",
    message: `the two nodes have different rules for columns of "${database}": ${list.join(", ")}`,
    action: "Give both nodes the same rules (`rules` in the configuration file, or --rule) and start them again. Nothing was exchanged.",
  });
}

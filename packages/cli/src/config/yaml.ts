import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { parse } from "yaml";
import { usageError } from "../exit.ts";
import type { NodeSource } from "./node-settings.ts";

/** What a YAML file says about a node. Its relative paths are relative to the file. */
export function nodeSettingsFromFile(path: string): NodeSource {
  let content: unknown;
  try {
    content = parse(readFileSync(path, "utf8"));
  } catch (error) {
    const reason = error instanceof Error ? (error.message.split("\n", 1)[0] ?? "") : String(error);
    throw usageError(`the configuration file ${path} cannot be read: ${reason}`, "Check the path given with --config and the file's YAML.");
  }
  if (content === null || content === undefined) return {};
  if (typeof content !== "object" || Array.isArray(content)) {
    throw usageError(`the configuration file ${path} does not hold keys and values`, "Write lines like `name: pits` and `databases:`.");
  }
  const source = { ...(content as Record<string, unknown>) };
  const base = dirname(resolve(path));
  if ("databases" in source) source["databases"] = databasesOf(source["databases"], base);
  if ("files" in source) source["files"] = databasesOf(source["files"], base);
  if ("rules" in source) source["rules"] = rulesOf(source["rules"]);
  if ("references" in source) source["references"] = pairsOf(source["references"]);
  if (typeof source["scopes"] === "string") source["scopes"] = resolve(base, source["scopes"]);
  if ("row_files" in source) source["row_files"] = pairsOf(source["row_files"]);
  if (typeof source["data"] === "string") source["data"] = resolve(base, source["data"]);
  return source;
}

/** What a file of scopes holds; who serves them checks it. Throws a usage error for what is no YAML. */
export function scopesFromFile(path: string): unknown {
  try {
    return parse(readFileSync(path, "utf8"));
  } catch (error) {
    const reason = error instanceof Error ? (error.message.split("\n", 1)[0] ?? "") : String(error);
    throw usageError(`the file of scopes ${path} cannot be read: ${reason}`, "Check the path given with --scopes and the file's YAML.");
  }
}

/** `databases` may be a list of name and path, or simply `name: path` lines. */
function databasesOf(given: unknown, base: string): unknown {
  const entries: unknown[] = Array.isArray(given)
    ? given
    : Object.entries((given ?? {}) as Record<string, unknown>).map(([name, path]) => ({ name, path }));
  return entries.map((entry) => {
    const { path } = (entry ?? {}) as { path?: unknown };
    return typeof path === "string" && path !== "" ? { ...(entry as object), path: resolve(base, path) } : entry;
  });
}

/** `rules` is `NAME.TABLE.COLUMN: rule` lines, where a rule may be `{ prefer: [node, …] }`; a list is taken as it is. */
function rulesOf(given: unknown): unknown {
  if (Array.isArray(given) || typeof given !== "object") return given;
  return Object.entries(given ?? {}).map(([column, rule]: [string, unknown]) => {
    const { prefer } = (typeof rule === "object" && rule !== null ? rule : {}) as { prefer?: unknown };
    const nodes = Array.isArray(prefer) ? prefer.map(String) : [String(prefer)];
    const text = prefer === undefined ? String(rule) : `prefer:${nodes.join(",")}`;
    return `${column}=${text}`;
  });
}

/** `references` is `NAME.TABLE.COLUMN: NAME.TABLE.KEY` lines; a list is taken as it is. */
function pairsOf(given: unknown): unknown {
  if (Array.isArray(given) || typeof given !== "object") return given;
  return Object.entries(given ?? {}).map(([column, target]: [string, unknown]) => `${column}=${String(target)}`);
}

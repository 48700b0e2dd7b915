import { resolve } from "node:path";
import { usageError } from "../exit.ts";
import type { Surroundings } from "../surroundings.ts";
import { parseDatabase, parseFileRoot } from "./entries.ts";
import { NODE_FLAGS, NodeSettings, type NodeSource } from "./node-settings.ts";

const FILE_NUMBERS = [
  ["file_max_mib", "FILE_MAX_MIB"],
  ["file_rate_mib", "FILE_RATE_MIB"],
  ["row_rate", "ROW_RATE"],
  ["row_rate_mib", "ROW_RATE_MIB"],
  ["file_min_free_mib", "FILE_MIN_FREE_MIB"],
] as const;

/** What `SCOUTSYNC_*` says about a node. Lists are comma-separated. */
export function nodeSettingsFromEnvironment({ env, cwd }: Pick<Surroundings, "env" | "cwd">): NodeSource {
  const source: NodeSource = {};
  const text = (name: string) => env[`SCOUTSYNC_${name}`] || undefined;
  const list = (name: string) =>
    text(name)
      ?.split(",")
      .map((piece) => piece.trim())
      .filter((piece) => piece !== "");
  assign(source, "name", text("NAME"));
  assign(source, "listen", text("LISTEN"));
  assign(
    source,
    "databases",
    list("DB")?.map((entry) => parseDatabase(entry, cwd)),
  );
  assign(
    source,
    "files",
    list("FILES")?.map((entry) => parseFileRoot(entry, cwd)),
  );
  assign(source, "file_exclude", list("FILE_EXCLUDE"));
  assign(source, "row_files", list("ROW_FILES"));
  for (const [key, name] of FILE_NUMBERS) {
    const number = text(name);
    assign(source, key, number === undefined ? undefined : Number(number));
  }
  assign(source, "data", text("DATA"));
  assign(source, "discover", text("DISCOVER"));
  assign(source, "peers", list("PEER"));
  assign(source, "coordinator", text("COORDINATOR"));
  assign(source, "baseline", text("BASELINE") as NodeSource["baseline"]);
  assign(source, "exclude", list("EXCLUDE"));
  assign(source, "sensitive", list("SENSITIVE"));
  assign(source, "run_triggers", list("RUN_TRIGGER"));
  assign(source, "suspend_triggers", list("SUSPEND_TRIGGER"));
  assign(
    source,
    "rules",
    text("RULE")
      ?.split(";")
      .map((entry) => entry.trim())
      .filter((entry) => entry !== ""),
  );
  assign(source, "references", list("REFERENCE"));
  const scopes = text("SCOPES");
  assign(source, "scopes", scopes === undefined ? undefined : resolve(cwd, scopes));
  assign(source, "park", list("PARK"));
  assign(source, "receive_only", booleanOf(text("RECEIVE_ONLY"), "RECEIVE_ONLY"));
  const days = text("REISSUE_AFTER_DAYS");
  assign(source, "reissue_after_days", days === undefined ? undefined : Number(days));
  const retention = text("RETENTION_DAYS");
  assign(source, "retention_days", retention === undefined ? undefined : Number(retention));
  assign(source, "serve_restored", booleanOf(text("SERVE_RESTORED"), "SERVE_RESTORED"));
  assign(source, "quarantine", text("QUARANTINE"));
  assign(source, "metrics", text("METRICS"));
  assign(source, "join", text("JOIN"));
  assign(source, "insecure", booleanOf(text("INSECURE"), "INSECURE"));
  assign(source, "log_level", text("LOG_LEVEL") as NodeSource["log_level"]);
  return source;
}

/** Flags over environment over file over defaults, checked. Throws a usage error that names every wrong key. */
export function resolveNodeSettings(flags: NodeSource, environment: NodeSource, file: NodeSource): NodeSettings {
  const source = { ...file, ...environment, ...flags };
  const result = NodeSettings.safeParse(source);
  // Checked apart from the rest, so that it is said together with everything else that is wrong.
  const isEmpty = (given: unknown) => given === undefined || (Array.isArray(given) && given.length === 0);
  const nothing = isEmpty(source.databases) && isEmpty(source.files);
  if (result.success && !nothing) return result.data;
  const problems = (result.error?.issues ?? []).map((issue) => {
    const key = String(issue.path[0] ?? "");
    const flag = NODE_FLAGS[key];
    return flag ? `${issue.message} (${flag}, or ${key} in the file)` : issue.message;
  });
  if (nothing) problems.push("at least one database or file root is needed (--db or --files, or databases and files in the file)");
  throw usageError(`the node cannot start: ${problems.join("; ")}`, "See `scoutsync node --help`.");
}

function assign<Key extends keyof NodeSource>(source: NodeSource, key: Key, value: NodeSource[Key] | undefined): void {
  if (value !== undefined) source[key] = value;
}

function booleanOf(text: string | undefined, name: string): boolean | undefined {
  if (text === undefined) return undefined;
  if (["1", "true", "yes", "on"].includes(text.toLowerCase())) return true;
  if (["0", "false", "no", "off"].includes(text.toLowerCase())) return false;
  throw usageError(`SCOUTSYNC_${name} is "${text}"`, "Set it to true or false.");
}

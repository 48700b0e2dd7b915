import { z } from "zod";
import { parseTerms, SyncError } from "@scoutsync/core";
import { parseAddress } from "@scoutsync/runtime";
import { isInterface } from "./interface.ts";

const address = z.string().refine((text) => parseAddress(text) !== null, { error: (issue) => `"${String(issue.input)}" is not host:port` });

const databaseName = z
  .string()
  .regex(/^[A-Za-z0-9_.-]{1,64}$/, { error: "a database's name is 1 to 64 letters, digits, dots, dashes and underscores" });

/** Everything a sync-node can be told, once: flags, environment and the YAML file all end here. */
export const NodeSettings = z
  .strictObject({
    name: z
      .string({ error: "the node needs a name" })
      .regex(/^[A-Za-z0-9_.-]{1,64}$/, { error: "a node's name is 1 to 64 letters, digits, dots, dashes and underscores" })
      .describe("what people call this node; unique in the fleet"),
    listen: address.default("127.0.0.1:7071").describe("host:port to serve on; port 0 picks a free one"),
    databases: z
      .array(z.strictObject({ name: databaseName, path: z.string().min(1) }), { error: "databases are NAME and PATH" })
      .default([])
      .describe("the SQLite databases taking part"),
    files: z
      .array(z.strictObject({ name: databaseName, path: z.string().min(1) }), { error: "file roots are ROOT and DIR" })
      .default([])
      .describe("the folders of files taking part"),
    file_exclude: z
      .array(z.string().regex(/^[^:]+:./, { error: (issue) => `"${String(issue.input)}" is not ROOT:PATTERN` }))
      .default([])
      .describe("ROOT:PATTERN in gitignore syntax: files that are left alone, beside the root's own .scoutsyncignore"),
    row_files: z
      .array(
        z
          .string()
          .regex(/^[^=]+\.[^=]+\.[^=]+=[^=]+$/, { error: (issue) => `"${String(issue.input)}" is not NAME.TABLE.COLUMN=ROOT[/FOLDER]` }),
      )
      .default([])
      .describe("columns whose texts name files of a root, reported until those are here: NAME.TABLE.COLUMN=ROOT or =ROOT/FOLDER"),
    file_max_mib: z.number({ error: "file_max_mib is a number" }).positive().default(65_536).describe("larger files are left alone, MiB"),
    file_rate_mib: z
      .number({ error: "file_rate_mib is a number" })
      .min(0)
      .default(0)
      .describe("how fast files travel at most, MiB per second; 0 = no limit"),
    row_rate: z
      .number({ error: "row_rate is a number" })
      .min(0)
      .default(0)
      .describe("how many changes of rows pass this node per second at most, in both directions together; 0 = no limit"),
    row_rate_mib: z
      .number({ error: "row_rate_mib is a number" })
      .min(0)
      .default(0)
      .describe("the same as MiB per second, as they travel; 0 = no limit"),
    file_min_free_mib: z
      .number({ error: "file_min_free_mib is a number" })
      .min(0)
      .default(1_024)
      .describe("room on a root's disk that what others send never uses, MiB, and never more than a twentieth of the disk"),
    data: z.string().min(1).optional().describe("folder for what the node itself remembers"),
    peers: z.array(address).default([]).describe("nodes to stay in sync with live, coordinator or not"),
    coordinator: address.optional().describe("the coordinator to register with"),
    baseline: z
      .enum(["shared", "distinct"], { error: "baseline is shared or distinct" })
      .optional()
      .describe("whether rows from before syncing are the same rows as the other side's"),
    exclude: z.array(z.string().min(1)).default([]).describe("NAME.TABLE or NAME.TABLE.COLUMN that never leaves this node"),
    sensitive: z
      .array(z.string().min(1))
      .default([])
      .describe(
        "NAME.TABLE or NAME.TABLE.COLUMN that syncs and is shown to nobody: not in reviews, histories, logs, errors or the dashboard",
      ),
    run_triggers: z
      .array(z.string().min(1))
      .default([])
      .describe("NAME.TRIGGER of the application that runs also where changes of others are applied"),
    suspend_triggers: z
      .array(z.string().min(1))
      .default([])
      .describe("NAME.TRIGGER of the application that runs only where a row is written"),
    rules: z
      .array(z.string().min(1))
      .default([])
      .describe(
        "how concurrent writes of a column become one value: NAME.TABLE.COLUMN=RULE with lww, max, min, counter, set or prefer:NODE,NODE",
      ),
    references: z
      .array(
        z
          .string()
          .regex(/^[^=]+=[^=]+$/, { error: (issue) => `the reference "${String(issue.input)}" is not NAME.TABLE.COLUMN=NAME.TABLE.KEY` }),
      )
      .default([])
      .describe(
        "columns that hold the integer key of another table, also of another database of the node, without a foreign key: NAME.TABLE.COLUMN=NAME.TABLE.KEY",
      ),
    scopes: z
      .string()
      .min(1)
      .optional()
      .describe("YAML file that says what nodes invited with --scope see and may change: SCOPE, DATABASE, TABLE"),
    park: z
      .array(z.string().min(1))
      .default([])
      .describe("NAME.TABLE or NAME.* whose rows with one UNIQUE value are left to people instead of being made one"),
    receive_only: z.boolean({ error: "receive_only is true or false" }).default(false).describe("take changes, never send own ones"),
    reissue_after_days: z
      .number({ error: "reissue_after_days is a number of days" })
      .min(0, { error: "reissue_after_days is a number of days" })
      .default(7)
      .describe("after so many days what a node that is away has sent only in part is taken over; 0 = never by itself"),
    retention_days: z
      .number({ error: "retention_days is a number of days" })
      .min(0, { error: "retention_days is a number of days" })
      .default(30)
      .describe("deleted rows are kept for so many days at least, and until every node knows that they are deleted"),
    serve_restored: z
      .boolean({ error: "serve_restored is true or false" })
      .default(false)
      .describe("serve what a restored backup holds though no other node is left to pull from"),
    quarantine: z
      .string()
      .regex(/^(off|[1-9]\d{0,8}:(100|\d{1,2}))$/, { error: "quarantine is ROWS:PERCENT, for example 100:50, or off" })
      .default("100:50")
      .describe("deletes of at least so many rows and more than this share of a table at once are kept back for a person"),
    metrics: address.optional().describe("host:port to serve GET /metrics for Prometheus on"),
    join: z.string().min(1).optional().describe("a join code from `scoutsync invite`: becomes a member of that fleet, once"),
    discover: z
      .string()
      .refine(isInterface, { error: (issue) => `"${String(issue.input)}" is not the address of a network interface, nor "all"` })
      .optional()
      .describe(
        "find the coordinator, or other nodes, of the fleet on the local network by mDNS: the address of a network interface, or all",
      ),
    insecure: z
      .boolean({ error: "insecure is true or false" })
      .default(false)
      .describe("speak plain text also beyond this machine, where the node belongs to no fleet"),
    log_level: z.enum(["trace", "debug", "info", "warn", "error", "silent"]).optional().describe("what to log on stderr"),
  })
  .superRefine((settings, context) => {
    const roots = settings.files.map((root) => root.name);
    const rootTwice = roots.find((name, at) => roots.indexOf(name) !== at);
    if (rootTwice !== undefined) context.addIssue({ code: "custom", path: ["files"], message: `two file roots are named "${rootTwice}"` });
    for (const entry of settings.file_exclude) {
      if (roots.includes(entry.slice(0, entry.indexOf(":")))) continue;
      context.addIssue({
        code: "custom",
        path: ["file_exclude"],
        message: `"${entry}" names no file root given here (${roots.join(", ")})`,
      });
    }
    const names = settings.databases.map((database) => database.name);
    const twice = names.find((name, at) => names.indexOf(name) !== at);
    if (twice !== undefined) {
      context.addIssue({ code: "custom", path: ["databases"], message: `two databases are named "${twice}"` });
    }
    const forms = {
      exclude: "NAME.TABLE or NAME.TABLE.COLUMN",
      sensitive: "NAME.TABLE or NAME.TABLE.COLUMN",
      run_triggers: "NAME.TRIGGER",
      suspend_triggers: "NAME.TRIGGER",
      park: "NAME.TABLE or NAME.*",
    } as const;
    for (const [key, form] of Object.entries(forms) as [keyof typeof forms, string][]) {
      for (const entry of settings[key]) {
        if (names.some((name) => entry.startsWith(`${name}.`) && entry.length > name.length + 1)) continue;
        context.addIssue({
          code: "custom",
          path: [key],
          message: `"${entry}" is not ${form} of a database given here (${names.join(", ")})`,
        });
      }
    }
    for (const entry of settings.rules) {
      const name = names.filter((candidate) => entry.startsWith(`${candidate}.`)).sort((a, b) => b.length - a.length)[0];
      if (name === undefined) {
        const message = `the rule "${entry}" names no database given here (${names.join(", ")})`;
        context.addIssue({ code: "custom", path: ["rules"], message });
        continue;
      }
      try {
        parseTerms([entry.slice(name.length + 1)]);
      } catch (error) {
        if (!(error instanceof SyncError)) throw error;
        context.addIssue({ code: "custom", path: ["rules"], message: error.message });
      }
    }
  });

export type NodeSettings = z.output<typeof NodeSettings>;

/** The keys as a source gives them, before defaults. */
export type NodeSource = Partial<z.input<typeof NodeSettings>>;

/** How each key is called on the command line, for messages. */
export const NODE_FLAGS: Readonly<Record<string, string>> = {
  name: "--name",
  listen: "--listen",
  databases: "--db",
  files: "--files",
  file_exclude: "--file-exclude",
  row_files: "--row-files",
  file_max_mib: "--file-max-mib",
  file_rate_mib: "--file-rate-mib",
  row_rate: "--row-rate",
  row_rate_mib: "--row-rate-mib",
  file_min_free_mib: "--file-min-free-mib",
  data: "--data",
  peers: "--peer",
  coordinator: "--coordinator",
  baseline: "--baseline",
  exclude: "--exclude",
  sensitive: "--sensitive",
  run_triggers: "--run-trigger",
  suspend_triggers: "--suspend-trigger",
  scopes: "--scopes",
  rules: "--rule",
  references: "--reference",
  park: "--park",
  receive_only: "--receive-only",
  reissue_after_days: "--reissue-after-days",
  retention_days: "--retention-days",
  serve_restored: "--serve-restored",
  quarantine: "--quarantine",
  metrics: "--metrics",
  join: "--join",
  discover: "--discover",
  insecure: "--insecure",
  log_level: "--log-level",
};

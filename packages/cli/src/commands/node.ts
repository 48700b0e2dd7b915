import { hostname } from "node:os";
import { dirname, join, resolve } from "node:path";
import { Option } from "commander";
import { createLogger, printReady, runUntilSignal } from "@scoutsync/runtime";
import { declare, repeatable, type Registration } from "../command.ts";
import { parseDatabase, parseFileRoot } from "../config/entries.ts";
import type { NodeSettings, NodeSource } from "../config/node-settings.ts";

const MIB = 1024 * 1024;

interface NodeOptions {
  name?: string;
  listen?: string;
  db?: string[];
  files?: string[];
  fileExclude?: string[];
  rowFiles?: string[];
  fileMaxMib?: string;
  fileRateMib?: string;
  rowRate?: string;
  rowRateMib?: string;
  fileMinFreeMib?: string;
  data?: string;
  peer?: string[];
  coordinator?: string;
  baseline?: "shared" | "distinct";
  exclude?: string[];
  sensitive?: string[];
  runTrigger?: string[];
  suspendTrigger?: string[];
  rule?: string[];
  reference?: string[];
  scopes?: string;
  park?: string[];
  receiveOnly?: boolean;
  reissueAfterDays?: string;
  retentionDays?: string;
  serveRestored?: boolean;
  quarantine?: string;
  metrics?: string;
  join?: string;
  discover?: string | true;
  insecure?: boolean;
  config?: string;
}

/** `scoutsync node`: serves databases of this machine until it is told to stop. */
export const registerNode: Registration = (program, surroundings) => {
  declare<NodeOptions>(program, surroundings, {
    usage: "node",
    summary: "run a sync-node: keep databases of this machine in sync with other nodes",
    options: [
      new Option("--name <name>", "what people call this node (default: the machine's name)"),
      new Option("--listen <address>", "host:port to serve on, port 0 picks one (default 127.0.0.1:7071)"),
      repeatable("--db <name=path>", "a database taking part; repeat for more"),
      repeatable("--files <root=dir>", "a folder of files taking part; repeat for more"),
      repeatable("--file-exclude <root:pattern>", "files of a root that are left alone, gitignore syntax; repeat for more"),
      repeatable("--row-files <name.table.column=root>", "a column whose texts name files of a root, reported until they are here"),
      new Option("--file-max-mib <mib>", "larger files are left alone (default 65536)"),
      new Option("--file-rate-mib <mib>", "MiB per second that files travel with at most (default 0: no limit)"),
      new Option("--row-rate <changes>", "changes of rows per second that pass at most, both directions together (default 0: no limit)"),
      new Option("--row-rate-mib <mib>", "the same as MiB per second (default 0: no limit)"),
      new Option("--file-min-free-mib <mib>", "room on a root's disk that others' files never use (default 1024, at most a twentieth)"),
      new Option("--data <dir>", "folder for what the node itself remembers (default .scoutsync-NAME beside the first database)"),
      repeatable("--peer <address>", "a node to stay in sync with live; repeat for more"),
      new Option("--coordinator <address>", "the coordinator to register with"),
      new Option("--baseline <choice>", "rows that were there before syncing are the same rows elsewhere, or not").choices([
        "shared",
        "distinct",
      ]),
      repeatable("--exclude <name.table[.column]>", "what never leaves this node; repeat for more"),
      repeatable("--sensitive <name.table[.column]>", "what syncs and is shown to nobody; repeat for more"),
      repeatable("--run-trigger <name.trigger>", "a trigger of the application that runs also where changes of others are applied"),
      repeatable("--suspend-trigger <name.trigger>", "a trigger of the application that runs only where a row is written"),
      repeatable(
        "--rule <name.table.column=rule>",
        "how concurrent writes of a column become one value: lww (default), max, min, counter, set or prefer:NODE,NODE; the same on every node; repeat for more",
      ),
      repeatable(
        "--reference <name.table.column=name.table.key>",
        "a column that holds the integer key of another table, also of another database of the node, without a foreign key; the same on every node; repeat for more",
      ),
      new Option("--scopes <file>", "YAML that says what nodes invited with --scope see and may change; see SECURITY.md"),
      repeatable(
        "--park <name.table>",
        "leave rows with one UNIQUE value to people instead of making them one, NAME.* for all tables; repeat for more",
      ),
      new Option("--receive-only", "take changes, never send own ones"),
      new Option("--reissue-after-days <days>", "take over what a node that is away has sent only in part, 0 = never (default 7)"),
      new Option(
        "--retention-days <days>",
        "keep deleted rows for at least so long, and until every node knows that they are deleted (default 30)",
      ),
      new Option("--serve-restored", "serve what a restored backup holds, where no other node is left to pull from first"),
      new Option(
        "--quarantine <rows:percent>",
        "keep mass deletes back for a person from so many rows and more than this share of a table on, or off (default 100:50)",
      ),
      new Option("--metrics <address>", "host:port to serve GET /metrics for Prometheus on"),
      new Option(
        "--join <code>",
        "become a member of a fleet with the code that `scoutsync invite` printed; kept, and no harm when given again",
      ),
      new Option(
        "--discover [interface]",
        "find the coordinator, or other nodes, of the fleet on the local network (mDNS); through the interface with this address, or all",
      ),
      new Option("--insecure", "speak plain text also beyond this machine; anyone in between can read and change it"),
      new Option("--config <file>", "YAML file with the same settings; flags and SCOUTSYNC_* win over it"),
    ],
    examples: [
      "scoutsync node --name pits --db main=./app.db",
      "scoutsync node --name pits --listen 0.0.0.0:7071 --db scouting=./scouting.db --db users=./users.db --peer 192.168.1.20:7071",
      "scoutsync node --name pits --db main=./app.db --rule main.stock.count=counter --rule main.user.role=prefer:hub,shop",
      "scoutsync node --name pits --listen 0.0.0.0:7071 --db main=./app.db --join scout1-eyJhIjpb…",
      "scoutsync node --name pits --db main=./app.db --files uploads=./uploads --file-exclude 'uploads:*.bak' --peer 10.0.0.6:7071",
      "scoutsync node --config /etc/scoutsync/node.yaml --coordinator 10.0.0.5:7070",
    ],
    run: async (options, { surroundings: { env, cwd }, logLevel }) => {
      const configPath = options.config ?? env["SCOUTSYNC_CONFIG"];
      // Not every command has to read what checks settings and YAML.
      const { nodeSettingsFromEnvironment, resolveNodeSettings } = await import("../config/load.ts");
      const file = configPath === undefined ? {} : (await import("../config/yaml.ts")).nodeSettingsFromFile(resolve(cwd, configPath));
      const environment = nodeSettingsFromEnvironment({ env, cwd });
      const settings = resolveNodeSettings(flagsOf(options, cwd), environment, { name: hostname(), ...file });
      const { nodeIdentity, startSyncNode } = await import("@scoutsync/sync-node");
      const dataDirectory = dataDirectoryOf(settings, cwd);
      if (settings.join !== undefined) {
        const { joinFleet } = await import("@scoutsync/trust");
        await joinFleet(dataDirectory, settings.join, { nodeId: nodeIdentity(dataDirectory), name: settings.name });
      }
      const node = await startSyncNode({
        name: settings.name,
        listen: settings.listen,
        databases: settings.databases,
        dataDirectory,
        files: settings.files,
        fileExclude: settings.file_exclude,
        rowFiles: settings.row_files,
        fileLimits: { maxSizeBytes: settings.file_max_mib * MIB, minFreeBytes: settings.file_min_free_mib * MIB },
        fileRate: settings.file_rate_mib * MIB,
        discover: settings.discover === "all" ? "" : settings.discover,
        rowRate: settings.row_rate,
        rowByteRate: settings.row_rate_mib * MIB,
        peers: settings.peers,
        coordinator: settings.coordinator ?? null,
        baseline: settings.baseline ?? null,
        exclude: settings.exclude,
        sensitive: settings.sensitive,
        triggers: { run: settings.run_triggers, suspend: settings.suspend_triggers },
        rules: settings.rules,
        references: settings.references,
        ...(settings.scopes !== undefined && { scopes: (await import("../config/yaml.ts")).scopesFromFile(settings.scopes) }),
        park: settings.park,
        receiveOnly: settings.receive_only,
        reissueAfterDays: settings.reissue_after_days,
        retentionDays: settings.retention_days,
        serveRestored: settings.serve_restored,
        quarantine: quarantineOf(settings.quarantine),
        metrics: settings.metrics ?? null,
        insecure: settings.insecure,
        logger: createLogger(settings.name, logLevel ?? settings.log_level ?? "info"),
      });
      printReady({ ...node.ready });
      await runUntilSignal(node);
    },
  });
};

function flagsOf(options: NodeOptions, cwd: string): NodeSource {
  const source: NodeSource = {};
  if (options.name !== undefined) source.name = options.name;
  if (options.listen !== undefined) source.listen = options.listen;
  if (options.db !== undefined) source.databases = options.db.map((entry) => parseDatabase(entry, cwd));
  if (options.files !== undefined) source.files = options.files.map((entry) => parseFileRoot(entry, cwd));
  if (options.fileExclude !== undefined) source.file_exclude = options.fileExclude;
  if (options.rowFiles !== undefined) source.row_files = options.rowFiles;
  if (options.fileMaxMib !== undefined) source.file_max_mib = Number(options.fileMaxMib);
  if (options.fileRateMib !== undefined) source.file_rate_mib = Number(options.fileRateMib);
  if (options.rowRate !== undefined) source.row_rate = Number(options.rowRate);
  if (options.rowRateMib !== undefined) source.row_rate_mib = Number(options.rowRateMib);
  if (options.fileMinFreeMib !== undefined) source.file_min_free_mib = Number(options.fileMinFreeMib);
  if (options.data !== undefined) source.data = options.data;
  if (options.peer !== undefined) source.peers = options.peer;
  if (options.coordinator !== undefined) source.coordinator = options.coordinator;
  if (options.baseline !== undefined) source.baseline = options.baseline;
  if (options.exclude !== undefined) source.exclude = options.exclude;
  if (options.sensitive !== undefined) source.sensitive = options.sensitive;
  if (options.runTrigger !== undefined) source.run_triggers = options.runTrigger;
  if (options.suspendTrigger !== undefined) source.suspend_triggers = options.suspendTrigger;
  if (options.rule !== undefined) source.rules = options.rule;
  if (options.reference !== undefined) source.references = options.reference;
  if (options.scopes !== undefined) source.scopes = resolve(cwd, options.scopes);
  if (options.park !== undefined) source.park = options.park;
  if (options.receiveOnly !== undefined) source.receive_only = options.receiveOnly;
  if (options.reissueAfterDays !== undefined) source.reissue_after_days = Number(options.reissueAfterDays);
  if (options.retentionDays !== undefined) source.retention_days = Number(options.retentionDays);
  if (options.serveRestored !== undefined) source.serve_restored = options.serveRestored;
  if (options.quarantine !== undefined) source.quarantine = options.quarantine;
  if (options.metrics !== undefined) source.metrics = options.metrics;
  if (options.join !== undefined) source.join = options.join;
  if (options.discover !== undefined) source.discover = options.discover === true ? "all" : options.discover;
  if (options.insecure !== undefined) source.insecure = options.insecure;
  return source;
}

function quarantineOf(text: string): { rows: number; share: number } | null {
  if (text === "off") return null;
  const [rows, percent] = text.split(":").map(Number) as [number, number];
  return { rows, share: percent / 100 };
}

/** Beside the first database by default: it moves along when someone moves the folder. */
function dataDirectoryOf(settings: NodeSettings, cwd: string): string {
  if (settings.data !== undefined) return resolve(cwd, settings.data);
  return join(dirname(settings.databases[0]?.path ?? settings.files[0]?.path ?? cwd), `.scoutsync-${settings.name}`);
}

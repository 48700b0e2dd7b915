import { z } from "zod";
import { COORDINATOR_METRICS, SETTING_DEFINITIONS, type SettingDefinition } from "@scoutsync/coordinator";
import { NODE_METRICS } from "@scoutsync/sync-node";
import { NODE_FLAGS, NodeSettings } from "../config/node-settings.ts";

/** The text of docs/configuration.md: made from the schemas that check what is given, so that it cannot say something else. */
export function configurationReference(): string {
  return `# Configuration

Made from the schemas by \`npm run reference\`; change those, not this.

## A node

Flags win over \`SCOUTSYNC_*\` in the environment, that over the YAML file given with \`--config\`, that over the default. In the environment
lists are separated by commas; \`SCOUTSYNC_DB\` is \`NAME=PATH,NAME=PATH\`. Paths in the file are relative to the file.

${table(["in the file", "flag", "default", "meaning"], nodeRows())}

## The coordinator and its workers

| flag | environment | default | meaning |
| --- | --- | --- | --- |
| \`--listen\` | \`SCOUTSYNC_LISTEN\` | \`127.0.0.1:7070\` | host:port for gRPC |
| \`--http\` | \`SCOUTSYNC_HTTP\` | \`127.0.0.1:8080\` | host:port for HTTP |
| \`--redis\` | \`SCOUTSYNC_REDIS\`, \`REDIS_URL\` | \`redis://127.0.0.1:6379\` | \`redis://\` or \`rediss://\`, with user and password where needed |
| \`--data\` | \`SCOUTSYNC_DATA\` | \`.scoutsync-coordinator\` | folder for the registry |
| \`--discover\` | \`SCOUTSYNC_DISCOVER\` | | say by mDNS where the coordinator is, through the network interface with this address, or \`all\` |
| \`--coordinator\` (worker) | \`SCOUTSYNC_COORDINATOR\` | \`127.0.0.1:7070\` | whose jobs to work on |

## The fleet

Settings of the fleet are rows of \`sync_config\` in the coordinator's registry, read while it runs: \`scoutsync config set KEY VALUE\`, \`PUT /api/config\`, or
\`INSERT INTO sync_config\` take effect at once. What is not set there is as the coordinator's environment says (\`SCOUTSYNC_\` and the key in capitals), else the default.

${table(["key", "type", "default", "meaning"], settingRows())}

## Metrics

Of the coordinator, \`GET /metrics\` at its HTTP address:

${table(["name", "type", "labels", "meaning"], metricRows(Object.values(COORDINATOR_METRICS)))}

Of a node, \`GET /metrics\` at \`--metrics\`:

${table(["name", "type", "labels", "meaning"], metricRows(Object.values(NODE_METRICS)))}

Both also give the usual \`process_*\` and \`nodejs_*\`.
`;
}

function nodeRows(): string[][] {
  return Object.entries(NodeSettings.shape).map(([key, schema]) => {
    const { description = "", default: given } = z.toJSONSchema(schema, { io: "input", unrepresentable: "any" });
    return [code(key), code(NODE_FLAGS[key] ?? ""), given === undefined ? "" : code(JSON.stringify(given)), description];
  });
}

function settingRows(): string[][] {
  return Object.entries(SETTING_DEFINITIONS as Record<string, SettingDefinition>).map(([key, definition]) => [
    code(key),
    definition.type,
    definition.default === "" ? "" : code(String(definition.default)),
    definition.description,
  ]);
}

function metricRows(
  metrics: readonly { name: string; type: string; help: string; labels: Readonly<Record<string, readonly string[] | string>> }[],
): string[][] {
  return metrics.map(({ name, type, help, labels }) => [
    code(name),
    type,
    Object.entries(labels)
      .map(([label, values]) => `${code(label)}: ${typeof values === "string" ? values : values.join(", ")}`)
      .join("; "),
    help,
  ]);
}

function table(heads: readonly string[], rows: readonly string[][]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(heads), line(heads.map(() => "---")), ...rows.map(line)].join("\n");
}

function code(text: string): string {
  return text === "" ? "" : `\`${text}\``;
}

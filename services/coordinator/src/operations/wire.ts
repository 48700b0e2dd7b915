import type { z } from "zod";
import type { GetStatusResponse, Plain, PlainRequest, PlainValue, ColumnValue, Node } from "@scoutsync/protocol";
import { fromJson } from "./json-value.ts";
import type { FleetShape, NodeShape, ReviewShape, ScanResultShape, ValueShape } from "./shapes.ts";

// Where a message has another form than the JSON of the same operation.

/** What the coordinator is not told about a file root in a heartbeat; a Ping of the node says it. */
const NOT_TOLD = { files: 0, folders: 0, bytes: 0, scope: "" };

export function wireNode(node: z.input<typeof NodeShape>): Plain<Node> {
  const { session } = node;
  return {
    ...node,
    sync_enabled: !node.paused,
    databases: node.databases.map((database) => ({ baseline: "", scope: "", schema: "", ...database })),
    session: session === null ? null : { job_id: session.job_id, peer: session.peer, progress: session },
    files: node.files.map((root) => ({ ...NOT_TOLD, ...root })),
  };
}

export function wireStatus({ certificate, nodes, jobs, alerts }: z.input<typeof FleetShape>): Plain<GetStatusResponse> {
  const vectors = Object.entries(certificate.vectors).map(([key, value]) => ({ key, value }));
  return { ...certificate, nodes: nodes.map(wireNode), jobs, vectors, alerts };
}

export function wireScanResult(one: z.input<typeof ScanResultShape>) {
  return { ...one, ...one.database_changes, ...one.file_changes };
}

export function wireReview(view: z.input<typeof ReviewShape>) {
  const version = (one: typeof view.winner) => (one === undefined ? null : { ...one, value: wireValue(one.value) });
  const image = Object.entries(view.image ?? {}).map(([name, value]) => ({ name, value: wireValue(value), base: null }));
  const review = { ...view, column: view.column ?? "", winner: version(view.winner), loser: version(view.loser), image };
  return { review, server_id: view.node.id, server_name: view.node.name, also_on: view.also_on, decisions: view.decisions };
}

/** Columns of a message as the body of a route has them. */
export function jsonColumns(columns: readonly PlainRequest<ColumnValue>[]): Record<string, z.input<typeof ValueShape>> {
  return Object.fromEntries(columns.map(({ name, value }) => [name, jsonValue(value)]));
}

function wireValue(json: z.input<typeof ValueShape>): PlainValue {
  const { kind } = fromJson(json);
  switch (kind?.$case) {
    case "integer":
      return { integer: String(kind.value) };
    case "real":
      return { real: kind.value };
    case "text":
      return { text: kind.value };
    case "blob":
      return { blob: kind.value.toString("base64") };
    case "rawText":
      return { raw_text: kind.value.toString("base64") };
    default:
      return { null: true };
  }
}

function jsonValue(value: PlainValue | null): z.input<typeof ValueShape> {
  if (value === null || "null" in value) return null;
  if ("text" in value) return value.text;
  if ("integer" in value) return { integer: String(value.integer) };
  if ("real" in value) return { real: String(value.real) };
  return value;
}

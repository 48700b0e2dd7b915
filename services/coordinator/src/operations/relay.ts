import { createHash } from "node:crypto";
import { z } from "zod";
import { formatVector, join, parseVector, PROTOCOL_VERSION, SyncError, type VersionVector } from "@scoutsync/core";
import {
  Batch,
  bidi,
  fromWireVector,
  GetChangesRequest,
  serverStream,
  type Change,
  type PushAck,
  type PushChangesResponse,
} from "@scoutsync/protocol";
import type { Core } from "../core.ts";
import type { FleetNode } from "../detection/fleet.ts";
import { NodeText, Nothing } from "./inputs.ts";
import { toJsonColumns } from "./json-value.ts";
import { findNode } from "./nodes.ts";
import { operation } from "./operation.ts";
import { ValueShape } from "./shapes.ts";

/** Changes in one answer unless asked otherwise: as JSON they are some megabytes. */
const DEFAULT_CHANGES = 10_000;
const MOST_CHANGES = 100_000;
/** Batches come back as they were given, in base64. */
const MOST_BODY_BYTES = 128 * 1024 * 1024;
const DEADLINE_MS = 120_000;

const BatchShape = z.object({
  count: z.int().min(0),
  sha256: z.string().describe("SHA-256 of `payload`, hex"),
  payload: z.base64().describe("Packed changes; give them back as they are"),
});

const ChangeShape = z.object({
  dot: z.string(),
  table: z.string(),
  key: z.string(),
  operation: z.string(),
  time: z.string(),
  author: z.string(),
  columns: z.record(z.string(), ValueShape),
});

const ChangesShape = z
  .object({
    server_id: z.int(),
    server_name: z.string(),
    database: z.string(),
    since: z.string(),
    vector: z.string().describe("Give it as `since` to go on from here"),
    more: z.boolean().describe("There is more than was asked for"),
    total: z.int().min(0),
    changes: z.array(ChangeShape).describe("To look at"),
    batches: z.array(BatchShape).describe("The same to pass on: body of receive-changes"),
    sha256: z.string().describe("SHA-256 of all payloads one after the other, hex"),
    timestamp: z.iso.datetime(),
  })
  .meta({ id: "Changes" });

const ReceivedShape = z
  .object({
    success: z.literal(true),
    server_id: z.int(),
    database: z.string(),
    received: z.int().min(0),
    applied: z.int().min(0),
    conflicts: z.int().min(0),
    parked: z.int().min(0),
    timestamp: z.iso.datetime(),
  })
  .meta({ id: "ReceivedChanges" });

/** The database that is meant; a node with one need not be told its name. Throws DATABASE_NOT_FOUND. */
function databaseOf(node: FleetNode, name: string): string {
  const names = node.reports.map((report) => report.name);
  const [only, ...others] = names;
  if (name === "" && only !== undefined && others.length === 0) return only;
  if (names.includes(name)) return name;
  throw new SyncError({
    code: "DATABASE_NOT_FOUND",
    message: name === "" ? `Node "${node.row.name}" has ${names.length} databases` : `Node "${node.row.name}" has no database "${name}"`,
    action: `Say which: ${names.join(", ")}.`,
  });
}

/** Passed through as the node packs them; nothing is stored here. */
async function changesOf(core: Core, node: FleetNode, database: string, since: string, limit: number, signal: AbortSignal) {
  const from = parseVector(since);
  const client = core.clients.to(node.address);
  const request = GetChangesRequest.fromPartial({ database, since: formatVector(from), limit: BigInt(limit), protocol: PROTOCOL_VERSION });
  const options = { signal, deadlineMs: DEADLINE_MS };
  const batches: Batch[] = [];
  for await (const { batch } of serverStream(client, "getChanges", { ...request, codecs: ["zstd", "identity"] }, options)) {
    if (batch !== undefined) batches.push(batch);
  }
  const changes: Change[] = [];
  for await (const page of serverStream(client, "getChanges", { ...request, readable: true }, options)) changes.push(...page.changes);
  const last = batches.at(-1);
  const reached = batches.reduce<VersionVector>((vector, batch) => join(vector, fromWireVector(batch.to)), from);
  const packed = batches.map((batch) => Buffer.from(Batch.encode(batch).finish()));
  const whole = createHash("sha256");
  for (const bytes of packed) whole.update(bytes);
  return {
    server_id: node.id,
    server_name: node.row.name,
    database,
    since: formatVector(from),
    vector: formatVector(last?.final ? join(reached, fromWireVector(last.vector)) : reached),
    more: last !== undefined && !last.final,
    total: batches.reduce((sum, batch) => sum + batch.count, 0),
    changes: changes.map(({ dot, table, key, operation: what, time, author, columns }) => ({
      dot,
      table,
      key,
      operation: what,
      time,
      author,
      columns: toJsonColumns(columns),
    })),
    batches: packed.map((bytes, index) => ({
      count: batches[index]?.count ?? 0,
      sha256: createHash("sha256").update(bytes).digest("hex"),
      payload: bytes.toString("base64"),
    })),
    sha256: whole.digest("hex"),
    timestamp: new Date().toISOString(),
  };
}

/** The batch that was packed. Throws BATCH_CORRUPT when it is not what it was. */
function unpacked({ payload, sha256 }: z.infer<typeof BatchShape>, index: number): Batch {
  const bytes = Buffer.from(payload, "base64");
  const corrupt = (cause?: unknown) =>
    new SyncError({
      code: "BATCH_CORRUPT",
      message: `Batch ${index + 1} is not what was given out`,
      action: "Fetch the changes again and send `batches` unchanged.",
      cause,
    });
  if (createHash("sha256").update(bytes).digest("hex") !== sha256) throw corrupt();
  try {
    return Batch.decode(bytes);
  } catch (error) {
    throw corrupt(error);
  }
}

async function give(core: Core, node: FleetNode, database: string, batches: readonly Batch[], signal: AbortSignal): Promise<PushAck> {
  const stream = bidi(core.clients.to(node.address), "pushChanges", { signal, deadlineMs: DEADLINE_MS });
  const answers = stream.responses[Symbol.asyncIterator]();
  const sum = { received: 0n, applied: 0n, conflicts: 0n, parked: 0n };
  const first = batches[0];
  try {
    const run = first?.run ?? "";
    const open = { database, protocol: PROTOCOL_VERSION, name: "coordinator", run, baseline: first?.baseline ?? "" };
    // A refusal comes through the answers, with its reason.
    stream.send({ kind: { $case: "open", value: open } }).catch(() => {});
    await answers.next();
    for (const value of batches) {
      stream.send({ kind: { $case: "batch", value } }).catch(() => {});
      // A part of a batch is not acknowledged before the last one is there.
      if (value.parts > 0 && value.part < value.parts) continue;
      const answer = await answers.next();
      const ack = acknowledgement(answer);
      if (ack === null) break;
      for (const key of ["received", "applied", "conflicts", "parked"] as const) sum[key] += ack[key];
    }
    stream.end();
    return { ...sum, vector: "", digest: Buffer.alloc(0), final: false, verified: false };
  } finally {
    stream.cancel();
  }
}

function acknowledgement(answer: IteratorResult<PushChangesResponse>): PushAck | null {
  if (answer.done === true) return null;
  const { kind } = answer.value;
  return kind?.$case === "ack" ? kind.value : null;
}

export const RELAY_OPERATIONS = [
  operation({
    id: "getOptimizedChanges",
    method: "GET",
    need: { role: "viewer", scope: "data" },
    path: "/api/sync/sqlite3/optimized-changes",
    summary: "A node's changes beyond a vector, to look at and to pass on; nothing is stored",
    rpc: null,
    command: "changes",
    params: Nothing,
    query: z.object({
      server_id: NodeText,
      database: z.string().default("").describe("May be left out where a node has one"),
      since: z.string().default("").describe("origin:sequence joined by commas; empty = everything"),
      limit: z.coerce.number().int().min(1).max(MOST_CHANGES).default(DEFAULT_CHANGES),
    }),
    body: Nothing,
    answer: ChangesShape,
    status: 200,
    run: ({ core, signal }, { query }) => {
      const node = findNode(core, query.server_id);
      return changesOf(core, node, databaseOf(node, query.database), query.since, query.limit, signal);
    },
  }),
  operation({
    id: "receiveChanges",
    method: "POST",
    need: { role: "operator", scope: "data" },
    path: "/api/sync/sqlite3/receive-changes",
    summary: "Gives a node what optimized-changes of another one answered; nothing is stored here",
    rpc: null,
    command: "import",
    params: Nothing,
    query: Nothing,
    body: z.object({
      server_id: z.union([NodeText, z.int()]).transform(String),
      database: z.string().default(""),
      batches: z.array(BatchShape),
    }),
    bodyLimitBytes: MOST_BODY_BYTES,
    answer: ReceivedShape,
    status: 200,
    run: async ({ core, signal }, { body }) => {
      const node = findNode(core, body.server_id);
      const database = databaseOf(node, body.database);
      const ack = await give(core, node, database, body.batches.map(unpacked), signal);
      void core.prober.ping(node.id);
      return {
        success: true as const,
        server_id: node.id,
        database,
        received: Number(ack.received),
        applied: Number(ack.applied),
        conflicts: Number(ack.conflicts),
        parked: Number(ack.parked),
        timestamp: new Date().toISOString(),
      };
    },
  }),
];

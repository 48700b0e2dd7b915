import { z } from "zod";
import { PROTOCOL_VERSION, SyncError } from "@scoutsync/core";
import { FileChecksumsRequest, formatTime, serverStream, type FileEntry } from "@scoutsync/protocol";
import type { FleetNode } from "../detection/fleet.ts";
import { NodeText, Nothing, Truth } from "./inputs.ts";
import { findNode } from "./nodes.ts";
import { operation } from "./operation.ts";

const DEADLINE_MS = 120_000;

const ChecksumsShape = z
  .object({
    server_id: z.int(),
    server_name: z.string(),
    path: z.string().describe("The file root"),
    cursor: z.string().describe("Where the list stands"),
    digest: z.string(),
    total: z.int().min(0),
    files: z.array(
      z.object({
        path: z.string(),
        kind: z.string().describe("file, folder or deleted"),
        size: z.number().min(0),
        sha256: z.string(),
        modified: z.string(),
        recorded: z.string().describe("When the node recorded this version"),
        author: z.string(),
      }),
    ),
    timestamp: z.iso.datetime(),
  })
  .meta({ id: "FileChecksums" });

/** The root that is meant; a node with one need not be told. Throws NOT_FOUND. */
function rootOf(node: FleetNode, name: string): string {
  const names = node.files.map(({ root }) => root);
  const [only, ...others] = names;
  if (name === "" && only !== undefined && others.length === 0) return only;
  if (names.includes(name)) return name;
  throw new SyncError({
    code: "NOT_FOUND",
    message: name === "" ? `Node "${node.row.name}" has ${names.length} file roots` : `Node "${node.row.name}" has no file root "${name}"`,
    action: names.length === 0 ? "Start it with --files ROOT=DIR." : `Give one as path: ${names.join(", ")}.`,
  });
}

function fileView({ path, kind, size, sha256, modifiedUs, recorded, author }: FileEntry) {
  return { path, kind, size: Number(size), sha256, modified: formatTime(Number(modifiedUs)), recorded, author };
}

export const FILE_OPERATIONS = [
  operation({
    id: "getFileChecksums",
    need: { role: "viewer", scope: "data" },
    method: "GET",
    path: "/api/sync/files/checksums",
    summary: "What a node holds in a file root, with SHA-256; passed through, nothing is stored",
    rpc: null,
    command: "files list",
    params: Nothing,
    query: z.object({
      server_id: NodeText,
      path: z.string().default("").describe("The file root; may be left out where a node has one"),
      catchup_mode: Truth.default(false).describe("Also what was deleted"),
      since: z.string().default("").describe("ISO 8601: only what was recorded since"),
    }),
    body: Nothing,
    answer: ChecksumsShape,
    status: 200,
    run: async ({ core, signal }, { query }) => {
      const node = findNode(core, query.server_id);
      const root = rootOf(node, query.path);
      const { since, catchup_mode: catchupMode } = query;
      const request = FileChecksumsRequest.fromPartial({ root, since, catchupMode, protocol: PROTOCOL_VERSION });
      const files: FileEntry[] = [];
      let end = { cursor: "", digest: "" };
      const answers = serverStream(core.clients.to(node.address), "fileChecksums", request, { signal, deadlineMs: DEADLINE_MS });
      for await (const answer of answers) {
        files.push(...answer.entries);
        if (answer.end !== undefined) end = answer.end;
      }
      return {
        server_id: node.id,
        server_name: node.row.name,
        path: root,
        cursor: end.cursor,
        digest: end.digest,
        total: files.length,
        files: files.map(fileView),
        timestamp: new Date().toISOString(),
      };
    },
  }),
];

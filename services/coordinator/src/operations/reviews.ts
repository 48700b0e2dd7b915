import { setTimeout } from "node:timers/promises";
import { z } from "zod";
import { SyncError } from "@scoutsync/core";
import { ListReviewsRequest, ResolveReviewRequest, unary, type ColumnValue, type Review, type ReviewVersion } from "@scoutsync/protocol";
import type { Core } from "../core.ts";
import type { FleetNode } from "../detection/fleet.ts";
import { NodeText, Nothing, Truth } from "./inputs.ts";
import { fromJsonColumns, toJson, toJsonColumns } from "./json-value.ts";
import { findNode } from "./nodes.ts";
import { operation } from "./operation.ts";
import { filled } from "./rpc.ts";
import { ReviewListShape, ReviewShape, ValueShape } from "./shapes.ts";
import { jsonColumns, wireReview } from "./wire.ts";

type ReviewView = z.infer<typeof ReviewShape>;

const KINDS = ["conflict", "parked", "quarantine", "file", "schema", "identity"] as const;
const ENTRIES_PER_NODE = 500;
const NODES_AT_ONCE = 32;
const DEADLINE_MS = 10_000;
/** A mass delete is let go or put back before the answer. */
const DECISION_DEADLINE_MS = 10 * 60_000;
const SETTLED_MS = 2_000;
/** What can be decided about an entry, by its kind. */
const DECISIONS: Readonly<Record<ReviewView["kind"], ReviewView["decisions"]>> = {
  conflict: ["winner", "loser", "set"],
  parked: ["set"],
  quarantine: ["release", "undo"],
  file: ["winner", "loser"],
  schema: [],
  identity: ["winner", "loser"],
};

interface Gathered {
  node: FleetNode;
  reviews: Review[];
  /** Null when the node answered. */
  failure: string | null;
}

/** One entry as the fleet lists it: by the first of the nodes that have it. */
export interface FleetEntry {
  node: FleetNode;
  review: Review;
  /** Other nodes that list it. */
  alsoOn: number[];
}

/** Asks the nodes for what may want a person, most urgent first. What several nodes list is one entry. */
export async function collectReviews(core: Core, filter: { kind: string; node: string; resolved: boolean }) {
  const asked = filter.node === "" ? core.fleet.nodes().filter((node) => node.enabled) : [findNode(core, filter.node)];
  const gathered: Gathered[] = [];
  const waiting = [...asked];
  const lane = async () => {
    for (let node = waiting.shift(); node !== undefined; node = waiting.shift()) gathered.push(await ask(core, node, filter.kind));
  };
  await Promise.all(Array.from({ length: Math.min(NODES_AT_ONCE, waiting.length) }, lane));
  gathered.sort((a, b) => a.node.id - b.node.id);
  const byContent = new Map<string, FleetEntry>();
  for (const { node, reviews } of gathered) {
    for (const review of reviews) {
      if (review.resolved && !filter.resolved) continue;
      const key = identityOf(node, review);
      const known = byContent.get(key);
      if (known === undefined) byContent.set(key, { node, review, alsoOn: [] });
      else known.alsoOn.push(node.id);
    }
  }
  return {
    entries: [...byContent.values()].sort(byUrgency),
    unreachable: gathered.flatMap(({ node, failure }) => (failure === null ? [] : [{ id: node.id, name: node.row.name, reason: failure }])),
  };
}

/** What keeps rows from other nodes, then whatever waits for a decision, then what settles itself; of each the latest first. */
function byUrgency({ review: a }: FleetEntry, { review: b }: FleetEntry): number {
  const rank = ({ kind }: Review) => (kind === "quarantine" ? 0 : kind === "schema" ? 2 : 1);
  return rank(a) - rank(b) || (a.since < b.since ? 1 : -1);
}

/** Has a node decide one of its entries. Throws what the node refuses it with. */
export async function decideReview(
  core: Core,
  { node: text, ...decision }: { node: string; id: string; keep: string; set: ColumnValue[]; decision: string },
): Promise<FleetEntry> {
  const node = findNode(core, text);
  const request = ResolveReviewRequest.fromPartial(decision);
  const { review } = await unary(core.clients.to(node.address), "resolveReview", request, { deadlineMs: DECISION_DEADLINE_MS });
  void askAgain(core, node.id);
  if (review !== undefined) return { node, review, alsoOn: [] };
  throw new SyncError({
    code: "PEER_FAILED",
    message: `Node "${node.row.name}" did not say what became of the entry`,
    action: "Look at the list again.",
  });
}

/** What was decided is written at once and counted a moment later; a node that was added by its address says nothing by itself. */
async function askAgain({ prober, logger }: Core, id: number): Promise<void> {
  try {
    await prober.ping(id);
    await setTimeout(SETTLED_MS, undefined, { ref: false });
    await prober.ping(id);
  } catch (error) {
    logger.debug({ server: id, error: String(error) }, "a node could not be asked what became of a decision");
  }
}

async function ask(core: Core, node: FleetNode, kind: string): Promise<Gathered> {
  if (!node.online) return { node, reviews: [], failure: node.row.last_error === "" ? "It does not answer" : node.row.last_error };
  try {
    const request = ListReviewsRequest.fromPartial({ kind, limit: ENTRIES_PER_NODE });
    const { reviews } = await unary(core.clients.to(node.address), "listReviews", request, { deadlineMs: DEADLINE_MS });
    return { node, reviews, failure: null };
  } catch (error) {
    return { node, reviews: [], failure: error instanceof Error ? error.message : String(error) };
  }
}

/** Conflicts, rows kept out and what is held travel with their rows, so every node lists the same one; the rest is a node's own. */
function identityOf(node: FleetNode, review: Review): string {
  const { kind, database, table, key, column, winner, loser } = review;
  if (kind === "parked") return JSON.stringify([kind, database, table, key, toJsonColumns(review.image)]);
  if (kind === "schema") return JSON.stringify([kind, database, table, column]);
  if (kind !== "conflict") return JSON.stringify([node.id, review.id]);
  return JSON.stringify([database, table, key, column, winner?.dot, loser?.dot]);
}

function kindOf({ kind }: Review): ReviewView["kind"] {
  return KINDS.find((known) => known === kind) ?? "parked";
}

/** What can be decided about an entry. One about a whole file root has no versions: its files were deleted, or its folder is not there. */
function decisionsOf({ node, review }: FleetEntry): ReviewView["decisions"] {
  if (review.resolved) return [];
  // What a node of a scope wrote and its server did not take: taken off the list, taken after all, or with other values.
  if (review.id.startsWith("scope-")) return ["winner", "loser", "set"];
  const kind = kindOf(review);
  // A deleted row that others refer to: it may live on, and goes where nothing refers to it.
  if (kind === "conflict" && review.column === "") return ["winner"];
  // What lost in a column that the table has not any more: somebody has to say which one is to have it.
  if (kind === "conflict" && review.winner === undefined && review.image.length > 0) return ["winner", "set"];
  if (kind !== "file" || review.key !== "") return DECISIONS[kind];
  return node.files.some(({ root, held_back }) => root === review.table && held_back !== 0) ? ["release", "undo"] : ["release"];
}

function reviewView(entry: FleetEntry): ReviewView {
  const { node, review, alsoOn } = entry;
  const kind = kindOf(review);
  return {
    node: { id: node.id, name: node.row.name, address: node.address },
    id: review.id,
    also_on: alsoOn,
    kind,
    database: review.database,
    table: review.table,
    key: review.key,
    ...(review.column === "" ? {} : { column: review.column }),
    ...(review.winner === undefined ? {} : { winner: versionView(review.winner) }),
    ...(review.loser === undefined ? {} : { loser: versionView(review.loser) }),
    ...(review.image.length === 0 ? {} : { image: toJsonColumns(review.image) }),
    reason: review.reason,
    since: review.since,
    resolved: review.resolved,
    decisions: decisionsOf(entry),
  };
}

function versionView({ value, origin, time, dot }: ReviewVersion) {
  return { value: toJson(value), origin, time, dot };
}

const Decision = z.object({
  keep: z.enum(["winner", "loser"]).optional(),
  set: z.record(z.string(), ValueShape).optional(),
  decision: z.enum(["release", "undo"]).optional(),
});

export const REVIEW_OPERATIONS = [
  operation({
    id: "listReviews",
    method: "GET",
    need: { role: "viewer", scope: "review" },
    path: "/api/review",
    summary: "Everything on any node that may want a person, in one list",
    rpc: {
      call: "listFleetReviews",
      answer: ({ reviews, unreachable }) => ({ reviews: reviews.map(wireReview), unreachable }),
    },
    command: "review list",
    params: Nothing,
    query: z.object({ kind: z.enum(KINDS).optional(), node: z.string().default(""), resolved: Truth.default(false) }),
    body: Nothing,
    answer: ReviewListShape,
    status: 200,
    run: async ({ core }, { query }) => {
      const { entries, unreachable } = await collectReviews(core, { ...query, kind: query.kind ?? "" });
      return { reviews: entries.map(reviewView), unreachable, timestamp: new Date().toISOString() };
    },
  }),
  operation({
    id: "resolveReview",
    method: "POST",
    need: { role: "operator", scope: "review" },
    path: "/api/review/{node}/{id}",
    summary: "Decides one entry; the decision is an ordinary write that every node gets",
    rpc: {
      call: "resolveFleetReview",
      fields: ({ set, ...decision }) => ({ ...filled(decision), ...(set.length === 0 ? {} : { set: jsonColumns(set) }) }),
      answer: ({ review }) => ({ review: wireReview(review) }),
    },
    command: "review resolve",
    params: z.object({ node: NodeText, id: z.string().min(1).max(300) }),
    query: Nothing,
    body: Decision,
    answer: z.object({ review: ReviewShape }),
    status: 200,
    run: async ({ core }, { params, body }) => {
      const { keep = "", decision = "", set = {} } = body;
      return { review: reviewView(await decideReview(core, { ...params, keep, decision, set: fromJsonColumns(set) })) };
    },
  }),
];

import { longestOf, type Review, SyncError } from "@scoutsync/core";
import {
  fromWireColumns,
  toWireHistory,
  toWireReview,
  type GetHistoryRequest,
  type GetHistoryResponse,
  type ListReviewsRequest,
  type ListReviewsResponse,
  type ResolveReviewRequest,
  type ResolveReviewResponse,
  type RestoreRowRequest,
  type RestoreRowResponse,
  toWireColumns,
} from "@scoutsync/protocol";
import type { NodeContext } from "../context.ts";
import { decideOfScope, scopeReviews } from "../scopes/reviews.ts";

const DEFAULT_LIMIT = 1_000;
/** Stands where a row's review names its database; the root stands for the table, the path for the key. */
const FILES = "files";

export async function listReviews(context: NodeContext, request: ListReviewsRequest): Promise<ListReviewsResponse> {
  const limit = request.limit || DEFAULT_LIMIT;
  const reviews: { database: string; review: Review }[] = [];
  for (const { replica } of context.databases.select(request.database === "" ? [] : [request.database])) {
    if (reviews.length >= limit) break;
    const found = await replica.reviews({ kind: request.kind, id: request.id, limit: limit - reviews.length });
    reviews.push(...found.map((review) => ({ database: replica.name, review })));
  }
  if (request.database === "" && context.scopes.length > 0) {
    const found = await scopeReviews(context.scopes, { kind: request.kind, id: request.id, limit: Math.max(0, limit - reviews.length) });
    reviews.push(...found);
  }
  if (request.database === "" && (request.kind === "" || request.kind === "file")) {
    for (const root of context.files.all()) {
      const found = (await root.reviews()).filter(({ id }) => request.id === "" || id === request.id);
      reviews.push(...found.map((review) => ({ database: FILES, review })));
    }
  }
  const listed = reviews.slice(0, limit);
  const longest = longestOf(listed.flatMap(({ review }) => valuesOf(review)));
  return { reviews: listed.map(({ database, review }) => toWireReview(database, review, longest)) };
}

const valuesOf = ({ winner, loser, image }: Review) => [
  winner?.value ?? null,
  loser?.value ?? null,
  ...(image ?? []).map(({ value }) => value),
];

export async function resolveReview(context: NodeContext, request: ResolveReviewRequest): Promise<ResolveReviewResponse> {
  const { id, keep, decision } = request;
  if (keep !== "winner" && keep !== "loser" && keep !== "") {
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `"${keep}" cannot be kept`,
      action: "Keep `winner` or `loser`, or set columns.",
    });
  }
  if (decision !== "" && decision !== "release" && decision !== "undo") {
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `"${decision}" is no decision`,
      action: "`release` deletes the rows everywhere, `undo` puts them back.",
    });
  }
  if ([keep !== "", request.set.length > 0, decision !== ""].filter(Boolean).length !== 1) {
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: "a decision keeps a side, sets columns, releases or undoes",
      action: "Give one of them.",
    });
  }
  const set = fromWireColumns(request.set);
  for (const { replica } of context.databases.all()) {
    const [found] = id === "" ? [] : await replica.reviews({ kind: "", id, limit: 1 });
    if (found) return { review: toWireReview(replica.name, await replica.resolve({ id, keep, set, decision })) };
  }
  const decidedThere = await decideOfScope(context.scopes, { id, keep, set, decision });
  if (decidedThere) return { review: toWireReview(decidedThere.database, decidedThere.review) };
  const decided = decision === "" ? keep : decision;
  if (id !== "" && decided !== "") {
    for (const root of context.files.all()) {
      const review = await root.resolve(id, decided);
      if (review) return { review: toWireReview(FILES, review) };
    }
  }
  throw new SyncError({
    code: "NOT_FOUND",
    message: `node "${context.name}" has no review entry "${id}"`,
    action: "`scoutsync review list` shows those there are.",
  });
}

export async function getHistory(context: NodeContext, request: GetHistoryRequest): Promise<GetHistoryResponse> {
  const { replica } = context.databases.get(request.database);
  const entries = await replica.history(request.table, request.key);
  const longest = longestOf(entries.map(({ value }) => value));
  return { entries: entries.map((entry) => toWireHistory(entry, longest)) };
}

export async function restoreRow(context: NodeContext, request: RestoreRowRequest): Promise<RestoreRowResponse> {
  const { replica } = context.databases.get(request.database);
  return { columns: toWireColumns(await replica.restore(request.table, request.key)) };
}

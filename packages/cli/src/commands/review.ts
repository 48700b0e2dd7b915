import { Option, type Command } from "commander";
import { SyncError } from "@scoutsync/core";
import { unary, type ColumnValue, type Review, type ReviewVersion } from "@scoutsync/protocol";
import { declare, repeatable, wholeNumber, type Invocation, type Registration } from "../command.ts";
import { LONG_DEADLINE_MS, withCoordinator, withNode } from "../connect.ts";
import { Negative, usageError } from "../exit.ts";
import { jsonColumns, jsonValue, plainValue } from "../output/json.ts";
import { parseAssignment } from "./assignment.ts";
import type { Surroundings } from "../surroundings.ts";

const KINDS = ["conflict", "parked", "quarantine", "file", "schema", "identity"] as const;

/** The coordinator gives each node ten seconds, many at once. */
const FLEET_DEADLINE_MS = 60_000;

interface ResolveOptions {
  keep?: "winner" | "loser";
  set?: string[];
  release?: boolean;
  undo?: boolean;
}

/** `scoutsync review`: everything that may want a person, and the decision. */
export const registerReview: Registration = (program, surroundings) => {
  const review = program.command("review").description("everything that may want a person: conflicts and rows a table could not hold");
  declareList(review, surroundings);
  declareShow(review, surroundings);
  declareResolve(review, surroundings);
};

function declareList(review: Command, surroundings: Surroundings): void {
  declare<{ kind?: string; db?: string; limit?: number }>(review, surroundings, {
    usage: "list [node]",
    summary: "what is open on this node; without one, on any node of the fleet, what several list once",
    usesCoordinator: true,
    options: [
      new Option("--kind <kind>", "only this kind").choices([...KINDS]),
      new Option("--db <name>", "only this database"),
      wholeNumber("--limit <n>", "at most this many"),
    ],
    examples: ["scoutsync review list", "scoutsync review list 127.0.0.1:7071", "scoutsync review list pits --kind conflict --json"],
    run: async ({ kind = "", db = "", limit = 0 }, invocation, node) => {
      if (node === undefined) return listFleet({ kind, db, limit }, invocation);
      const reviews = await fetchReviews(node, { kind, database: db, limit, id: "" }, invocation);
      const { out } = invocation;
      out.result(reviews.map(reviewDocument), () => {
        if (reviews.length === 0) out.line("Nothing wants a decision.");
        else {
          out.table(
            ["id", "kind", "where", "winner", "loser", "since", "reason"],
            reviews.map((one) => [one.id, one.kind, whereOf(one), versionLine(one.winner), versionLine(one.loser), one.since, one.reason]),
          );
        }
      });
    },
  });
}

/** The list of the whole fleet: an entry is named by its node and id. */
async function listFleet({ kind, db, limit }: { kind: string; db: string; limit: number }, invocation: Invocation): Promise<void> {
  const answer = await withCoordinator(invocation, (client) =>
    unary(client, "listFleetReviews", { kind, node: "", resolved: false }, { deadlineMs: FLEET_DEADLINE_MS }),
  );
  const entries = answer.reviews.flatMap(({ review, ...entry }) => (review === undefined ? [] : [{ review, ...entry }]));
  const wanted = entries.filter(({ review }) => db === "" || review.database === db);
  const found = limit === 0 ? wanted : wanted.slice(0, limit);
  const { out } = invocation;
  const document = found.map(({ review, serverName, alsoOn, decisions }) => ({
    ...reviewDocument(review),
    node: serverName,
    also_on: alsoOn.map(Number),
    decisions,
  }));
  out.result(document, () => {
    if (found.length === 0) out.line("Nothing wants a decision.");
    else {
      out.table(
        ["node", "id", "kind", "where", "winner", "loser", "since", "reason"],
        found.map(({ review: one, serverName }) => [
          serverName,
          one.id,
          one.kind,
          whereOf(one),
          versionLine(one.winner),
          versionLine(one.loser),
          one.since,
          one.reason,
        ]),
      );
    }
  });
  for (const { name, reason } of answer.unreachable)
    out.note(`scoutsync: ${name} could not be asked (${reason}): what waits only there is missing.`);
}

function declareShow(review: Command, surroundings: Surroundings): void {
  declare(review, surroundings, {
    usage: "show <node> <id>",
    summary: "one entry with everything known about it",
    usesCoordinator: true,
    examples: ["scoutsync review show 127.0.0.1:7071 3f9a0c21"],
    run: async (_options, invocation, node = "", id = "") => {
      const [found] = await fetchReviews(node, { kind: "", database: "", limit: 0, id }, invocation);
      if (!found) {
        throw new SyncError({ code: "NOT_FOUND", message: `${node} has no review entry "${id}"`, action: "See `scoutsync review list`." });
      }
      printOne(found, invocation);
    },
  });
}

function declareResolve(review: Command, surroundings: Surroundings): void {
  declare<ResolveOptions>(review, surroundings, {
    usage: "resolve <node> <id>",
    summary:
      "decide one entry; the decision is an ordinary write that every node gets. Exit code 1 and the reason where the database refuses the value, or the row still waits",
    usesCoordinator: true,
    options: [
      new Option("--keep <side>", "keep this version; of what a node of a scope wrote and was not taken, loser takes it after all").choices(
        ["winner", "loser"],
      ),
      repeatable(
        "--set <column=value>",
        "write something else: COLUMN=TEXT, or COLUMN:=LITERAL for NULL, 12, 1.5, 'text' or x'00ff'; repeat for more",
      ),
      new Option("--release", "a mass delete that is kept back: delete its rows everywhere"),
      new Option("--undo", "a mass delete that is kept back: put its rows back into the table"),
    ],
    examples: [
      "scoutsync review resolve 127.0.0.1:7071 3f9a0c21 --keep loser",
      'scoutsync review resolve pits 3f9a0c21 --set "notes=both were right"',
      "scoutsync review resolve pits 3f9a0c21 --set score:=42",
      "scoutsync review resolve pits 8c01d2e7 --undo",
    ],
    run: async (options, invocation, node = "", id = "") => {
      const set = decisionOf(options);
      const answer = await withNode(node, invocation, (client) =>
        unary(
          client,
          "resolveReview",
          { id, keep: options.keep ?? "", set, decision: quarantineDecision(options) },
          // A mass delete is let go or put back before the answer.
          { deadlineMs: LONG_DEADLINE_MS },
        ),
      );
      if (answer.review) printOne(answer.review, invocation);
      if (answer.review?.resolved === false) throw new Negative();
    },
  });
}

const quarantineDecision = ({ release, undo }: ResolveOptions): string => (release ? "release" : undo ? "undo" : "");

function decisionOf({ keep, set, release, undo }: ResolveOptions): ColumnValue[] {
  const given = [keep !== undefined, set !== undefined, release === true, undo === true].filter(Boolean).length;
  if (given !== 1) {
    throw usageError(
      "a decision is needed, and only one",
      "Give --keep winner, --keep loser or --set COLUMN=VALUE; for a mass delete that is kept back --release or --undo.",
    );
  }
  return (set ?? []).map(parseAssignment);
}

function fetchReviews(
  node: string,
  request: { kind: string; database: string; limit: number; id: string },
  invocation: Invocation,
): Promise<Review[]> {
  return withNode(node, invocation, async (client) => {
    const { reviews } = await unary(client, "listReviews", request, { deadlineMs: LONG_DEADLINE_MS });
    return reviews;
  });
}

function reviewDocument(review: Review): object {
  const { id, kind, database, table, key, column, winner, loser, image, reason, since, resolved } = review;
  return {
    id,
    kind,
    database,
    table,
    key,
    ...(column === "" ? {} : { column }),
    ...(winner ? { winner: versionDocument(winner) } : {}),
    ...(loser ? { loser: versionDocument(loser) } : {}),
    ...(image.length > 0 ? { image: jsonColumns(image) } : {}),
    reason,
    since,
    resolved,
  };
}

function versionDocument({ value, origin, time }: ReviewVersion): object {
  return { value: jsonValue(value), origin, time };
}

function printOne(review: Review, { out }: Invocation): void {
  out.result(reviewDocument(review), () => {
    out.line(`${review.id} ${review.kind}${review.resolved ? ", resolved" : ""}: ${whereOf(review)}`);
    out.line(`since   ${review.since}`);
    if (review.reason) out.line(`reason  ${review.reason}`);
    if (review.winner) out.line(`winner  ${versionLine(review.winner)} at ${review.winner.time}`);
    if (review.loser) out.line(`loser   ${versionLine(review.loser)} at ${review.loser.time}`);
    for (const column of review.image) out.line(`image   ${column.name} = ${plainValue(column.value)}`);
  });
}

function whereOf({ database, table, key, column }: Review): string {
  return `${database}.${table} ${key}${column === "" ? "" : ` ${column}`}`;
}

function versionLine(version: ReviewVersion | undefined): string {
  return version ? `${plainValue(version.value)} by ${version.origin}` : "";
}

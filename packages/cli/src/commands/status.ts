import { unary } from "@scoutsync/protocol";
import { declare, type Registration } from "../command.ts";
import { QUICK_DEADLINE_MS, withCoordinator } from "../connect.ts";
import { count } from "../output/json.ts";
import { formatAge } from "../output/age.ts";
import { addressOf } from "./node-row.ts";

/** From here on a clock is called wrong, milliseconds. */
const CLOCK_ALARM_MS = 5_000;

/** `scoutsync status`: the fleet at a glance. */
export const registerStatus: Registration = (program, surroundings) => {
  declare(program, surroundings, {
    usage: "status",
    summary: "the fleet at a glance: who is online, who misses what, since when",
    usesCoordinator: true,
    examples: ["scoutsync status", "scoutsync status --coordinator 10.0.0.5:7070 --json"],
    run: async (_options, invocation) => {
      const answer = await withCoordinator(invocation, (client) => unary(client, "getStatus", {}, { deadlineMs: QUICK_DEADLINE_MS }));
      const { jobs } = answer;
      const document = {
        converged: answer.converged,
        since: answer.since,
        nodes: answer.nodes.map((node) => ({
          id: count(node.id),
          name: node.name,
          address: addressOf(node),
          online: node.online,
          missing_changes: count(node.missingChanges),
          oldest_missing_age_s: node.oldestMissingAgeS,
          last_sync: node.lastSync || null,
          last_ping: node.lastPing || null,
          clock_offset_ms: node.clockOffsetMs,
          reliability: node.reliability,
          review: count(node.review),
          ...(node.lastError === "" ? {} : { last_error: node.lastError }),
        })),
        jobs: {
          waiting: count(jobs?.waiting ?? 0n),
          active: count(jobs?.active ?? 0n),
          delayed: count(jobs?.delayed ?? 0n),
          failed: count(jobs?.failed ?? 0n),
          completed: count(jobs?.completed ?? 0n),
          ...(jobs?.problem ? { problem: jobs.problem } : {}),
        },
      };
      const { out } = invocation;
      out.result(document, () => {
        out.line(
          document.converged
            ? `All ${document.nodes.length} nodes are equal since ${document.since}.`
            : `Not converged since ${document.since}.`,
        );
        out.table(
          ["name", "address", "online", "missing", "oldest", "last sync", "review", "clock", "problem"],
          document.nodes.map((node) => [
            node.name,
            node.address,
            node.online ? "yes" : "no",
            node.missing_changes,
            formatAge(node.oldest_missing_age_s),
            node.last_sync ?? "never",
            node.review,
            Math.abs(node.clock_offset_ms) > CLOCK_ALARM_MS ? `${Math.round(node.clock_offset_ms / 1000)} s off` : "right",
            node.last_error ?? "",
          ]),
        );
        const { waiting, active, delayed, failed, problem } = document.jobs;
        out.line(problem ? `Jobs: ${problem}` : `Jobs: ${waiting} waiting, ${active} active, ${delayed} delayed, ${failed} failed.`);
      });
    },
  });
};

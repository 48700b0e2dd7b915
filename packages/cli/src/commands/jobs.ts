import { Option } from "commander";
import { unary } from "@scoutsync/protocol";
import { declare, wholeNumber, type Registration } from "../command.ts";
import { QUICK_DEADLINE_MS, withCoordinator } from "../connect.ts";
import { count } from "../output/json.ts";

/** `scoutsync jobs`: what is waiting, running or has failed for good. */
export const registerJobs: Registration = (program, surroundings) => {
  const jobs = program.command("jobs").description("what the coordinator has queued");
  declare<{ state?: string; limit?: number }>(jobs, surroundings, {
    usage: "list",
    summary: "jobs with their state, attempts and reason",
    usesCoordinator: true,
    options: [
      new Option("--state <state>", "only this state").choices(["waiting", "active", "delayed", "failed", "completed"]),
      wholeNumber("--limit <n>", "at most this many (default 50)"),
    ],
    examples: ["scoutsync jobs list", "scoutsync jobs list --state failed --json"],
    run: async ({ state = "", limit = 50 }, invocation) => {
      const answer = await withCoordinator(invocation, (client) =>
        unary(client, "listJobs", { state, limit }, { deadlineMs: QUICK_DEADLINE_MS }),
      );
      const document = answer.jobs.map((job) => ({
        id: job.id,
        name: job.name,
        state: job.state,
        server_id: count(job.serverId) || null,
        server_name: job.serverName || null,
        attempts: job.attempts,
        reason: job.reason,
        created_at: job.createdAt,
      }));
      invocation.out.result(document, () => {
        if (document.length === 0) invocation.out.line("No jobs.");
        else {
          invocation.out.table(
            ["id", "job", "state", "node", "attempts", "created", "reason"],
            document.map((job) => [job.id, job.name, job.state, job.server_name, job.attempts, job.created_at, job.reason]),
          );
        }
      });
    },
  });
};

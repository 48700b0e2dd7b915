import { Option, type Command } from "commander";
import { unary, type JobEntry } from "@scoutsync/protocol";
import { declare, wholeNumber, type Invocation, type Registration } from "../command.ts";
import { QUICK_DEADLINE_MS, withCoordinator } from "../connect.ts";
import { count } from "../output/json.ts";
import type { Surroundings } from "../surroundings.ts";

/** `scoutsync jobs`: what is waiting, running or has failed for good. */
export const registerJobs: Registration = (program, surroundings) => {
  const jobs = program.command("jobs").description("what the coordinator has queued");
  declareList(jobs, surroundings);
  declareOne(jobs, surroundings, "retry", "put a job that failed for good back into the queue, or let a delayed one run now");
  declareOne(jobs, surroundings, "cancel", "end a job: removed when it waits, its session cut when it runs; tried again at the next scan");
  declareAll(jobs, surroundings, "pause", "start nothing more from the queue; what runs goes on");
  declareAll(jobs, surroundings, "resume", "start jobs from the queue again");
};

function declareList(jobs: Command, surroundings: Surroundings): void {
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
      const document = answer.jobs.map(jobDocument);
      invocation.out.result(document, () => {
        if (document.length === 0) invocation.out.line("No jobs.");
        else {
          invocation.out.table(
            ["id", "job", "state", "node", "attempts", "progress", "created", "reason"],
            document.map((job) => [
              job.id,
              job.name,
              job.state,
              job.server_name,
              `${job.attempts} of ${job.max_attempts}`,
              job.progress === null ? "" : `${job.progress.phase} ${job.progress.done} of ${job.progress.total}`,
              job.created_at,
              job.reason || job.outcome,
            ]),
          );
        }
      });
    },
  });
}

function declareOne(jobs: Command, surroundings: Surroundings, what: "retry" | "cancel", summary: string): void {
  declare(jobs, surroundings, {
    usage: `${what} <id>`,
    summary,
    usesCoordinator: true,
    examples: [`scoutsync jobs ${what} 42`],
    run: async (_options, invocation, id = "") => {
      const { job } = await withCoordinator(invocation, (client) =>
        unary(client, what === "retry" ? "retryJob" : "cancelJob", { id }, { deadlineMs: QUICK_DEADLINE_MS }),
      );
      invocation.out.result(job ? jobDocument(job) : { id }, () =>
        invocation.out.line(what === "retry" ? `Job ${id} is in the queue again.` : `Job ${id} is cancelled.`),
      );
    },
  });
}

function declareAll(jobs: Command, surroundings: Surroundings, what: "pause" | "resume", summary: string): void {
  declare(jobs, surroundings, {
    usage: what,
    summary,
    usesCoordinator: true,
    examples: [`scoutsync jobs ${what}`],
    run: async (_options, invocation: Invocation) => {
      await withCoordinator(invocation, (client) =>
        unary(client, what === "pause" ? "pauseJobs" : "resumeJobs", {}, { deadlineMs: QUICK_DEADLINE_MS }),
      );
      invocation.out.result({ paused: what === "pause" }, () =>
        invocation.out.line(what === "pause" ? "The queue is paused." : "The queue goes on."),
      );
    },
  });
}

function jobDocument(job: JobEntry) {
  const { progress } = job;
  return {
    id: job.id,
    name: job.name,
    state: job.state,
    server_id: count(job.serverId) || null,
    server_name: job.serverName || null,
    priority: job.priority,
    attempts: job.attempts,
    max_attempts: job.maxAttempts,
    reason: job.reason,
    outcome: job.outcome,
    progress:
      progress === undefined
        ? null
        : { database: progress.database, phase: progress.phase, done: count(progress.done), total: count(progress.total) },
    created_at: job.createdAt,
    started_at: job.startedAt || null,
    finished_at: job.finishedAt || null,
    next_try_at: job.nextTryAt || null,
  };
}

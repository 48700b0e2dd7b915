import { Option, type Command } from "commander";
import { unary, type JobEntry } from "@scoutsync/protocol";
import { declare, wholeNumber, type Invocation, type Registration } from "../command.ts";
import { QUICK_DEADLINE_MS, withCoordinator } from "../connect.ts";
import { progressBar } from "../output/bar.ts";
import { count } from "../output/json.ts";
import { watchUntilSignal } from "../output/live.ts";
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

/** How often a live table is drawn anew. */
const REDRAW_MS = 1_000;

function declareList(jobs: Command, surroundings: Surroundings): void {
  declare<{ state?: string; limit?: number; watch?: boolean }>(jobs, surroundings, {
    usage: "list",
    summary: "jobs with their state, progress, attempts and reason",
    usesCoordinator: true,
    options: [
      new Option("--state <state>", "only this state").choices(["waiting", "active", "delayed", "failed", "completed"]),
      wholeNumber("--limit <n>", "at most this many (default 50)"),
      new Option("--watch", "draw it anew as it changes, until Ctrl-C"),
    ],
    examples: ["scoutsync jobs list", "scoutsync jobs list --state active --watch", "scoutsync jobs list --state failed --json"],
    run: ({ state = "", limit = 50, watch }, invocation) =>
      withCoordinator(invocation, async (client) => {
        const look = async () =>
          showJobs(invocation, (await unary(client, "listJobs", { state, limit }, { deadlineMs: QUICK_DEADLINE_MS })).jobs);
        if (watch === true) await watchUntilSignal(invocation, REDRAW_MS, look);
        else await look();
      }),
  });
}

function showJobs({ out }: Invocation, jobs: readonly JobEntry[]): void {
  const document = jobs.map(jobDocument);
  out.result(document, () => {
    if (document.length === 0) return out.line("No jobs.");
    out.table(
      ["id", "job", "state", "node", "attempts", "progress", "created", "reason"],
      document.map((job) => [
        job.id,
        job.name,
        job.state,
        job.server_name,
        `${job.attempts} of ${job.max_attempts}`,
        job.progress === null ? "" : progressText(job.progress, out.terminal),
        job.created_at,
        job.reason || job.outcome,
      ]),
    );
  });
}

function progressText(
  { database, phase, done, total }: { database: string; phase: string; done: number; total: number },
  drawn: boolean,
): string {
  return drawn ? `${phase} ${database} ${progressBar(done, total)}` : `${phase} ${done} of ${total}`;
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

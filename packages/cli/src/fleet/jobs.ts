import { Option } from "commander";
import type { Job, JobCounts } from "@scoutsync/coordinator";
import { wholeNumber } from "../command.ts";
import { progressBar } from "../output/bar.ts";
import { asks, given } from "./fleet-command.ts";

const STATES = ["waiting", "active", "delayed", "failed", "completed"];

function progressText({ database, phase, done, total }: NonNullable<Job["progress"]>, drawn: boolean): string {
  return drawn ? `${phase} ${database} ${progressBar(done, total)}` : `${phase} ${done} of ${total}`;
}

/** `scoutsync jobs`: what is waiting, running or has failed for good. */
export const JOB_COMMANDS = [
  asks<{ jobs: Job[]; counts: JobCounts }>({
    operation: "listJobs",
    usage: "jobs list",
    summary: "jobs with their state, progress, attempts and reason",
    options: [
      new Option("--state <state>", "only this state").choices(STATES),
      wholeNumber("--limit <n>", "at most this many (default 50)"),
    ],
    examples: ["scoutsync jobs list", "scoutsync jobs list --state active --watch", "scoutsync jobs list --state failed --json"],
    live: true,
    fields: ({ options: { state, limit = 50 } }) => given({ state, limit }),
    document: ({ jobs }) => jobs,
    people: ({ jobs }, out) => {
      if (jobs.length === 0) return out.line("No jobs.");
      out.table(
        ["id", "job", "state", "node", "attempts", "progress", "created", "reason"],
        jobs.map((job) => [
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
    },
  }),
  ...(["retry", "cancel"] as const).map((what) =>
    asks<{ job: Job }>({
      operation: `${what}Job`,
      usage: `jobs ${what} <id>`,
      summary:
        what === "retry"
          ? "put a job that failed for good back into the queue, or let a delayed one run now"
          : "end a job: removed when it waits, its session cut when it runs; tried again at the next scan",
      examples: [`scoutsync jobs ${what} 42`],
      fields: ({ args: [id] }) => ({ id }),
      document: ({ job }) => job,
      people: ({ job }, out) => out.line(what === "retry" ? `Job ${job.id} is in the queue again.` : `Job ${job.id} is cancelled.`),
    }),
  ),
  ...(["pause", "resume"] as const).map((what) =>
    asks<{ counts: JobCounts }>({
      operation: `${what}Jobs`,
      usage: `jobs ${what}`,
      summary: what === "pause" ? "start nothing more from the queue; what runs goes on" : "start jobs from the queue again",
      examples: [`scoutsync jobs ${what}`],
      document: ({ counts }) => counts,
      people: (_answer, out) => out.line(what === "pause" ? "The queue is paused." : "The queue goes on."),
    }),
  ),
];

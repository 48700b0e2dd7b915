import { z } from "zod";
import type { Core } from "../core.ts";
import type { ListedJob } from "../jobs/catch-up-queue.ts";
import { AnyBody, Listed, Nothing } from "./inputs.ts";
import { sessionView } from "./node-view.ts";
import { operation } from "./operation.ts";
import { asItIs } from "./rpc.ts";
import { JobCountsShape, JobListShape, JobShape } from "./shapes.ts";

type Counts = z.infer<typeof JobCountsShape>;

/** The state of the queue; never throws: a queue that cannot be reached is told as a problem. */
export async function jobCounts({ link, queue }: Core): Promise<Counts> {
  const reachable = queue();
  const none = { waiting: 0, active: 0, delayed: 0, failed: 0, completed: 0, paused: false };
  if (reachable === null || !link.ready) return { ...none, problem: link.problem };
  try {
    return { ...(await reachable.counts()), problem: "" };
  } catch (error) {
    return { ...none, problem: error instanceof Error ? error.message : String(error) };
  }
}

/** A job of the queue as it travels. */
export function jobView(core: Core, job: ListedJob): z.infer<typeof JobShape> {
  const { serverId, ...listed } = job;
  const session = serverId === null ? null : core.desk.running.of(serverId);
  return {
    id: listed.id,
    name: listed.name,
    state: listed.state,
    server_id: serverId,
    server_name: serverId === null ? "" : (core.registry.servers.get(serverId)?.name ?? ""),
    priority: listed.priority,
    attempts: listed.attempts,
    max_attempts: listed.maxAttempts,
    reason: listed.reason,
    outcome: listed.outcome,
    progress: session !== null && session.jobId === job.id && serverId !== null ? sessionView(core, session, serverId) : null,
    created_at: listed.createdAt,
    started_at: listed.startedAt,
    finished_at: listed.finishedAt,
    next_try_at: listed.nextTryAt,
  };
}

const JobParams = z.object({ id: z.string().min(1).max(200) });
const OneJob = z.object({ job: JobShape });
const CountsAnswer = z.object({ counts: JobCountsShape });

export const JOB_OPERATIONS = [
  operation({
    id: "listJobs",
    method: "GET",
    need: { role: "viewer", scope: "jobs" },
    path: "/api/jobs",
    summary: "What waits, runs, or failed for good",
    rpc: { call: "listJobs", answer: asItIs },
    command: "jobs list",
    params: Nothing,
    query: z.object({ state: z.enum(["waiting", "active", "delayed", "failed", "completed"]).optional(), limit: Listed }),
    body: Nothing,
    answer: JobListShape,
    status: 200,
    run: async ({ core }, { query }) => {
      core.link.assertReady();
      const jobs = (await core.queue()?.list(query.state ?? "", query.limit)) ?? [];
      return { jobs: jobs.map((job) => jobView(core, job)), counts: await jobCounts(core), timestamp: new Date().toISOString() };
    },
  }),
  operation({
    id: "retryJob",
    method: "POST",
    need: { role: "operator", scope: "jobs" },
    path: "/api/jobs/{id}/retry",
    summary: "Puts a job that failed for good back into the queue, or lets a delayed one run now",
    rpc: { call: "retryJob", answer: asItIs },
    command: "jobs retry",
    params: JobParams,
    query: Nothing,
    body: AnyBody,
    answer: OneJob,
    status: 200,
    run: async ({ core }, { params }) => ({ job: jobView(core, await core.catchUps.retryJob(params.id)) }),
  }),
  operation({
    id: "cancelJob",
    method: "POST",
    need: { role: "operator", scope: "jobs" },
    path: "/api/jobs/{id}/cancel",
    summary: "Ends a job: removed when it waits, its session cut when it runs",
    rpc: { call: "cancelJob", answer: asItIs },
    command: "jobs cancel",
    params: JobParams,
    query: Nothing,
    body: AnyBody,
    answer: OneJob,
    status: 200,
    run: async ({ core }, { params }) => ({ job: jobView(core, await core.catchUps.cancelJob(params.id)) }),
  }),
  ...(["pause", "resume"] as const).map((what) =>
    operation({
      id: `${what}Jobs`,
      method: "POST",
      need: { role: "operator", scope: "jobs" },
      path: `/api/jobs/${what}`,
      summary: what === "pause" ? "Takes nothing more from the queue; what runs goes on" : "Takes jobs from the queue again",
      rpc: { call: `${what}Jobs`, answer: asItIs },
      command: `jobs ${what}`,
      params: Nothing,
      query: Nothing,
      body: AnyBody,
      answer: CountsAnswer,
      status: 200,
      run: async ({ core }) => {
        await core.catchUps.setPaused(what === "pause");
        return { counts: await jobCounts(core) };
      },
    }),
  ),
];

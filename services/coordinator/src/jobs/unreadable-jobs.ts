import type { Queue } from "bullmq";
import type { Redis } from "ioredis";
import type { ListedJob } from "./catch-up-queue.ts";

/** Fields of a job that BullMQ parses, and what stands there instead where it cannot: a job of nobody, which fails with its reason. */
const PARSED: Readonly<Record<string, string>> = { data: '{"serverId":0}', opts: "{}", progress: "0" };
const UNREADABLE = "unreadable";
const STATES = ["active", "waiting", "prioritized", "delayed"] as const;
/** So many are looked at with one message. */
const READ_AT_ONCE = 500;

/** True for an error of a job that does not parse, or is no job: nothing that is wrong with Redis. */
export function isUnreadable(error: unknown): boolean {
  return error instanceof SyntaxError || error instanceof TypeError || (error instanceof Error && error.message.startsWith("WRONGTYPE"));
}

/** A job that cannot be read, as people see it. */
export function unreadableJob(id: string, state: ListedJob["state"]): ListedJob {
  return {
    id,
    name: UNREADABLE,
    state,
    serverId: null,
    priority: 0,
    attempts: 0,
    maxAttempts: 0,
    reason: "What stands in Redis for this job cannot be read. It is taken out by itself, or by `scoutsync jobs cancel`; no data is in it.",
    outcome: "",
    createdAt: new Date(0).toISOString(),
    startedAt: null,
    finishedAt: null,
    nextTryAt: null,
  };
}

/**
 * Makes jobs that do not parse ones that do: a worker that meets one takes it and can neither run nor fail it, and its node would
 * get no other. Returns how many there were.
 */
export async function mendUnreadable(queue: Queue, connection: Redis): Promise<number> {
  const ids = await queue.getRanges([...STATES], 0, -1);
  let mended = 0;
  for (let from = 0; from < ids.length; from += READ_AT_ONCE) {
    const some = ids.slice(from, from + READ_AT_ONCE);
    const reading = connection.pipeline();
    for (const id of some) reading.hmget(queue.toKey(id), ...Object.keys(PARSED), "parent");
    const answers = (await reading.exec()) ?? [];
    for (const [at, [error, values]] of answers.entries()) {
      const key = queue.toKey(some[at] ?? "");
      // Something else under this name: without it the job is an empty one.
      if (error !== null && isUnreadable(error)) await connection.del(key);
      else if (error !== null || !(await mend(connection, key, values as (string | null)[]))) continue;
      mended++;
    }
  }
  return mended;
}

async function mend(connection: Redis, key: string, values: readonly (string | null)[]): Promise<boolean> {
  const [data, opts, progress, parent] = values;
  const bad: Record<string, string> = {};
  if (!parses(data)) bad["data"] = PARSED["data"] ?? "";
  if (!parses(opts, true)) bad["opts"] = PARSED["opts"] ?? "";
  if (!parses(progress)) bad["progress"] = PARSED["progress"] ?? "";
  if (!parses(parent)) await connection.hdel(key, "parent");
  if (Object.keys(bad).length > 0) await connection.hset(key, bad);
  return Object.keys(bad).length > 0 || !parses(parent);
}

function parses(text: string | null | undefined, asObject = false): boolean {
  if (text === null || text === undefined || text === "") return true;
  try {
    const value: unknown = JSON.parse(text);
    return !asObject || (typeof value === "object" && value !== null);
  } catch {
    return false;
  }
}

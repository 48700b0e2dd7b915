import { parseAddress } from "@scoutsync/runtime";
import { usageError } from "../exit.ts";
import type { Surroundings } from "../surroundings.ts";

/** The text itself when it is host:port; otherwise a usage error that names the flag. */
export function checkAddress(text: string, flag: string): string {
  if (parseAddress(text)) return text;
  throw usageError(`"${text}" is not host:port`, `Give ${flag} as host:port, for example 127.0.0.1:7070; port 0 picks a free one.`);
}

/** Where Redis is: flag, then SCOUTSYNC_REDIS, then REDIS_URL, then its own default. */
export function redisUrlOf(flag: string | undefined, env: Surroundings["env"]): string {
  const url = flag ?? env["SCOUTSYNC_REDIS"] ?? env["REDIS_URL"] ?? "redis://127.0.0.1:6379";
  if (/^rediss?:\/\/\S+$/.test(url)) return url;
  throw usageError(`"${url}" is not a Redis address`, "Give --redis as redis://host:port or rediss://user:password@host:port.");
}

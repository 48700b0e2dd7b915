import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { SyncError } from "@scoutsync/core";
import { installRedis } from "./install.ts";
import { startPrivateRedis, type Redis } from "./child.ts";

export interface FindRedisOptions {
  /** The environment, for REDIS_URL and PATH. */
  env: Readonly<Record<string, string | undefined>>;
  /** Where a private one keeps its append-only file. */
  dataDirectory: string;
  /** Told what is being done when it takes long. */
  say?: (line: string) => void;
}

const PROGRAMS = ["redis-server", "valkey-server"];
/** Debian keeps servers here, and the PATH of an ordinary user may lack it. */
const SYSTEM_FOLDERS = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/opt/homebrew/bin"];

/**
 * A Redis to work with: REDIS_URL when set, else a private child from redis-server or valkey-server on PATH, else the
 * same after installing it where apt can. A private one ends with this process.
 */
export async function findRedis({ env, dataDirectory, say = () => {} }: FindRedisOptions): Promise<Redis> {
  const given = env["REDIS_URL"];
  if (given) return { url: given, program: null, stop: async () => {} };
  const program = redisProgram(env) ?? (installRedis(env, say) ? redisProgram(env) : null);
  if (program === null) {
    throw new SyncError({
      code: "REDIS_UNREACHABLE",
      message: "there is no Redis here: REDIS_URL is not set and neither redis-server nor valkey-server is on PATH",
      action: "Install Redis 7 or newer (Debian: apt-get install redis-server, macOS: brew install redis) or set REDIS_URL.",
    });
  }
  return startPrivateRedis({ program, dataDirectory });
}

function redisProgram(env: FindRedisOptions["env"]): string | null {
  const folders = [...(env["PATH"] ?? "").split(delimiter), ...SYSTEM_FOLDERS].filter((folder) => folder !== "");
  for (const program of PROGRAMS) {
    for (const folder of folders) {
      const path = join(folder, program);
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {
        // Not in this folder.
      }
    }
  }
  return null;
}

import { resolve } from "node:path";
import { Option } from "commander";
import { createLogger, printReady, runUntilSignal } from "@scoutsync/runtime";
import { declare, type Registration } from "../command.ts";
import { checkAddress, redisUrlOf } from "../config/addresses.ts";

interface CoordinatorOptions {
  listen?: string;
  http?: string;
  redis?: string;
  data?: string;
}

/** `scoutsync coordinator`: registry, scheduler and one worker in one process. */
export const registerCoordinator: Registration = (program, surroundings) => {
  declare<CoordinatorOptions>(program, surroundings, {
    usage: "coordinator",
    summary: "run the coordinator: it notices nodes that missed changes and has them caught up",
    options: [
      new Option("--listen <address>", "host:port for gRPC (default 127.0.0.1:7070)"),
      new Option("--http <address>", "host:port for HTTP (default 127.0.0.1:8080)"),
      new Option("--redis <url>", "redis:// or rediss:// (default REDIS_URL, else redis://127.0.0.1:6379)"),
      new Option("--data <dir>", "folder for the registry (default ./.scoutsync-coordinator)"),
    ],
    examples: [
      "scoutsync coordinator",
      "SCOUTSYNC_CATCHUP_CHECK_INTERVAL=60 scoutsync coordinator",
      "scoutsync coordinator --listen 0.0.0.0:7070 --http 127.0.0.1:8080 --redis redis://127.0.0.1:6379 --data /var/lib/scoutsync",
    ],
    run: async (options, { surroundings: { env, cwd }, logLevel }) => {
      const { startCoordinator, SETTING_DEFINITIONS } = await import("@scoutsync/coordinator");
      const coordinator = await startCoordinator({
        listen: checkAddress(options.listen ?? env["SCOUTSYNC_LISTEN"] ?? "127.0.0.1:7070", "--listen"),
        http: checkAddress(options.http ?? env["SCOUTSYNC_HTTP"] ?? "127.0.0.1:8080", "--http"),
        redis: redisUrlOf(options.redis, env),
        dataDirectory: resolve(cwd, options.data ?? env["SCOUTSYNC_DATA"] ?? ".scoutsync-coordinator"),
        logger: createLogger("coordinator", logLevel ?? "info"),
        presets: presetsOf(Object.keys(SETTING_DEFINITIONS), env),
      });
      printReady({ ...coordinator.ready });
      await runUntilSignal(coordinator);
    },
  });
};

/** Settings of the fleet as the environment gives them: `SCOUTSYNC_CATCHUP_ENABLED` and so on. */
function presetsOf(keys: readonly string[], env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(
    keys.flatMap((key) => {
      const value = env[`SCOUTSYNC_${key.toUpperCase()}`];
      return value === undefined || value === "" ? [] : [[key, value]];
    }),
  );
}

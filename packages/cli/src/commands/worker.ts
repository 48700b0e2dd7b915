import { Option } from "commander";
import { createLogger, printReady, runUntilSignal } from "@scoutsync/runtime";
import { declare, type Registration } from "../command.ts";
import { checkAddress, redisUrlOf } from "../config/addresses.ts";

/** `scoutsync worker`: one more worker for the coordinator's queue, on any machine. */
export const registerWorker: Registration = (program, surroundings) => {
  declare<{ redis?: string }>(program, surroundings, {
    usage: "worker",
    summary: "run one more worker, on any machine that reaches the coordinator and its Redis",
    usesCoordinator: true,
    options: [new Option("--redis <url>", "the coordinator's Redis (default REDIS_URL, else redis://127.0.0.1:6379)")],
    examples: ["scoutsync worker --coordinator 10.0.0.5:7070 --redis redis://10.0.0.5:6379"],
    run: async (options, { surroundings: { env }, logLevel, coordinator }) => {
      const { startWorker } = await import("@scoutsync/coordinator");
      const worker = await startWorker({
        coordinator: checkAddress(coordinator, "--coordinator"),
        redis: redisUrlOf(options.redis, env),
        logger: createLogger("worker", logLevel ?? "info"),
      });
      printReady({ coordinator });
      await runUntilSignal(worker);
    },
  });
};

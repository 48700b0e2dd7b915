import { resolve } from "node:path";
import { Option } from "commander";
import { createLogger, printReady, runUntilSignal } from "@scoutsync/runtime";
import { declare, type Registration } from "../command.ts";
import { joinAs } from "../identity/joining.ts";
import { checkAddress, redisUrlOf } from "../config/addresses.ts";

/** `scoutsync worker`: one more worker for the coordinator's queue, on any machine. */
export const registerWorker: Registration = (program, surroundings) => {
  declare<{ redis?: string; data?: string; join?: string; name?: string }>(program, surroundings, {
    usage: "worker",
    summary: "run one more worker, on any machine that reaches the coordinator and its Redis",
    usesCoordinator: true,
    options: [
      new Option("--redis <url>", "the coordinator's Redis (default REDIS_URL, else redis://127.0.0.1:6379)"),
      new Option("--data <dir>", "folder for its identity in a fleet (default ./.scoutsync-worker)"),
      new Option("--join <code>", "become a member of a fleet with the code that `scoutsync invite --role worker` printed"),
      new Option("--name <name>", "what people call it in the fleet (default: the machine's name)"),
    ],
    examples: ["scoutsync worker --coordinator 10.0.0.5:7070 --redis redis://10.0.0.5:6379"],
    run: async (options, { surroundings: { env, cwd }, logLevel, coordinator, insecure }) => {
      const { startWorker } = await import("@scoutsync/coordinator");
      const dataDirectory = resolve(cwd, options.data ?? env["SCOUTSYNC_DATA"] ?? ".scoutsync-worker");
      const code = options.join ?? env["SCOUTSYNC_JOIN"];
      if (code) await joinAs(dataDirectory, code, options.name);
      const worker = await startWorker({
        coordinator: checkAddress(coordinator, "--coordinator"),
        redis: redisUrlOf(options.redis, env),
        dataDirectory,
        insecure,
        logger: createLogger("worker", logLevel ?? "info"),
      });
      printReady({ coordinator });
      await runUntilSignal(worker);
    },
  });
};

import { resolve } from "node:path";
import { Option } from "commander";
import { createLogger, printReady, runUntilSignal } from "@scoutsync/runtime";
import { declare, isSet, type Registration } from "../command.ts";
import { joinAs } from "../identity/joining.ts";
import { checkAddress, redisUrlOf } from "../config/addresses.ts";
import { isInterface } from "../config/interface.ts";
import { usageError } from "../exit.ts";

interface CoordinatorOptions {
  listen?: string;
  http?: string;
  redis?: string;
  data?: string;
  join?: string;
  name?: string;
  discover?: string | true;
  insecure?: boolean;
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
      new Option("--join <code>", "become a member of a fleet that was made elsewhere, with the code that `scoutsync invite` printed"),
      new Option("--name <name>", "what people call it in the fleet (default: the machine's name)"),
      new Option(
        "--discover [interface]",
        "say on the local network where this coordinator is (mDNS), so that nodes of its fleet find it; through the interface with this address, or all",
      ),
      new Option("--insecure", "speak plain text also beyond this machine; anyone in between can read and change it"),
    ],
    examples: [
      "scoutsync coordinator",
      "SCOUTSYNC_CATCHUP_CHECK_INTERVAL=60 scoutsync coordinator",
      "scoutsync coordinator --listen 0.0.0.0:7070 --http 127.0.0.1:8080 --redis redis://127.0.0.1:6379 --data /var/lib/scoutsync",
    ],
    run: async (options, { surroundings: { env, cwd }, logLevel }) => {
      const { startCoordinator, SETTING_DEFINITIONS } = await import("@scoutsync/coordinator");
      const dataDirectory = resolve(cwd, options.data ?? env["SCOUTSYNC_DATA"] ?? ".scoutsync-coordinator");
      const code = options.join ?? env["SCOUTSYNC_JOIN"];
      if (code) await joinAs(dataDirectory, code, options.name);
      const coordinator = await startCoordinator({
        listen: checkAddress(options.listen ?? env["SCOUTSYNC_LISTEN"] ?? "127.0.0.1:7070", "--listen"),
        http: checkAddress(options.http ?? env["SCOUTSYNC_HTTP"] ?? "127.0.0.1:8080", "--http"),
        redis: redisUrlOf(options.redis, env),
        dataDirectory,
        discover: interfaceOf(options.discover, env["SCOUTSYNC_DISCOVER"]),
        insecure: options.insecure === true || isSet(env["SCOUTSYNC_INSECURE"]),
        logger: createLogger("coordinator", logLevel ?? "info"),
        presets: presetsOf(Object.keys(SETTING_DEFINITIONS), env),
      });
      printReady({ ...coordinator.ready });
      await runUntilSignal(coordinator);
    },
  });
};

/** The interface to use, "" for all; undefined where nobody asked for it. */
function interfaceOf(flag: string | true | undefined, environment: string | undefined): string | undefined {
  const given = flag === true ? "all" : (flag ?? environment ?? "");
  if (given === "") return undefined;
  if (!isInterface(given))
    throw usageError(`"${given}" is not the address of a network interface`, "Say --discover alone for all of them.");
  return given === "all" ? "" : given;
}

/** Settings of the fleet as the environment gives them: `SCOUTSYNC_CATCHUP_ENABLED` and so on. */
function presetsOf(keys: readonly string[], env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(
    keys.flatMap((key) => {
      const value = env[`SCOUTSYNC_${key.toUpperCase()}`];
      return value === undefined || value === "" ? [] : [[key, value]];
    }),
  );
}

import { readFileSync } from "node:fs";
import { Command, Option } from "commander";
import { registerApi } from "./commands/api.ts";
import { registerChanges } from "./commands/changes.ts";
import { registerCompletion } from "./commands/completion.ts";
import { registerCoordinator } from "./commands/coordinator.ts";
import { registerDetach } from "./commands/detach.ts";
import { registerDoctor } from "./commands/doctor.ts";
import { registerExport } from "./commands/export.ts";
import { registerFiles } from "./commands/files.ts";
import { registerHistory } from "./commands/history.ts";
import { registerReissue } from "./commands/reissue.ts";
import { registerRestore } from "./commands/restore.ts";
import { registerImport } from "./commands/import.ts";
import { registerInit } from "./commands/init.ts";
import { registerInvite } from "./commands/invite.ts";
import { registerJoin } from "./commands/join.ts";
import { registerKeys } from "./commands/keys.ts";
import { registerMembers } from "./commands/members.ts";
import { registerForget, registerPeers } from "./commands/peers.ts";
import { registerNode } from "./commands/node.ts";
import { registerPing } from "./commands/ping.ts";
import { registerReview } from "./commands/review.ts";
import { registerSync } from "./commands/sync.ts";
import { registerUsers } from "./commands/users.ts";
import { registerVerify } from "./commands/verify.ts";
import { registerWorker } from "./commands/worker.ts";
import { registerFleetCommands } from "./fleet/table.ts";
import type { Registration } from "./command.ts";
import type { Surroundings } from "./surroundings.ts";

const REGISTRATIONS: readonly Registration[] = [
  registerNode,
  registerCoordinator,
  registerWorker,
  registerSync,
  registerPing,
  registerVerify,
  registerExport,
  registerImport,
  registerChanges,
  registerHistory,
  registerReissue,
  registerRestore,
  registerReview,
  registerFiles,
  registerFleetCommands,
  registerPeers,
  registerForget,
  registerInit,
  registerInvite,
  registerJoin,
  registerMembers,
  registerKeys,
  registerUsers,
  registerDoctor,
  registerDetach,
  registerApi,
  registerCompletion,
];

/** The whole command line. Commander throws instead of exiting, so that `run` alone decides the exit code. */
export function buildProgram(surroundings: Surroundings): Command {
  const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string };
  const program = new Command("scoutsync")
    .description("Keeps SQLite databases on many servers in sync: every row on every server, nothing anyone typed is gone.")
    .version(version)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => surroundings.stdout.write(text),
      writeErr: (text) => surroundings.stderr.write(text),
      outputError: (text, write) => write(`scoutsync: ${text.replace(/^error: /, "").trimEnd()}. See the command's --help.\n`),
    })
    .showSuggestionAfterError(true)
    .addOption(new Option("--json", "print one JSON document on stdout"))
    .addOption(new Option("--log-level <level>", "what to log on stderr").choices(["trace", "debug", "info", "warn", "error", "silent"]))
    .addHelpText(
      "after",
      "\nNODE and PEER are host:port; with a coordinator a node's name does as well. `scoutsync COMMAND --help` shows examples.",
    );
  for (const register of REGISTRATIONS) register(program, surroundings);
  return program;
}

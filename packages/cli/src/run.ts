import { CommanderError } from "commander";
import { buildProgram } from "./program.ts";
import { describeError, errorDocument, ExitCode, exitCodeOf, Negative } from "./exit.ts";
import type { Surroundings } from "./surroundings.ts";

/** Runs one command line to its end and answers with the exit code. Never throws. */
export async function run(surroundings: Surroundings): Promise<ExitCode> {
  const { argv, env, stdout, stderr } = surroundings;
  const json = argv.includes("--json");
  const debug = isDebug(argv, env);
  // `scoutsync changes … | head` closes our stdout early: that is the reader's choice, not a failure.
  stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(ExitCode.done);
  });
  try {
    await buildProgram(surroundings).parseAsync(argv, { from: "user" });
    return ExitCode.done;
  } catch (thrown) {
    if (thrown instanceof Negative) return ExitCode.failed;
    if (thrown instanceof CommanderError) {
      if (thrown.exitCode === 0) return ExitCode.done;
      if (json) stdout.write(`${JSON.stringify(usageDocument(thrown))}\n`);
      return ExitCode.usage;
    }
    if (json) stdout.write(`${JSON.stringify(errorDocument(thrown))}\n`);
    stderr.write(`scoutsync: ${describeError(thrown, { stack: debug })}\n`);
    return exitCodeOf(thrown);
  }
}

function usageDocument(error: CommanderError): { error: { code: string; message: string } } {
  return { error: { code: "INVALID_ARGUMENT", message: error.message.replace(/^error: /, "") } };
}

function isDebug(argv: readonly string[], env: Surroundings["env"]): boolean {
  const at = argv.findIndex((argument) => argument === "--log-level" || argument.startsWith("--log-level="));
  const given = at < 0 ? env["SCOUTSYNC_LOG_LEVEL"] : (argv[at]?.split("=")[1] ?? argv[at + 1]);
  return given === "debug" || given === "trace";
}

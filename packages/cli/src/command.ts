import { InvalidArgumentError, Option, type Command } from "commander";
import { Output } from "./output/output.ts";
import type { Surroundings } from "./surroundings.ts";

export type Registration = (program: Command, surroundings: Surroundings) => void;

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error" | "silent";

/** What every command gets beside its own arguments and options. */
export interface Invocation {
  surroundings: Surroundings;
  out: Output;
  /** As given by flag or environment; null when neither said anything. */
  logLevel: LogLevel | null;
  /** Where the coordinator is, for commands that ask it or resolve a node's name. */
  coordinator: string;
}

export interface CommandSpec<Options> {
  /** Commander's notation: `sync <node> <peer>`. */
  usage: string;
  summary: string;
  examples: readonly string[];
  options?: readonly Option[];
  /** Adds `--coordinator`. */
  usesCoordinator?: boolean;
  run(options: Options, invocation: Invocation, ...args: string[]): Promise<void>;
}

const DEFAULT_COORDINATOR = "127.0.0.1:7070";

/** Declares one command with what all of them share: `--json`, `--log-level`, examples. */
export function declare<Options extends object>(parent: Command, surroundings: Surroundings, spec: CommandSpec<Options>): Command {
  const command = parent.command(spec.usage).description(spec.summary);
  for (const option of spec.options ?? []) command.addOption(option);
  if (spec.usesCoordinator) {
    command.addOption(new Option("--coordinator <address>", `the coordinator's host:port (default ${DEFAULT_COORDINATOR})`));
  }
  command.addOption(new Option("--json", "print one JSON document on stdout"));
  command.addOption(
    new Option("--log-level <level>", "what to log on stderr").choices(["trace", "debug", "info", "warn", "error", "silent"]),
  );
  command.addHelpText("after", `\nExamples:\n${spec.examples.map((example) => `  $ ${example}`).join("\n")}`);
  command.action(async () => {
    const options = command.optsWithGlobals<Options & { json?: boolean; logLevel?: LogLevel; coordinator?: string }>();
    const invocation: Invocation = {
      surroundings,
      out: new Output(surroundings, options.json === true),
      logLevel: options.logLevel ?? logLevelOf(surroundings.env["SCOUTSYNC_LOG_LEVEL"]),
      coordinator: options.coordinator ?? surroundings.env["SCOUTSYNC_COORDINATOR"] ?? DEFAULT_COORDINATOR,
    };
    await spec.run(options, invocation, ...command.args);
  });
  return command;
}

function logLevelOf(text: string | undefined): LogLevel | null {
  const levels: readonly string[] = ["trace", "debug", "info", "warn", "error", "silent"];
  return text !== undefined && levels.includes(text) ? (text as LogLevel) : null;
}

/** An option that may be given several times. */
export function repeatable(flags: string, description: string): Option {
  return new Option(flags, description).argParser((value: string, earlier: string[] | undefined) => [...(earlier ?? []), value]);
}

/** An option that takes a whole number of at least `least`. */
export function wholeNumber(flags: string, description: string, least = 1): Option {
  return new Option(flags, description).argParser((value: string) => {
    const number = Number(value);
    if (!Number.isSafeInteger(number) || number < least) {
      throw new InvalidArgumentError(`It has to be a whole number of at least ${least}.`);
    }
    return number;
  });
}

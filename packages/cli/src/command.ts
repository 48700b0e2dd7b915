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
  /** The folder whose identity is shown; null = the one of this user that fits the fleet which is asked. */
  identity: string | null;
  /** Speak plain text also with other machines. */
  insecure: boolean;
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
    command.addOption(new Option("--identity <dir>", "whose certificate to show (default: yours, from `scoutsync init` or `join`)"));
    command.addOption(new Option("--insecure", "speak plain text also with other machines; anyone in between can read and change it"));
  }
  command.addOption(new Option("--json", "print one JSON document on stdout"));
  command.addOption(
    new Option("--log-level <level>", "what to log on stderr").choices(["trace", "debug", "info", "warn", "error", "silent"]),
  );
  command.addHelpText("after", `\nExamples:\n${spec.examples.map((example) => `  $ ${example}`).join("\n")}`);
  command.action(async () => {
    const options = command.optsWithGlobals<
      Options & { json?: boolean; logLevel?: LogLevel; coordinator?: string; identity?: string; insecure?: boolean }
    >();
    const invocation: Invocation = {
      surroundings,
      out: new Output(surroundings, options.json === true),
      logLevel: options.logLevel ?? logLevelOf(surroundings.env["SCOUTSYNC_LOG_LEVEL"]),
      coordinator: options.coordinator ?? surroundings.env["SCOUTSYNC_COORDINATOR"] ?? DEFAULT_COORDINATOR,
      identity: options.identity ?? surroundings.env["SCOUTSYNC_IDENTITY"] ?? null,
      insecure: options.insecure === true || isSet(surroundings.env["SCOUTSYNC_INSECURE"]),
    };
    await spec.run(options, invocation, ...command.args);
  });
  return command;
}

function logLevelOf(text: string | undefined): LogLevel | null {
  const levels: readonly string[] = ["trace", "debug", "info", "warn", "error", "silent"];
  return text !== undefined && levels.includes(text) ? (text as LogLevel) : null;
}

/** What an environment variable that switches something on says. */
export function isSet(text: string | undefined): boolean {
  return text !== undefined && ["1", "true", "yes", "on"].includes(text.toLowerCase());
}

/** A length of time in milliseconds: `45s`, `30m`, `12h`, `7d`. */
export function duration(flags: string, description: string): Option {
  return new Option(flags, description).argParser((value: string) => {
    const match = /^(\d{1,6})([smhd])$/.exec(value);
    if (!match || Number(match[1]) === 0) throw new InvalidArgumentError("Write it as a number and s, m, h or d, for example 30m.");
    return Number(match[1]) * { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }[match[2] as "s" | "m" | "h" | "d"];
  });
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

import { Option, type Command } from "commander";
import { unary } from "@scoutsync/protocol";
import { declare, type Invocation } from "../command.ts";
import { LONG_DEADLINE_MS, QUICK_DEADLINE_MS, withCoordinator } from "../connect.ts";
import { Negative } from "../exit.ts";
import { watchUntilSignal } from "../output/live.ts";
import type { Output } from "../output/output.ts";
import { showingSessions } from "../output/sessions.ts";
import type { Surroundings } from "../surroundings.ts";

/** How often a live table is drawn anew. */
const REDRAW_MS = 1_000;

/** What was typed behind the command. */
export interface Typed {
  readonly args: readonly string[];
  readonly options: Readonly<Record<string, unknown>>;
}

/** A command that asks the coordinator for one operation of its table and shows the answer. `A` is what the operation answers. */
export interface FleetCommand<A> {
  /** As the table and the OpenAPI document name it. */
  operation: string;
  /** Commander's notation, the group first: `jobs retry <id>`. */
  usage: string;
  summary: string;
  examples: readonly string[];
  options?: readonly Option[];
  /** The operation's fields; without it there are none. Throws what is wrong with what was typed. */
  fields?(typed: Typed): Record<string, unknown>;
  /** What `--json` prints, where that is not the answer itself. Throws NOT_FOUND for what is not in the answer. */
  document?(answer: A, typed: Typed): unknown;
  people(answer: A, out: Output, typed: Typed): void;
  /** Adds `--watch`: the same again and again, as it changes. */
  live?: boolean;
  /** Sessions run while it is waited for: a terminal shows how far they are. */
  takesLong?: boolean;
  /** Why the answer is "no": said on stderr, and the command fails; null when it is not. */
  negative?(answer: A): readonly string[] | null;
}

/** A command as the table of them holds it. */
export type DeclaredFleetCommand = FleetCommand<never>;

/** Ties a command to what its operation answers. */
export function asks<A>(command: FleetCommand<A>): DeclaredFleetCommand {
  return command;
}

/** What an operation of the table answers, as JSON; null where it answers nothing. */
export function askCoordinator(
  invocation: Invocation,
  operation: string,
  input: Readonly<Record<string, unknown>>,
  { takesLong }: { takesLong: boolean },
): Promise<unknown> {
  return withCoordinator(invocation, async (client) => {
    const asked = unary(client, "ask", { operation, input }, { deadlineMs: takesLong ? LONG_DEADLINE_MS : QUICK_DEADLINE_MS });
    const { answer } = await (takesLong ? showingSessions(client, invocation.out, asked) : asked);
    return (answer as unknown) ?? null;
  });
}

export function declareFleetCommand(parent: Command, surroundings: Surroundings, command: DeclaredFleetCommand): void {
  // The answer is as the operation's schema says: the coordinator's tests hold that.
  const one = command as unknown as FleetCommand<unknown>;
  const options = one.options ?? [];
  declare<Record<string, unknown>>(parent, surroundings, {
    usage: one.usage,
    summary: one.summary,
    usesCoordinator: true,
    examples: one.examples,
    options: one.live ? [...options, new Option("--watch", "draw it anew as it changes, until Ctrl-C")] : options,
    run: async (chosen, invocation, ...args) => {
      const { out } = invocation;
      const typed = { args, options: chosen };
      const fields = one.fields?.(typed) ?? {};
      const look = async () => {
        const answer = await askCoordinator(invocation, one.operation, fields, { takesLong: one.takesLong === true });
        out.result(one.document === undefined ? answer : one.document(answer, typed), () => one.people(answer, out, typed));
        const why = one.negative?.(answer) ?? null;
        if (why === null) return;
        for (const reason of why) out.note(`scoutsync: ${reason}`);
        throw new Negative();
      };
      if (chosen["watch"] === true) await watchUntilSignal(invocation, REDRAW_MS, look);
      else await look();
    },
  });
}

/** Fields that were given; the others are the operation's to fill. */
export function given(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

import { FleetSimulation } from "./fleet.ts";
import { FULL, type FleetOptions } from "./options.ts";
import { drawSteps, type Step } from "./steps.ts";

/** A write step has no more statements than this. */
const MOST_STATEMENTS = 12;

export interface ShortHistory {
  steps: Step[];
  options: Partial<FleetOptions>;
  failures: string[];
}

/** What fails when these steps are taken. */
export function failuresOf(seed: number, options: Partial<FleetOptions>, steps: readonly Step[]): string[] {
  try {
    return new FleetSimulation(seed, options).run(steps).failures;
  } catch (error) {
    return [error instanceof Error ? (error.stack ?? error.message) : String(error)];
  }
}

/** A failure without its names and numbers: leaving out steps must not lead from one failure to another. */
const kindOf = (failures: readonly string[]): string =>
  (failures[0] ?? "")
    .split("\n")[0]
    ?.replace(/[^ ]*\d[^ ]*|'.*/g, "#")
    .slice(0, 60) ?? "";

/** A short history that fails as the seed's does, by leaving out steps, replicas, tables and deaths as long as it still fails. */
export function shrink(seed: number, given: Partial<FleetOptions>): ShortHistory {
  let options: Partial<FleetOptions> = { ...given, trace: false };
  let steps = drawSteps(seed, { ...FULL, ...options });
  let failures = failuresOf(seed, options, steps);
  const kind = kindOf(failures);
  const fails = (some: readonly Step[], other: Partial<FleetOptions>): boolean => {
    const found = failuresOf(seed, other, some);
    if (found.length === 0 || kindOf(found) !== kind) return false;
    failures = found;
    return true;
  };
  const shorten = () => {
    for (let size = Math.ceil(steps.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
      for (let at = steps.length - size; at > -size; at -= size) {
        const shorter = [...steps.slice(0, Math.max(0, at)), ...steps.slice(Math.max(0, at) + size)];
        if (shorter.length < steps.length && fails(shorter, options)) steps = shorter;
      }
    }
  };
  if (failures.length === 0) return { steps, options, failures };
  shorten();
  for (const replicas of [2, 3, 4]) {
    if (fails(steps, { ...options, replicas })) {
      options = { ...options, replicas };
      break;
    }
  }
  const { tables } = new FleetSimulation(seed, options);
  let names = tables.map(({ name }) => name);
  for (const name of names.toReversed()) {
    const fewer = names.filter((other) => other !== name);
    if (fewer.length > 0 && fails(steps, { ...options, tables: fewer })) {
      names = fewer;
      options = { ...options, tables: fewer };
    }
  }
  steps.forEach((step, i) => {
    const living = steps.with(i, { ...step, crashAt: 0 });
    if (step.crashAt > 0 && fails(living, options)) steps = living;
  });
  for (const [i, { kind: what }] of steps.entries()) {
    for (let statement = what === "write" || what === "begin" ? MOST_STATEMENTS - 1 : -1; statement >= 0; statement--) {
      const step = steps[i] as Step;
      const shorter = steps.with(i, { ...step, without: [...step.without, statement] });
      if (fails(shorter, options)) steps = shorter;
    }
  }
  for (let before = 0; before !== steps.length;) {
    before = steps.length;
    shorten();
  }
  return { steps, options, failures };
}

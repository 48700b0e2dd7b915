import { seededRandom } from "@scoutsync/testkit";
import type { FleetOptions } from "./options.ts";

/** One thing that happens. All chance inside it comes from its own seed: leaving out another step does not change what this one does, only what it finds. */
export interface Step {
  kind:
    | "write"
    | "begin"
    | "end"
    | "drain"
    | "sync"
    | "stream"
    | "go on"
    | "replay"
    | "restart"
    | "backup"
    | "restore"
    | "clone"
    | "jump"
    | "partition"
    | "migrate";
  /** Which node, and which other one, as numbers that are reduced to how many there are. */
  node: number;
  other: number;
  seed: number;
  /** Dies at this statement of what the step makes a node do; 0: lives. */
  crashAt: number;
  /** Statements of a write that are left out. */
  without: number[];
}

const WEIGHTS: [Step["kind"], number, keyof FleetOptions | null][] = [
  ["write", 46, null],
  ["begin", 2, null],
  ["end", 4, null],
  ["drain", 5, null],
  ["sync", 20, null],
  ["stream", 5, null],
  ["go on", 8, null],
  ["replay", 3, "faults"],
  ["restart", 2, "restarts"],
  ["backup", 2, "copies"],
  ["restore", 1, "copies"],
  ["clone", 0.5, "copies"],
  ["jump", 1, "jumps"],
  ["partition", 2, "partitions"],
  ["migrate", 4, "migrations"],
];

/** Most statements after which a step dies: an apply of a few rows has some two hundred. */
const LATEST_CRASH = 300;

export function drawSteps(seed: number, options: FleetOptions): Step[] {
  const random = seededRandom(seed * 31 + 7);
  const kinds = WEIGHTS.filter(([, , option]) => option === null || options[option]);
  const total = kinds.reduce((sum, [, weight]) => sum + weight, 0);
  return Array.from({ length: options.steps }, () => {
    let at = random.next() * total;
    const kind = (kinds.find(([, weight]) => (at -= weight) < 0) ?? kinds[0])?.[0] ?? "write";
    const dies = options.crashes && ["drain", "sync", "stream", "go on", "restart", "migrate"].includes(kind) && random.below(100) < 25;
    return {
      kind,
      node: random.below(420),
      other: random.below(420),
      seed: random.below(2 ** 31),
      // As often among the first ten as among the next ninety.
      crashAt: dies ? Math.max(1, Math.floor(Math.exp(random.next() * Math.log(LATEST_CRASH)))) : 0,
      without: [],
    };
  });
}

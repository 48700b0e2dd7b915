import { spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

// `npm run seeds [-- --minutes N] [--from SEED] [--seeds N] [--jobs N] [WORDS]`: random histories of every kind in turns, as many as
// there is time for. Prints each failing seed at once, with the command that runs it again, then a table; exit 1 when one failed.
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const PIECE = 25;

const REPLICA = "packages/replica/test/simulate.ts";
const ENTITIES = "packages/replica/test/simulate-entities.ts";
const MASS_DELETES = "packages/replica/test/simulate-mass-deletes.ts";
const LINKED = "packages/replica/test/simulate-linked.ts";
const SCOPES = "packages/replica/test/simulate-scopes.ts";
const FLEET = "test/simulation/fleet/main.ts";

interface Kind {
  name: string;
  program: string;
  options: Record<string, number | boolean | string>;
}

const KINDS: readonly Kind[] = [
  { name: "replicas", program: REPLICA, options: {} },
  { name: "replicas, keyless and natural keys", program: REPLICA, options: { moreTables: true } },
  { name: "replicas, counters and sets", program: REPLICA, options: { rules: true } },
  { name: "replicas, one destroyed", program: REPLICA, options: { replicas: 4, lose: true } },
  { name: "replicas, clocks corrected", program: REPLICA, options: { replicas: 5, clocks: true, skewS: 200_000 } },
  { name: "replicas, issued again", program: REPLICA, options: { reissue: true, clocks: true, skewS: 200_000 } },
  { name: "replicas, integers remembered", program: REPLICA, options: { keepsIds: true, steps: 90 } },
  { name: "replicas, children first", program: REPLICA, options: { early: true, moreTables: true } },
  { name: "replicas, forgetting", program: REPLICA, options: { replicas: 4, steps: 90, forgetting: true } },
  { name: "replicas, forgetting, keyless", program: REPLICA, options: { forgetting: true, moreTables: true } },
  {
    name: "replicas, forgetting, issued again",
    program: REPLICA,
    options: { replicas: 4, steps: 90, forgetting: true, reissue: true, rules: true, clocks: true, moreTables: true },
  },
  { name: "copies", program: REPLICA, options: { copies: true } },
  { name: "copies, forgetting", program: REPLICA, options: { copies: true, forgetting: true, moreTables: true } },
  { name: "entities", program: ENTITIES, options: {} },
  { name: "entities, forgetting", program: ENTITIES, options: { forgetting: true } },
  { name: "mass deletes", program: MASS_DELETES, options: {} },
  { name: "mass deletes, all put back", program: MASS_DELETES, options: { decision: "undo", deletes: false } },
  { name: "linked databases, deletes", program: LINKED, options: { deletes: true } },
  { name: "linked databases, unique", program: LINKED, options: { deletes: true, unique: true } },
  { name: "linked databases, put back", program: LINKED, options: { deletes: true, chain: true, putBacks: true, running: true } },
  { name: "linked databases, chain", program: LINKED, options: { chain: true } },
  { name: "scopes", program: SCOPES, options: {} },
  { name: "scopes, the same persons", program: SCOPES, options: { joint: true } },
  { name: "fleets", program: FLEET, options: {} },
  { name: "fleets, migrations", program: FLEET, options: { migrations: true } },
  { name: "fleets, migrations, keyless", program: FLEET, options: { migrations: true, keyless: true } },
  { name: "fleets, tables dropped", program: FLEET, options: { migrations: true, drops: true, keyless: true } },
  { name: "fleets, tables dropped and back", program: FLEET, options: { migrations: true, drops: true, returns: true } },
  {
    name: "fleets, tables dropped and back, keyless",
    program: FLEET,
    options: { migrations: true, drops: true, returns: true, keyless: true },
  },
  { name: "fleets, circles", program: FLEET, options: { selfReferences: true, naturalParents: true, recursive: true } },
  { name: "fleets, keys taken again", program: FLEET, options: { retakes: true, naturalParents: true } },
];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    minutes: { type: "string", default: "10" },
    from: { type: "string", default: String(Math.floor(Date.now() / 1000)) },
    seeds: { type: "string", default: "Infinity" },
    jobs: { type: "string", default: String(availableParallelism()) },
  },
});
const [minutes, from, most, jobs] = [values.minutes, values.from, values.seeds, values.jobs].map(Number) as [
  number,
  number,
  number,
  number,
];
const kinds = KINDS.filter(({ name }) => positionals.every((word) => name.includes(word)));
if (!(minutes > 0) || !Number.isSafeInteger(from) || !(most > 0) || !(jobs > 0) || kinds.length === 0) {
  console.error("For example: npm run seeds -- --minutes 10 --from 1 fleets");
  console.error(`Numbers above 0, and words of one of these:\n${KINDS.map(({ name }) => `  ${name}`).join("\n")}`);
  process.exit(2);
}

const end = Date.now() + minutes * 60_000;
const results = new Map(kinds.map((kind) => [kind, { ran: 0, failing: [] as number[], seconds: 0 }]));
let turn = 0;
let begun = 0;

/** Takes the next piece, one kind after the other, until time or seeds are used up. */
async function work(): Promise<void> {
  while (Date.now() < end && begun < most) {
    const kind = kinds[turn % kinds.length] as Kind;
    const first = from + Math.floor(turn / kinds.length) * PIECE;
    const count = Math.min(PIECE, most - begun);
    turn++;
    begun += count;
    await run(kind, first, count);
  }
}

async function run(kind: Kind, first: number, count: number): Promise<void> {
  const started = performance.now();
  const options = JSON.stringify(kind.options);
  const child = spawn(process.execPath, [kind.program, String(first), String(count), options], {
    cwd: ROOT,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (piece: string) => (text += piece));
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  const result = results.get(kind) as { ran: number; failing: number[]; seconds: number };
  const failing = [...text.matchAll(/^seed (\d+)/gm)].map(([, seed]) => Number(seed));
  result.ran += count;
  result.failing.push(...new Set(failing));
  result.seconds += (performance.now() - started) / 1000;
  if (code === 0) return;
  // A process that ended without naming a seed has not run them all.
  if (failing.length === 0) result.failing.push(first);
  for (const seed of failing) console.log(`node ${kind.program} ${seed} 1 '${options}'`);
  console.log(text.trimEnd());
}

console.log(`from seed ${from}, ${kinds.length} kinds, ${jobs} at a time, ${minutes} minutes`);
await Promise.all(Array.from({ length: jobs }, work));
const widest = Math.max(...kinds.map(({ name }) => name.length));
for (const [{ name }, { ran, failing, seconds }] of results) {
  const outcome = ran === 0 ? "not run" : failing.length === 0 ? "clean" : `FAILING ${failing.join(", ")}`;
  console.log(`${name.padEnd(widest)}  ${String(ran).padStart(6)} seeds  ${seconds.toFixed(0).padStart(6)} s  ${outcome}`);
}
const [ran, failing] = [...results.values()].reduce(([a, b], result) => [a + result.ran, b + result.failing.length], [0, 0] as [
  number,
  number,
]);
console.log(`${ran} seeds, ${failing} failing`);
process.exitCode = failing > 0 ? 1 : 0;

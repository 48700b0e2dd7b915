import { chooseSeed, Fleet, Ledger, seededRandom } from "@scoutsync/testkit";
import { proofTable, prove } from "./proof.ts";
import { NODE_NAMES, setScene } from "./scene.ts";
import { comesBack, everyoneWrites, killInTheMiddle, writesGoOn } from "./story.ts";

const started = Date.now();
const say = (line = "") => process.stdout.write(`${line}\n`);
const tell = (line: string) => say(`   ${line}`);
let step = 0;
const chapter = (title: string) => say(`${++step}. ${title}`);

const random = seededRandom(chooseSeed());
const fleet = new Fleet("demo");
let failed = true;
let stopping: Promise<void> | null = null;
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    stopping ??= fleet.stop().finally(() => process.exit(130));
  });
}

try {
  say(`The offline story: three servers, real processes, real data. Seed ${random.seed} (SCOUTSYNC_SEED repeats it).\n`);
  chapter("Three servers start from one copy of Chinook and of a Scout server's two databases");
  const scene = await setScene(fleet, new Ledger(), random);
  for (const name of NODE_NAMES)
    tell(`node ${name.padEnd(6)} ${scene.servers[name].node.address}  process ${scene.servers[name].node.process.pid}`);
  chapter("Everyone writes");
  await everyoneWrites(scene, tell);
  chapter("A node dies in the middle of a batch");
  await killInTheMiddle(scene, tell);
  chapter("Writes go on, on both sides of the gap");
  await writesGoOn(scene, tell);
  chapter("The node returns");
  await comesBack(scene, tell);
  chapter("The proof: the writers' ledger against every node's files, read with plain SQLite");
  const claims = await prove(scene);
  say();
  for (const line of proofTable(claims)) tell(line);
  say();
  const problems = claims.flatMap((claim) => NODE_NAMES.flatMap((name) => claim.problems[name].map((problem) => `${name}: ${problem}`)));
  for (const problem of problems.slice(0, 20)) say(`   ${problem}`);
  failed = problems.length > 0;
  for (const name of NODE_NAMES) await scene.servers[name].application.stop();
} catch (error) {
  say(`   ${error instanceof Error ? error.message : String(error)}`);
  if (error instanceof Error && error.cause instanceof Error) say(`   because: ${error.cause.message}`);
}
const seconds = ((Date.now() - started) / 1000).toFixed(0);
if (failed && !stopping) {
  await fleet.stop({ keep: true });
  say(`FAILED after ${seconds} s. Databases and logs are kept in ${fleet.directory}; SCOUTSYNC_SEED=${random.seed} repeats this run.`);
} else {
  await (stopping ?? fleet.stop());
  say(`Every acknowledged write is on every node. ${seconds} s.`);
}
process.exit(failed ? 1 : 0);

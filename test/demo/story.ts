import { scoutsync, until } from "@scoutsync/testkit";
import { pause } from "@scoutsync/runtime";
import type { Scene, Server } from "./scene.ts";
import { addAlbum, addScouting, addUser, deleteScouting, editCustomer, editTeam, type GivenIds } from "./writes.ts";

export interface Told {
  (line: string): void;
}

/** The part of `scoutsync status --json` that the story reads. */
export interface FleetStatus {
  converged: boolean;
  nodes: { id: number; name: string; online: boolean; missing_changes: number }[];
}

/** Longer than any of these steps takes on a busy two-core machine. */
const CAUGHT_UP_WITHIN_MS = 90_000;
const BATCH_COMMITS = 24;
const ROWS_PER_COMMIT = 10;

export async function fleetStatus({ coordinator }: Scene): Promise<FleetStatus> {
  const answer = await scoutsync(["status", "--coordinator", coordinator.address, "--json"]);
  if (answer.code !== 0) throw new Error(answer.stderr.trim());
  return answer.json<FleetStatus>();
}

/** Everyone is online and everyone writes. */
export async function everyoneWrites(scene: Scene, say: Told): Promise<void> {
  const { pits, stands, judges } = scene.servers;
  await Promise.all(
    [pits, stands, judges].map(async (server) => {
      for (let at = 0; at < 5; at++) await addAlbum(scene, server, `${server.name} online ${at}`, new Map());
      await addScouting(scene, server, `${server.name} online`, 30, new Map());
    }),
  );
  const by = await addUser(scene, pits, "pits_online");
  say(
    `each server's application (${pits.application.kind}) wrote 5 albums with tracks and 30 scouting rows; a person added a user with ${by === "sqlite3" ? "the sqlite3 program" : "the application"}`,
  );
  await until(async () => (await fleetStatus(scene)).converged, {
    withinMs: CAUGHT_UP_WITHIN_MS,
    what: "the fleet to converge after the first writes",
  });
  say("the coordinator reports all three nodes equal");
}

/** Node judges dies in the middle of a batch, while the others write too. The applications notice nothing. */
export async function killInTheMiddle(scene: Scene, say: Told): Promise<void> {
  const { pits, stands, judges } = scene.servers;
  const others = Promise.all(
    [pits, stands].map(async (server) => {
      for (let at = 0; at < 10; at++) await addScouting(scene, server, `${server.name} busy ${at}`, ROWS_PER_COMMIT, new Map());
    }),
  );
  for (let at = 0; at < BATCH_COMMITS; at++) {
    if (at === BATCH_COMMITS / 3) {
      // Not awaited before the next commit: the application is never told.
      void judges.node.kill();
      say(
        `SIGKILL to node judges (process ${judges.node.process.pid}) after commit ${at} of a batch of ${BATCH_COMMITS} on its own server`,
      );
    }
    await addScouting(scene, judges, `judges batch ${at}`, ROWS_PER_COMMIT, new Map());
  }
  await others;
  await judges.node.process.ended;
  say(
    `its application went on: all ${BATCH_COMMITS} commits of the batch were acknowledged, ${BATCH_COMMITS * (2 / 3)} of them with no node running`,
  );
}

/** Everyone goes on while judges is cut off: same ids, same rows, same columns. */
export async function writesGoOn(scene: Scene, say: Told): Promise<void> {
  const { pits, stands, judges } = scene.servers;
  const ids = await writeApart(scene, [pits, judges]);
  await addScouting(scene, stands, "stands explicit", 10, new Map(), 900_001);
  await addScouting(scene, judges, "judges explicit", 10, new Map(), 900_001);
  for (const server of [stands, judges]) await addUser(scene, server, `${server.name}_offline`);
  say(
    `pits and judges each wrote albums, tracks and scouting rows: ${sameIds(ids)} rows got an integer id that the other server gave to another row; stands and judges both wrote ids 900001 to 900010`,
  );

  await Promise.all([
    editCustomer(scene, pits, "luisg@embraer.com.br", "Company", "pits says Embraer"),
    editCustomer(scene, judges, "luisg@embraer.com.br", "Company", "judges say Embraer SA"),
    editCustomer(scene, stands, "leonekohler@surfeu.de", "City", "Stuttgart (stands)"),
    editCustomer(scene, judges, "leonekohler@surfeu.de", "City", "Stuttgart (judges)"),
    editTeam(scene, pits, "Team 1007", "location", "Omaha, as pits saw it"),
    editTeam(scene, judges, "Team 1007", "location", "Dallas, as judges saw it"),
  ]);
  await Promise.all([
    editCustomer(scene, pits, "ftremblay@gmail.com", "Phone", "+1 514 555 0100"),
    editCustomer(scene, judges, "ftremblay@gmail.com", "Fax", "+1 514 555 0199"),
  ]);
  for (const turn of ["first", "second", "final"])
    await editCustomer(scene, judges, "hholy@gmail.com", "Address", `Rilska, ${turn} edit of judges`);
  await deleteScouting(scene, pits, "pits online 0");
  say("three columns were edited on two servers at once, one row in different columns, one column three times in a row, one row deleted");

  const status = await until(
    async () => {
      const now = await fleetStatus(scene);
      const online = now.nodes.filter(({ name }) => name !== "judges");
      return now.nodes.some(({ name, online: up }) => name === "judges" && !up) &&
        online.every(({ missing_changes: missing }) => missing === 0)
        ? now
        : null;
    },
    { withinMs: CAUGHT_UP_WITHIN_MS, what: "the coordinator to see that judges is gone and to bring pits and stands together" },
  );
  const missing = status.nodes.find(({ name }) => name === "judges")?.missing_changes ?? 0;
  say(`the coordinator says: judges is offline and misses ${missing} changes; pits and stands are equal`);
}

/** The node returns; nobody does anything else. */
export async function comesBack(scene: Scene, say: Told): Promise<void> {
  const { judges } = scene.servers;
  const before = await completedCatchUps(scene);
  const started = Date.now();
  await judges.node.restart();
  say(`node judges runs again (process ${judges.node.process.pid})`);
  await until(async () => (await fleetStatus(scene)).converged, {
    withinMs: CAUGHT_UP_WITHIN_MS,
    what: "the fleet to converge after judges came back",
  });
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  const after = await until(async () => ((await completedCatchUps(scene)) > before ? await completedCatchUps(scene) : null), {
    withinMs: 10_000,
    what: "a completed catch-up in the coordinator's log",
  });
  say(
    `the coordinator noticed and caught the fleet up ${seconds} s after the node's start (${after - before} catch-up sessions in its log)`,
  );
}

async function writeApart(scene: Scene, servers: readonly Server[]): Promise<GivenIds[]> {
  return Promise.all(
    servers.map(async (server) => {
      const given: GivenIds = new Map();
      for (let at = 0; at < 8; at++) await addAlbum(scene, server, `${server.name} apart ${at}`, given);
      await addScouting(scene, server, `${server.name} apart`, 40, given);
      // So that neither server's ids depend on how fast the other one is.
      await pause(10);
      return given;
    }),
  );
}

function sameIds([a, b]: readonly GivenIds[]): number {
  let same = 0;
  for (const [table, ids] of a ?? []) for (const id of ids) if (b?.get(table)?.has(id)) same++;
  return same;
}

async function completedCatchUps({ coordinator }: Scene): Promise<number> {
  const answer = await scoutsync([
    "logs",
    "--coordinator",
    coordinator.address,
    "--operation",
    "catch-up",
    "--status",
    "completed",
    "--limit",
    "1000",
    "--json",
  ]);
  return answer.code === 0 ? answer.json<unknown[]>().length : 0;
}

import {
  boundOf,
  chooseSeed,
  createDatabase,
  differences,
  dumpDatabase,
  Fleet,
  integrityProblems,
  seededRandom,
  select,
  startProxy,
  startWriter,
  type FleetNode,
} from "@scoutsync/testkit";
import { pause } from "@scoutsync/runtime";
import { expect, test } from "vitest";

const SCHEMA = `CREATE TABLE team(id INTEGER PRIMARY KEY, name TEXT NOT NULL);
  CREATE TABLE entry(id INTEGER PRIMARY KEY, team_id INTEGER NOT NULL REFERENCES team(id), body TEXT NOT NULL)`;
/** SCOUTSYNC_KILLS for more; each is a process start, so the everyday run takes fewer. */
const KILLS = Number(process.env["SCOUTSYNC_KILLS"] ?? 50);
const ROWS_PER_ROUND = 300;

test(`${KILLS} SIGKILLs of either node at random moments of a session lose nothing`, { timeout: boundOf(600_000) }, async () => {
  const random = seededRandom(chooseSeed());
  console.log(`seed ${random.seed}`);
  const fleet = new Fleet("crash");
  const writer = startWriter();
  let keep = true;
  try {
    const paths = { a: createDatabase(fleet.path("a", "app.db"), SCHEMA), b: createDatabase(fleet.path("b", "app.db"), SCHEMA) };
    const nodes = {
      a: await fleet.node({ name: "a", databases: { app: paths.a } }),
      b: await fleet.node({ name: "b", databases: { app: paths.b } }),
    };
    const acknowledged: string[] = [];
    for (let kill = 0; kill < KILLS; kill++) {
      for (const side of ["a", "b"] as const) {
        const bodies = Array.from({ length: ROWS_PER_ROUND }, (_, at) => `${side} ${kill} ${at} ${random.hex(40)}`);
        await writer.write({
          path: paths[side],
          statements: [
            ["INSERT INTO team(name) VALUES (?)", [`${side} ${kill}`]],
            ...bodies.map(
              (body) => ["INSERT INTO entry(team_id, body) SELECT max(id), ? FROM team WHERE name = ?", [body, `${side} ${kill}`]] as const,
            ),
          ],
          pragmas: ["foreign_keys=ON"],
        });
        acknowledged.push(...bodies);
      }
      const victim: FleetNode = random.below(2) === 0 ? nodes.a : nodes.b;
      const session = fleet.sync(nodes.a, nodes.b);
      // A session of this size takes tens of milliseconds once the command has started.
      await pause(120 + random.below(260));
      await victim.kill();
      await session;
      await victim.restart();
    }
    for (const [node, peer] of [
      [nodes.a, nodes.b],
      [nodes.b, nodes.a],
    ] as const) {
      const done = await fleet.sync(node, peer);
      expect(done.code, done.stdout + done.stderr).toBe(0);
      expect(done.json()).toMatchObject({ success: true, verified: true });
    }
    const sorted = [...acknowledged].sort();
    for (const path of Object.values(paths)) {
      expect(
        select(path, "SELECT body FROM entry")
          .map(({ body }) => String(body))
          .sort(),
      ).toEqual(sorted);
      // The child's text names its parent's: it still hangs where it was put.
      expect(
        select(
          path,
          "SELECT count(*) AS strays FROM entry JOIN team ON team.id = team_id WHERE substr(body, 1, length(name) + 1) <> name || ' '",
        ),
      ).toEqual([{ strays: 0n }]);
      expect(integrityProblems(path)).toEqual([]);
    }
    expect(differences(dumpDatabase(paths.a), dumpDatabase(paths.b))).toEqual([]);
    keep = false;
  } finally {
    await writer.stop();
    await fleet.stop({ keep });
    if (keep) console.log(`kept for a look: ${fleet.directory}`);
  }
});

test("a cut at any byte of a session is resumed", async () => {
  const random = seededRandom(chooseSeed());
  console.log(`seed ${random.seed}`);
  const fleet = new Fleet("cut");
  const writer = startWriter();
  try {
    const paths = { a: createDatabase(fleet.path("a", "app.db"), SCHEMA), b: createDatabase(fleet.path("b", "app.db"), SCHEMA) };
    const a = await fleet.node({ name: "a", databases: { app: paths.a } });
    const b = await fleet.node({ name: "b", databases: { app: paths.b } });
    const proxy = await startProxy(b.address);
    try {
      for (const path of Object.values(paths)) {
        await writer.write({
          path,
          statements: [
            ["INSERT INTO team(name) VALUES ('t')", []],
            ...Array.from({ length: 4000 }, () => ["INSERT INTO entry(team_id, body) VALUES (1, ?)", [random.hex(120)]] as const),
          ],
        });
      }
      for (let cut = 0; cut < 15; cut++) {
        proxy.cutAfter(500 + random.below(400_000));
        await fleet.sync(a, proxy.address);
      }
      proxy.cutAfter(Infinity);
      const done = await fleet.sync(a, proxy.address);
      expect(done.code, done.stdout).toBe(0);
      expect(done.json()).toMatchObject({ success: true, verified: true });
      for (const path of Object.values(paths)) expect(select(path, "SELECT count(*) AS rows FROM entry")).toEqual([{ rows: 8000n }]);
      expect(differences(dumpDatabase(paths.a), dumpDatabase(paths.b))).toEqual([]);
    } finally {
      await proxy.stop();
    }
  } finally {
    await writer.stop();
    await fleet.stop();
  }
});

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { unary, VerifyRequest, type Node } from "@scoutsync/protocol";
import { startSyncNode } from "@scoutsync/sync-node";
import Sqlite, { type Database } from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { NodeClients } from "../src/detection/node-clients.ts";
import { plainDial } from "@scoutsync/trust";
import { eventually, FleetUnderTest, quietLogger } from "./fleet-under-test.ts";
import { RedisServer, redisProgram } from "./redis-server.ts";

/** The shortest interval there is, and as long as a round may take on a busy machine. */
const CANARY_SECONDS = 10;
const ROUND_MS = 40_000;

interface Trigger {
  name: string;
  sql: string;
}

const triggersOf = (database: Database) =>
  database.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND name LIKE '_scoutsync%'").all() as Trigger[];

const drop = (database: Database) => {
  for (const { name } of triggersOf(database)) database.exec(`DROP TRIGGER ${name}`);
};
/** Writes a row past the triggers, which are as they were when anybody looks. */
const writePast = (id: string) => (database: Database) => {
  const triggers = triggersOf(database);
  database.transaction(() => {
    drop(database);
    database.prepare("INSERT INTO item (id, value) VALUES (?, 'seen by nobody')").run(id);
    for (const { sql } of triggers) database.exec(sql);
  })();
};

/** How somebody breaks capture on a node; the node has nothing to notice but what it looks for. */
const BREAKS: Record<string, (database: Database) => void> = {
  whole: () => {},
  // The triggers are there by name and yet note nothing: no inventory of names and no schema change shows it.
  emptied: (database) => {
    database.unsafeMode(true);
    database.exec("PRAGMA recursive_triggers = OFF; PRAGMA writable_schema = ON");
    const emptied = database.prepare("UPDATE sqlite_schema SET sql = ? WHERE name = ?");
    for (const { name, sql } of triggersOf(database)) emptied.run(sql.replace(/BEGIN[\s\S]*END/i, "BEGIN SELECT 1; END"), name);
    database.exec("PRAGMA writable_schema = RESET");
  },
  dropped: drop,
  // As while changes of others are applied, for ever.
  flagged: (database) => database.exec("INSERT INTO _scoutsync_applying VALUES(1)"),
  past: writePast("past"),
  // The same where the coordinator cannot dial the node, as behind a router.
  "inside-dropped": drop,
  "inside-past": writePast("inside-past"),
};
const NAMES = Object.keys(BREAKS);
const INSIDE = NAMES.filter((name) => name.startsWith("inside"));
/** What was written past the triggers is told until somebody has it taken in. */
const PAST = ["inside-past", "past"];

// Real nodes; what each holds is read by a connection of our own. Health checks, vectors and digests stay green.
describe.skipIf(redisProgram === null)("the canary", () => {
  let directory: string;
  const running: Awaited<ReturnType<typeof startSyncNode>>[] = [];
  let redis: RedisServer;
  let fleet: FleetUnderTest;
  const query = <T>(name: string, work: (database: Database) => T): T => {
    const database = new Sqlite(join(directory, `${name}.db`), { timeout: 5_000 });
    try {
      return work(database);
    } finally {
      database.close();
    }
  };
  const ids = (name: string) => query(name, (database) => database.prepare("SELECT id FROM item ORDER BY id").pluck().all());
  const canaryAlerts = async (all: boolean) =>
    (await unary(fleet.client, "listAlerts", { all, limit: 100 })).alerts.filter(({ kind }) => kind === "canary");
  const open = async () => (await canaryAlerts(false)).map(({ serverName }) => serverName).sort();

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), "scoutsync-canary-"));
    redis = await RedisServer.start();
    fleet = await FleetUnderTest.start(redis.url, { directory: join(directory, "registry"), timing: { heartbeatMs: 2_000 } });
    await unary(fleet.client, "setSetting", { key: "canary_interval", value: String(CANARY_SECONDS) });
    for (const name of NAMES) {
      query(name, (database) => database.exec("CREATE TABLE item (id TEXT PRIMARY KEY, value TEXT)"));
      running.push(
        await startSyncNode({
          name,
          listen: "127.0.0.1:0",
          databases: [{ name: "main", path: join(directory, `${name}.db`) }],
          dataDirectory: join(directory, name),
          peers: [],
          coordinator: fleet.service.ready.listen,
          baseline: null,
          exclude: [],
          receiveOnly: false,
          threads: 1,
          logger: quietLogger(),
        }),
      );
    }
    query("whole", (database) => database.exec("INSERT INTO item VALUES ('a', 'a'), ('b', 'b')"));
    await eventually(() => NAMES.every((name) => ids(name).length === 2), 40_000);
    // Where the coordinator looks for these nobody listens. One scan may come while they have not spoken for a while.
    const registry = fleet.outside();
    for (const name of INSIDE) registry.prepare("UPDATE sync_servers SET port = 1 WHERE name = ?").run(name);
    registry.close();
    await eventually(async () => {
      await unary(fleet.client, "scan", { noWait: false });
      const { nodes } = await fleet.status();
      return INSIDE.every((name) => nodes.some((node) => node.name === name && !node.reachable));
    }, 40_000);
  }, 900_000);
  afterEach(async () => {
    await Promise.all(running.splice(0).map((node) => node.stop()));
    await fleet?.stop();
    await redis?.remove();
    rmSync(directory, { recursive: true, force: true });
  }, 180_000);

  it(
    "notices each node whose capture was broken by hand although every health check is green, once, and says when it is over",
    { timeout: 45 * ROUND_MS },
    async () => {
      const { nodes: before } = await fleet.status();
      for (const name of NAMES) query(name, BREAKS[name] ?? (() => {}));
      for (const name of NAMES.filter((one) => !PAST.includes(one)))
        query(name, (database) => database.prepare("INSERT INTO item VALUES (?, 'seen by nobody')").run(`by ${name}`));
      const broken = NAMES.filter((name) => name !== "whole").sort();
      const noticed = new Set<string>();
      await eventually(
        async () => {
          for (const { serverName } of await canaryAlerts(true)) noticed.add(serverName);
          return broken.every((name) => noticed.has(name));
        },
        2 * ROUND_MS,
        () => `only ${[...noticed].join(", ")}`,
      );
      expect([...noticed].sort()).toEqual(broken);
      const isGreen = ({ online, lastError, databases }: Node) => online && lastError === "" && databases[0]?.problem === "";
      const areGreen = async () => {
        const { nodes: seen } = await fleet.status();
        // What a session failed with on a busy machine is told until another one goes well, and nobody else asks for one.
        for (const { name, lastError } of seen) if (lastError !== "") await unary(fleet.client, "catchUp", { node: name }).catch(() => {});
        return seen.every(isGreen);
      };
      const colors = async () =>
        JSON.stringify((await fleet.status()).nodes.map((node) => [node.name, node.online, node.lastError, node.databases[0]?.problem]));
      await eventually(areGreen, ROUND_MS, colors);
      const { nodes } = await fleet.status();
      expect(nodes.map(({ name }) => name)).toEqual(before.map(({ name }) => name));

      // What a node could mend it has mended: what was written meanwhile is everywhere, and the incident is over.
      const expected = ["a", "b", ...NAMES.filter((name) => !PAST.includes(name)).map((name) => `by ${name}`)].sort();
      for (const name of NAMES) {
        await eventually(
          () => JSON.stringify(ids(name).filter((id) => !PAST.includes(String(id)))) === JSON.stringify(expected),
          ROUND_MS,
          () => `${name}: ${ids(name).join()}`,
        );
      }
      await eventually(
        async () => (await open()).join() === PAST.join(),
        ROUND_MS,
        async () => (await open()).join(),
      );

      // Word of the rest stays, also over a restart, until somebody has taken it in.
      const clients = new NodeClients(plainDial(false));
      const addressOf = (name: string) => running[NAMES.indexOf(name)]?.ready.listen ?? "";
      const repair = VerifyRequest.fromPartial({ peer: addressOf("whole"), deep: true, repair: true });
      for (const name of PAST) await unary(clients.to(addressOf(name)), "verify", repair, { deadlineMs: ROUND_MS });
      clients.close();
      await eventually(
        async () => (await open()).length === 0,
        2 * ROUND_MS,
        async () => (await open()).join(),
      );
      for (const name of NAMES)
        await eventually(
          () => PAST.every((id) => ids(name).includes(id)),
          ROUND_MS,
          () => `${name}: ${ids(name).join()}`,
        );

      // Once per incident.
      const all = await canaryAlerts(true);
      expect(all.map(({ serverName }) => serverName).sort()).toEqual(broken);
      expect(all.every(({ recoveredAt }) => recoveredAt !== "")).toBe(true);
    },
  );
});

import { renameSync, rmSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { createDatabase, Fleet, select, until, type FleetNode } from "@scoutsync/testkit";
import { afterEach, beforeEach, test } from "vitest";

let fleet: Fleet;
beforeEach(() => {
  fleet = new Fleet("replaced-live");
});
afterEach(() => fleet.stop());

const pathOf = (node: FleetNode) => node.databases["app"] ?? "";
const backupOf = (node: FleetNode) => `${pathOf(node)}.backup`;
const bodies = (node: FleetNode) => select(pathOf(node), "SELECT body FROM note ORDER BY body").map(({ body }) => body);

/** By a connection of its own: one that stayed open would write to the file that was there before. */
function run(node: FleetNode, sql: string, value: string): void {
  const database = new DatabaseSync(pathOf(node), { timeout: 30_000 });
  database.prepare(sql).run(value);
  database.close();
}

/** Puts the backup in the place of the file, as an administrator would. */
function putBack(node: FleetNode): void {
  for (const end of ["-wal", "-shm"]) rmSync(`${pathOf(node)}${end}`, { force: true });
  renameSync(backupOf(node), pathOf(node));
}

/** Nobody writes while it waits: whoever lost something must ask, or be given it, without a reason from outside. */
const allHave = (nodes: readonly FleetNode[], expected: readonly string[], what: string) =>
  until(() => nodes.every((node) => bodies(node).join() === expected.join()), { withinMs: 90_000, what });

test("a backup put in the place of the file is filled again at once, whichever of the two dials, running or not, in a fleet where nobody writes", async () => {
  const schema = "CREATE TABLE note(id INTEGER PRIMARY KEY, body TEXT NOT NULL)";
  const hub = await fleet.node({ name: "hub", databases: { app: createDatabase(fleet.path("hub", "app.db"), schema) } });
  const laptop = await fleet.node({
    name: "laptop",
    databases: { app: createDatabase(fleet.path("laptop", "app.db"), schema) },
    peers: [hub.address],
  });
  const both = [hub, laptop];
  const expected: string[] = [];
  const say = async (node: FleetNode, body: string) => {
    run(node, "INSERT INTO note(body) VALUES (?)", body);
    expected.push(body);
    await allHave(both, expected, `${body} on both`);
  };
  const backUp = (node: FleetNode) => run(node, "VACUUM INTO ?", backupOf(node));
  await say(hub, "1 before the backups");
  backUp(laptop);
  await say(laptop, "2 after the laptop's");
  putBack(laptop);
  await allHave(both, expected, "the laptop to have all of it again");
  await say(laptop, "3 by the laptop, put back");
  backUp(hub);
  await say(hub, "4 after the hub's");
  putBack(hub);
  await allHave(both, expected, "the hub to have been given all of it again");
  await say(hub, "5 by the hub, put back");
  backUp(hub);
  await say(hub, "6 after the hub's second");
  await hub.stop();
  putBack(hub);
  await hub.restart();
  await allHave(both, expected, "the hub to have been given all of it again after its start");
  await say(hub, "7 by the hub");
  await say(laptop, "8 by the laptop");
});

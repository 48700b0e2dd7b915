import {
  createScoutDatabases,
  type Fleet,
  startWriter,
  type FleetCoordinator,
  type FleetNode,
  type Ledger,
  type Random,
  type Statement,
  type Writer,
} from "@scoutsync/testkit";
import { copyFileSync } from "node:fs";

export const NODE_NAMES = ["pits", "stands", "judges"] as const;
export type NodeName = (typeof NODE_NAMES)[number];
export const DATABASES = ["chinook", "scouting", "users"] as const;
export type DatabaseName = (typeof DATABASES)[number];

/** One server: a node, the application beside it, and the files they share. */
export interface Server {
  name: NodeName;
  node: FleetNode;
  application: Writer;
  files: Readonly<Record<DatabaseName, string>>;
}

export interface Scene {
  fleet: Fleet;
  coordinator: FleetCoordinator;
  servers: Readonly<Record<NodeName, Server>>;
  ledger: Ledger;
  random: Random;
}

/** Three servers that were set up from one copy of each database, a coordinator and its Redis. */
export async function setScene(fleet: Fleet, ledger: Ledger, random: Random): Promise<Scene> {
  const first = {
    chinook: fleet.chinook("origin", "chinook.sqlite"),
    scouting: fleet.path("origin", "scouting.db"),
    users: fleet.path("origin", "users.db"),
  };
  createScoutDatabases({ scouting: first.scouting, users: first.users, seed: random.seed });
  const coordinator = await fleet.coordinator();
  const start = async (name: NodeName): Promise<Server> => {
    const files = {
      chinook: fleet.path(name, "chinook.sqlite"),
      scouting: fleet.path(name, "scouting.db"),
      users: fleet.path(name, "users.db"),
    };
    for (const database of DATABASES) copyFileSync(first[database], files[database]);
    const node = await fleet.node({ name, databases: files, coordinator: coordinator.address });
    return { name, node, application: startWriter(), files };
  };
  const [pits, stands, judges] = await Promise.all([start("pits"), start("stands"), start("judges")]);
  return { fleet, coordinator, servers: { pits, stands, judges }, ledger, random };
}

/** One transaction of a server's own application; answers with the ids SQLite gave. */
export function commit(server: Server, database: DatabaseName, statements: readonly Statement[]): Promise<number[]> {
  return server.application.write({ path: server.files[database], statements, pragmas: ["foreign_keys=ON"] });
}

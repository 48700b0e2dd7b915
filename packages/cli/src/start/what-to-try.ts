import type { Redis } from "../redis/child.ts";
import type { PlaygroundNode } from "./playground.ts";

export interface Playground {
  nodes: readonly PlaygroundNode[];
  coordinator: string;
  http: string;
  redis: Redis;
  /** The command line finds the coordinator without being told. */
  isDefault: boolean;
  logs: string;
}

/** What `npm start` prints once everything serves: where things are, and commands to paste. */
export function whatToTry({ nodes, coordinator, http, redis, isDefault, logs }: Playground): string[] {
  const [first, second, third] = nodes;
  if (!first || !second || !third) return [];
  const option = isDefault ? "" : ` --coordinator ${coordinator}`;
  const path = (node: PlaygroundNode, name: string) => node.databases.find((one) => one.name === name)?.path ?? "";
  return [
    "",
    `coordinator  http://${http}  gRPC ${coordinator}`,
    `dashboard    http://${http}/ in a browser`,
    `redis        ${redis.url}${redis.program ? " (our own, ends with us)" : ""}`,
    ...nodes.map(
      (node) =>
        `node         ${node.name.padEnd(7)} gRPC ${node.address}  process ${node.process.pid}  ${node.databases.map((one) => one.path).join(" ")}`,
    ),
    `logs         ${logs}`,
    "",
    "Try, in another terminal:",
    "",
    "  # write on one node, read on another; any program that writes SQLite will do",
    `  sqlite3 ${path(first, "chinook")} "INSERT INTO Artist(Name) VALUES ('The Offline Band')"`,
    `  python3 -c "import sqlite3; c = sqlite3.connect('${path(second, "users")}', timeout=5); c.execute(\\"INSERT INTO user(username) VALUES ('zoe')\\"); c.commit()"`,
    `  sqlite3 ${path(third, "chinook")} "SELECT * FROM Artist ORDER BY ArtistId DESC LIMIT 3"`,
    "",
    "  # the fleet",
    `  npx scoutsync status${option}`,
    `  npx scoutsync verify ${first.address} ${second.address}`,
    `  npx scoutsync changes ${first.address} --db chinook --count`,
    `  npx scoutsync review list ${first.address}`,
    "",
    "  # take a node away while others write; it comes back after 10 seconds and is caught up",
    `  kill -9 ${third.process.pid}`,
    "",
    "Ctrl-C stops everything; the databases stay in ./data.",
  ];
}

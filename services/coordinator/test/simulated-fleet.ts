import { CoordinatorClient, createClient } from "@scoutsync/protocol";
import { ScriptedNode } from "./scripted-nodes.ts";

/** What the process that asks tells the one that holds the nodes; each is answered with the same `call`. */
export type FleetCommand = { call: number } & (
  | { do: "start"; nodes: number; coordinator: string }
  /** How long sessions take from here on, milliseconds. */
  | { do: "pace"; sessionMs: number }
  | { do: "write"; nodes: number[] }
  | { do: "down" | "up"; nodes: number[] }
  | { do: "standing"; nodes: number[] }
);

/** Different standings of the nodes that are up, and sessions since the start. */
export interface FleetStanding {
  standings: number;
  sessions: number;
  pings: number;
  overlaps: number;
  /** When each of the nodes that were asked for was in a session, on either end: the beginnings, Unix milliseconds. */
  begunAt: number[][];
}

// Many scripted nodes, each on a gRPC server of its own, in one process; told what to do by the process that started it.
const nodes: ScriptedNode[] = [];
const down = new Set<ScriptedNode>();
let coordinator = createClient("127.0.0.1:1", CoordinatorClient);

async function carryOut(command: FleetCommand): Promise<FleetStanding> {
  switch (command.do) {
    case "start":
      coordinator = createClient(command.coordinator, CoordinatorClient);
      for (let index = 0; index < command.nodes; index++) nodes.push(new ScriptedNode(`node-${index + 1}`));
      await inLanes(nodes, async (node) => {
        node.sessionMs = 5;
        await node.up();
        await node.register(coordinator);
      });
      // As real ones do: otherwise each is asked again and again.
      setInterval(() => void beat(), 5_000).unref();
      break;
    case "pace":
      for (const node of nodes) node.sessionMs = command.sessionMs;
      break;
    case "write":
      for (const index of command.nodes) nodes[index]?.write(3);
      break;
    case "down":
      for (const index of command.nodes) {
        nodes[index]?.down();
        if (nodes[index]) down.add(nodes[index]);
      }
      break;
    case "up":
      for (const index of command.nodes) {
        const node = nodes[index];
        if (!node || !down.delete(node)) continue;
        // Among a thousand some port has been taken meanwhile: the node comes back elsewhere.
        await node.up().catch(() => {
          node.address = "";
          return node.up();
        });
        await node.register(coordinator);
      }
      break;
    case "standing":
      break;
  }
  const sum = (value: (node: ScriptedNode) => number) => nodes.reduce((total, node) => total + value(node), 0);
  return {
    standings: new Set(nodes.filter((node) => !down.has(node)).map((node) => node.standing)).size,
    // Both ends count none but the one that ran it.
    sessions: sum((node) => node.sessions),
    pings: sum((node) => node.pings),
    overlaps: sum((node) => node.overlaps),
    begunAt: (command.do === "standing" ? command.nodes : []).map((index) => nodes[index]?.begunAt ?? []),
  };
}

/** A fleet does not come one after the other. */
async function inLanes(all: readonly ScriptedNode[], work: (node: ScriptedNode) => Promise<void>): Promise<void> {
  const waiting = [...all];
  const lane = async () => {
    for (let node = waiting.shift(); node !== undefined; node = waiting.shift()) await work(node);
  };
  await Promise.all(Array.from({ length: 8 }, lane));
}

async function beat(): Promise<void> {
  for (const node of nodes) if (!down.has(node)) await node.heartbeat(coordinator).catch(() => {});
}

process.on("message", (command: FleetCommand) => {
  void carryOut(command).then(
    (standing) => process.send?.({ call: command.call, standing }),
    (error: unknown) => process.send?.({ call: command.call, error: String(error) }),
  );
});
process.on("disconnect", () => process.exit(0));

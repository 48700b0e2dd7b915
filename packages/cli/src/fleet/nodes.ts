import { Option } from "commander";
import type { FleetNode, FoundNode, NodeDetail, SyncOutcome } from "@scoutsync/coordinator";
import { formatAddress, parseAddress } from "@scoutsync/runtime";
import { usageError } from "../exit.ts";
import { asks, type Typed } from "./fleet-command.ts";
import { showNode } from "./node-detail.ts";

const byId = ({ args: [id] }: Typed) => ({ id });
const nodeDocument = (node: FleetNode) => ({ ...node, sync_enabled: !node.paused });

/** host:port as it is written elsewhere. Throws INVALID_ARGUMENT. */
function addressOf(text: string): string {
  const address = parseAddress(text);
  if (address !== null) return formatAddress(address);
  throw usageError(`"${text}" is not host:port`, "Give the node's address, for example 192.168.1.20:7071.");
}

/** `scoutsync nodes`: who is in the fleet. */
export const NODE_COMMANDS = [
  asks<{ nodes: FleetNode[] }>({
    operation: "listNodes",
    usage: "nodes list",
    summary: "all registered nodes",
    examples: ["scoutsync nodes list", "scoutsync nodes list --json"],
    document: ({ nodes }) => nodes.map(nodeDocument),
    people: ({ nodes }, out) =>
      out.table(
        ["id", "name", "address", "enabled", "online", "version", "missing", "last sync"],
        nodes.map((node) => [
          node.id,
          node.name,
          node.address,
          node.paused ? "no" : "yes",
          node.online ? "yes" : "no",
          node.version,
          node.missing_changes,
          node.last_sync ?? "never",
        ]),
      ),
  }),
  asks<{ discovered: FoundNode[] }>({
    operation: "listFoundNodes",
    usage: "nodes found",
    summary:
      "nodes heard on the coordinator's local network (--discover) that are not in the list, and what would make them part of the fleet",
    examples: ["scoutsync nodes found", "scoutsync nodes found --json"],
    document: ({ discovered }) => discovered.filter(({ known }) => !known),
    people: ({ discovered }, out) => {
      const nodes = discovered.filter(({ known }) => !known);
      if (nodes.length === 0) return out.line("Nobody else was heard. The coordinator listens with --discover only.");
      out.table(
        ["name", "address", "fleet", "what to do"],
        nodes.map((one) => [one.name, one.address, one.fleet_id ?? "none", one.advice]),
      );
    },
  }),
  asks<NodeDetail>({
    operation: "getNode",
    usage: "nodes show <node>",
    summary: "one node: what it lacks and holds for others and why, its disk and clock, recent sessions, what is wrong",
    examples: ["scoutsync nodes show pits", "scoutsync nodes show 192.168.1.20:7071 --json"],
    fields: byId,
    people: showNode,
  }),
  asks<SyncOutcome>({
    operation: "syncNode",
    usage: "nodes sync <node>",
    summary: "bring one node up to date now, with the best source there is, and wait for it",
    examples: ["scoutsync nodes sync pits", "scoutsync nodes sync pits --json"],
    fields: byId,
    takesLong: true,
    people: ({ success, server_name, stats, duration }, out) => {
      if (!success) return;
      out.line(
        `${server_name} is up to date: ${stats.remote_changes_received} changes received, ${stats.local_changes_sent} sent, ` +
          `${stats.files_downloaded} files received, ${stats.files_uploaded} sent, ${duration} s`,
      );
    },
    negative: ({ success, errors }) => (success ? null : errors),
  }),
  asks<{ node: FleetNode }>({
    operation: "addNode",
    usage: "nodes add <name> <address>",
    summary: "add a node that does not announce itself, or change one's address",
    options: [new Option("--disabled", "known, but left out of syncing for now")],
    examples: ["scoutsync nodes add pits 192.168.1.20:7071"],
    fields: ({ args: [name, address = ""], options: { disabled } }) => ({ name, address: addressOf(address), paused: disabled === true }),
    document: ({ node }) => nodeDocument(node),
    people: ({ node }, out) => out.line(`${node.name} is registered at ${node.address}.`),
  }),
  ...(["pause", "resume"] as const).map((what) =>
    asks<{ node: FleetNode }>({
      operation: `${what}Node`,
      usage: `nodes ${what} <node>`,
      summary: what === "pause" ? "leave a node out of everything until it is resumed" : "let a node take part again",
      examples: [`scoutsync nodes ${what} pits`],
      fields: byId,
      document: ({ node }) => nodeDocument(node),
      people: ({ node }, out) => out.line(what === "pause" ? `${node.name} is paused.` : `${node.name} takes part again.`),
    }),
  ),
  asks<{ by: string; origins: number }>({
    operation: "retireNode",
    usage: "nodes retire <node>",
    summary: "take a node out for good: the others take over what it sent only in part, so that they can be found equal",
    examples: ["scoutsync nodes retire pits"],
    fields: byId,
    takesLong: true,
    document: ({ by, origins }, { args: [node] }) => ({ retired: node, by: by || null, origins }),
    people: ({ by, origins }, out, { args: [node] }) =>
      out.line(`${node} is no longer in the fleet; ${origins === 0 ? "nothing of it was left half sent" : `${by} took over`}.`),
  }),
  asks<null>({
    operation: "removeNode",
    usage: "nodes remove <node>",
    summary: "forget a node; its data stays where it is",
    examples: ["scoutsync nodes remove pits", "scoutsync nodes remove 192.168.1.20:7071"],
    fields: byId,
    document: (_nothing, { args: [node] }) => ({ removed: node }),
    people: (_nothing, out, { args: [node] }) => out.line(`${node} is no longer in the fleet.`),
  }),
];

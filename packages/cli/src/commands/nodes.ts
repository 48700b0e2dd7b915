import { Option } from "commander";
import { unary } from "@scoutsync/protocol";
import { parseAddress } from "@scoutsync/runtime";
import { declare, type Registration } from "../command.ts";
import { LONG_DEADLINE_MS, QUICK_DEADLINE_MS, withCoordinator } from "../connect.ts";
import { usageError } from "../exit.ts";
import { count } from "../output/json.ts";
import { askCoordinator } from "./api.ts";
import { declareShow, declareSync } from "./node-detail.ts";
import { nodeDocument } from "./node-row.ts";

/** `scoutsync nodes`: who is in the fleet. */
export const registerNodes: Registration = (program, surroundings) => {
  const nodes = program.command("nodes").description("who is in the fleet, as the coordinator knows it");

  declare(nodes, surroundings, {
    usage: "list",
    summary: "all registered nodes",
    usesCoordinator: true,
    examples: ["scoutsync nodes list", "scoutsync nodes list --json"],
    run: async (_options, invocation) => {
      const answer = await withCoordinator(invocation, (client) => unary(client, "listNodes", {}, { deadlineMs: QUICK_DEADLINE_MS }));
      const document = answer.nodes.map(nodeDocument);
      invocation.out.result(document, () =>
        invocation.out.table(
          ["id", "name", "address", "enabled", "online", "version", "missing", "last sync"],
          document.map((node) => [
            node.id,
            node.name,
            node.address,
            node.sync_enabled ? "yes" : "no",
            node.online ? "yes" : "no",
            node.version,
            node.missing_changes,
            node.last_sync ?? "never",
          ]),
        ),
      );
    },
  });

  declare(nodes, surroundings, {
    usage: "found",
    summary:
      "nodes heard on the coordinator's local network (--discover) that are not in the list, and what would make them part of the fleet",
    usesCoordinator: true,
    examples: ["scoutsync nodes found", "scoutsync nodes found --json"],
    run: async (_options, invocation) => {
      const { nodes: found } = (await askCoordinator(invocation, "listFoundNodes", {})) as {
        nodes: { id: string; name: string; address: string; fleet: string; advice: string }[];
      };
      const { out } = invocation;
      out.result(found, () => {
        if (found.length === 0) return out.line("Nobody else was heard. The coordinator listens with --discover only.");
        out.table(
          ["name", "address", "fleet", "what to do"],
          found.map((one) => [one.name, one.address, one.fleet || "none", one.advice]),
        );
      });
    },
  });
  declareShow(nodes, surroundings);
  declareSync(nodes, surroundings);

  declare<{ disabled?: boolean }>(nodes, surroundings, {
    usage: "add <name> <address>",
    summary: "add a node that does not announce itself, or change one's address",
    usesCoordinator: true,
    options: [new Option("--disabled", "known, but left out of syncing for now")],
    examples: ["scoutsync nodes add pits 192.168.1.20:7071"],
    run: async ({ disabled }, invocation, name = "", text = "") => {
      const address = parseAddress(text);
      if (!address) throw usageError(`"${text}" is not host:port`, "Give the node's address, for example 192.168.1.20:7071.");
      const { node } = await withCoordinator(invocation, (client) =>
        unary(client, "addNode", { name, ...address, disabled: disabled === true }, { deadlineMs: QUICK_DEADLINE_MS }),
      );
      const document = node ? nodeDocument(node) : { name };
      invocation.out.result(document, () => invocation.out.line(`${name} is registered at ${text}.`));
    },
  });

  for (const what of ["pause", "resume"] as const) {
    declare(nodes, surroundings, {
      usage: `${what} <node>`,
      summary: what === "pause" ? "leave a node out of everything until it is resumed" : "let a node take part again",
      usesCoordinator: true,
      examples: [`scoutsync nodes ${what} pits`],
      run: async (_options, invocation, text = "") => {
        const { node } = await withCoordinator(invocation, (client) =>
          unary(client, what === "pause" ? "pauseNode" : "resumeNode", { node: text }, { deadlineMs: QUICK_DEADLINE_MS }),
        );
        invocation.out.result(node ? nodeDocument(node) : { name: text }, () =>
          invocation.out.line(what === "pause" ? `${text} is paused.` : `${text} takes part again.`),
        );
      },
    });
  }

  declare(nodes, surroundings, {
    usage: "retire <node>",
    summary: "take a node out for good: the others take over what it sent only in part, so that they can be found equal",
    usesCoordinator: true,
    examples: ["scoutsync nodes retire pits"],
    run: async (_options, invocation, node = "") => {
      const answer = await withCoordinator(invocation, (client) => unary(client, "retireNode", { node }, { deadlineMs: LONG_DEADLINE_MS }));
      const origins = count(answer.origins);
      invocation.out.result({ retired: node, by: answer.by || null, origins }, () =>
        invocation.out.line(
          origins === 0
            ? `${node} is no longer in the fleet; nothing of it was left half sent.`
            : `${node} is no longer in the fleet; ${answer.by} took over.`,
        ),
      );
    },
  });

  declare(nodes, surroundings, {
    usage: "remove <node>",
    summary: "forget a node; its data stays where it is",
    usesCoordinator: true,
    examples: ["scoutsync nodes remove pits", "scoutsync nodes remove 192.168.1.20:7071"],
    run: async (_options, invocation, node = "") => {
      await withCoordinator(invocation, (client) => unary(client, "removeNode", { node }, { deadlineMs: QUICK_DEADLINE_MS }));
      invocation.out.result({ removed: node }, () => invocation.out.line(`${node} is no longer in the fleet.`));
    },
  });
};

import { randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { hostname, userInfo } from "node:os";
import { join, resolve } from "node:path";
import { Option } from "commander";
import { declare, type Registration } from "../command.ts";
import { identitiesFolder, identityFolder } from "../identity/own-identities.ts";

/** `scoutsync join`: an identity for a person at this machine; services join with `--join`. */
export const registerJoin: Registration = (program, surroundings) => {
  declare<{ data?: string; name?: string }>(program, surroundings, {
    usage: "join <code>",
    summary: "get an identity of your own in a fleet, so that commands may ask its nodes",
    options: [
      new Option("--data <dir>", "where to keep it (default: with your other identities, where commands look)"),
      new Option("--name <name>", "what people call you (default: your user name and the machine's)"),
    ],
    examples: ["scoutsync join scout1-eyJhIjpb…", "scoutsync join scout1-eyJhIjpb… --name ada --data ./ada"],
    run: async (options, { surroundings: { env, cwd }, out }, code = "") => {
      const { checkMemberName, joinFleet } = await import("@scoutsync/trust");
      const name = checkMemberName(options.name ?? defaultName(), "the name of a person");
      const root = identitiesFolder(env);
      let folder = options.data === undefined ? null : resolve(cwd, options.data);
      if (folder === null) mkdirSync(root, { recursive: true, mode: 0o700 });
      // Which fleet it is shows only when one is in.
      const arrival = folder ?? mkdtempSync(join(root, ".joining-"));
      try {
        const { identity } = await joinFleet(arrival, code, { nodeId: randomUUID(), name });
        if (folder === null) {
          folder = identityFolder(env, identity.fleet);
          rmSync(folder, { recursive: true, force: true });
          renameSync(arrival, folder);
        }
        out.result({ fleet: identity.fleet, role: identity.role, id: identity.id, name, identity: folder }, () =>
          out.line(`You are ${identity.role} "${name}" in fleet ${identity.fleet}; your identity is in ${String(folder)}.`),
        );
      } finally {
        if (arrival !== folder) rmSync(arrival, { recursive: true, force: true });
      }
    },
  });
};

function defaultName(): string {
  return `${userInfo().username}-${hostname()}`.replace(/[^A-Za-z0-9_.-]/g, "-").slice(0, 64);
}

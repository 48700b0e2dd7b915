import { hostname, userInfo } from "node:os";
import { join, resolve } from "node:path";
import { Option } from "commander";
import { declare, duration, type Registration } from "../command.ts";
import { identityFolder, noteAuthority } from "../identity/own-identities.ts";

interface InitOptions {
  data?: string;
  role: "coordinator" | "node";
  name?: string;
  certificates?: number;
}

/** `scoutsync init`: a fleet of one's own, with its certificate authority. */
export const registerInit: Registration = (program, surroundings) => {
  declare<InitOptions>(program, surroundings, {
    usage: "init",
    summary: "make a fleet: its certificate authority, the identity of the service that keeps it, and yours as superadmin",
    options: [
      new Option("--data <dir>", "data directory of the service that keeps the authority (default ./.scoutsync-coordinator)"),
      new Option("--role <role>", "what runs there").choices(["coordinator", "node"]).default("coordinator"),
      new Option("--name <name>", "what people call it (default: the machine's name)"),
      duration("--certificates <time>", "how long a certificate is valid; it is renewed after a third of that (default 14d)"),
    ],
    examples: ["scoutsync init", "scoutsync init --role node --name first --data /srv/app/.scoutsync-first"],
    run: async (options, { surroundings: { env, cwd }, out }) => {
      const { checkMemberName, createFleet, DEFAULT_LIFETIME_MS, storeIdentity } = await import("@scoutsync/trust");
      const { nodeIdentity } = await import("@scoutsync/sync-node");
      const dataDirectory = resolve(cwd, options.data ?? env["SCOUTSYNC_DATA"] ?? ".scoutsync-coordinator");
      const name = checkMemberName(options.name ?? hostname(), "the name of a member");
      const own = { role: options.role, id: nodeIdentity(dataDirectory), name };
      const authority = await createFleet(dataDirectory, own, { lifetimeMs: options.certificates ?? DEFAULT_LIFETIME_MS });
      const { fleet } = authority;
      const person =
        userInfo()
          .username.replace(/[^A-Za-z0-9_.-]/g, "-")
          .slice(0, 64) || "superadmin";
      const { key, pem, ca } = await authority.issueHere({ fleet, role: "superadmin", id: person, name: person });
      const folder = identityFolder(env, fleet);
      storeIdentity(folder, { key, certificate: pem, ca });
      noteAuthority(folder, dataDirectory);
      const caFile = join(dataDirectory, "fleet", "ca.pem");
      out.result({ fleet, data: dataDirectory, role: options.role, name, identity: folder, ca: caFile }, () => {
        out.line(`Fleet ${fleet} is made. Its certificate authority is in ${dataDirectory}: keep a copy of that folder in a safe place.`);
        out.line(`You are its superadmin ("${person}"); your identity is in ${folder}.`);
        out.line(`Next: scoutsync ${options.role} --data ${dataDirectory} …, then scoutsync invite for everyone who joins.`);
      });
    },
  });
};

import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { Option } from "commander";
import { FleetClient, unary } from "@scoutsync/protocol";
import { declare, duration, repeatable, type Invocation, type Registration } from "../command.ts";
import { QUICK_DEADLINE_MS } from "../connect.ts";
import { dialOf } from "../identity/dialling.ts";
import { ownIdentities } from "../identity/own-identities.ts";

interface InviteOptions {
  data?: string;
  role: string;
  expires?: number;
  address?: string[];
  scope?: string;
}

const DEFAULT_EXPIRES_MS = 3_600_000;

/** `scoutsync invite`: a join code for one more member. */
export const registerInvite: Registration = (program, surroundings) => {
  declare<InviteOptions>(program, surroundings, {
    usage: "invite",
    summary: "print a code with which one node, coordinator, worker or person can join the fleet, once",
    usesCoordinator: true,
    options: [
      new Option("--role <role>", "what may join")
        .choices(["node", "coordinator", "worker", "viewer", "operator", "superadmin"])
        .default("node"),
      new Option("--scope <name>", "of a node: the scope it is limited to, as its server's --scopes file calls it"),
      duration("--expires <time>", "how long the code can be used (default 1h)"),
      repeatable("--address <address>", "host:port where the authority will be reached (default: where it serves)"),
      new Option("--data <dir>", "the authority's data directory on this machine (default: found, else the coordinator is asked)"),
    ],
    examples: [
      "scoutsync invite",
      "scoutsync invite --role operator --expires 10m",
      "scoutsync invite --scope team-5454",
      "scoutsync invite --address 203.0.113.5:7070",
    ],
    run: async (options, invocation) => {
      const { code, expires } = await invited(options, invocation);
      invocation.out.result({ code, role: options.role, expires }, () => {
        // Alone on stdout, so that $(scoutsync invite) is the code.
        invocation.out.line(code);
        const use = ["node", "coordinator", "worker"].includes(options.role)
          ? `scoutsync ${options.role} --join CODE …`
          : "scoutsync join CODE";
        const limits = options.scope === undefined ? "" : ` that is limited to ${options.scope}`;
        invocation.out.note(`scoutsync: lets in one ${options.role}${limits}, once, until ${expires}: ${use}`);
      });
    },
  });
};

async function invited(options: InviteOptions, invocation: Invocation): Promise<{ code: string; expires: string }> {
  const { Authority, AuditLog, isRole } = await import("@scoutsync/trust");
  const validForMs = options.expires ?? DEFAULT_EXPIRES_MS;
  const addresses = options.address ?? [];
  const { scope } = options;
  const here = authorityHere(options.data, invocation);
  const authority = here === null ? null : Authority.open(here);
  if (here !== null && authority && isRole(options.role)) {
    const { code, expires } = authority.invite(options.role, { validForMs, addresses, scope });
    new AuditLog(join(here, "audit.log")).write({
      who: "this machine",
      what: "invite",
      outcome: "done",
      details: scope === undefined ? options.role : `${options.role} of ${scope}`,
    });
    return { code, expires: expires.toISOString() };
  }
  const client = (await dialOf(invocation.coordinator, invocation))(invocation.coordinator, FleetClient);
  try {
    const request = { role: options.role, validForS: Math.round(validForMs / 1_000), addresses, scope: scope ?? "" };
    return await unary(client, "invite", request, { deadlineMs: QUICK_DEADLINE_MS });
  } finally {
    client.close();
  }
}

/** The data directory of an authority on this machine: as named, else here, else the one this person made. */
function authorityHere(named: string | undefined, { surroundings: { env, cwd } }: Invocation): string | null {
  const given = named ?? env["SCOUTSYNC_DATA"];
  if (given !== undefined) return resolve(cwd, given);
  const here = resolve(cwd, ".scoutsync-coordinator");
  if (existsSync(join(here, "authority"))) return here;
  const noted = ownIdentities(env)
    .map(({ folder }) => join(folder, "authority.json"))
    .filter((path) => existsSync(path))
    .map((path) => (JSON.parse(readFileSync(path, "utf8")) as { data: string }).data)
    .filter((data) => existsSync(join(data, "authority")));
  return noted.length === 1 ? (noted[0] ?? null) : null;
}

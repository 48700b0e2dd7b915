import { Option } from "commander";
import { FleetClient, unary, type FleetService, type Member, type ServiceClient } from "@scoutsync/protocol";
import { declare, type Invocation, type Registration } from "../command.ts";
import { QUICK_DEADLINE_MS, resolveNode } from "../connect.ts";
import { dialOf } from "../identity/dialling.ts";

/** `scoutsync members`: who was given a certificate of the fleet. */
export const registerMembers: Registration = (program, surroundings) => {
  const members = program.command("members").description("who belongs to the fleet, as the service that keeps its authority knows it");
  const at = () => new Option("--at <node>", "the service that keeps the authority (default: the coordinator)");

  declare<{ at?: string }>(members, surroundings, {
    usage: "list",
    summary: "everyone who was ever given a certificate; who was put out, when and by whom",
    usesCoordinator: true,
    options: [at()],
    examples: ["scoutsync members list", "scoutsync members list --at 10.0.0.5:7071 --json"],
    run: async (options, invocation) => {
      const answer = await asked(options.at, invocation, (client) => unary(client, "listMembers", {}, { deadlineMs: QUICK_DEADLINE_MS }));
      const document = answer.members.map(memberDocument);
      invocation.out.result(document, () =>
        invocation.out.table(
          ["role", "id", "name", "scope", "joined", "valid until", "revoked"],
          document.map((one) => [one.role, one.id, one.name, one.scope ?? "", one.joined, one.valid_until, revokedText(one)]),
        ),
      );
    },
  });

  declare<{ at?: string }>(members, surroundings, {
    usage: "revoke <member>",
    summary: "put a node, service or person out of the fleet: every node that hears of it cuts its connections",
    usesCoordinator: true,
    options: [at()],
    examples: ["scoutsync members revoke stolen-laptop", "scoutsync members revoke pits --at 10.0.0.5:7071"],
    run: async (options, invocation, member = "") => {
      const answer = await asked(options.at, invocation, (client) =>
        unary(client, "revoke", { member }, { deadlineMs: QUICK_DEADLINE_MS }),
      );
      const document = answer.member ? memberDocument(answer.member) : { name: member };
      invocation.out.result(document, () => invocation.out.line(`${member} is put out of the fleet.`));
    },
  });
};

async function asked<T>(
  at: string | undefined,
  invocation: Invocation,
  work: (client: ServiceClient<FleetService>) => Promise<T>,
): Promise<T> {
  const address = at === undefined ? invocation.coordinator : await resolveNode(at, invocation);
  const client = (await dialOf(address, invocation))(address, FleetClient);
  try {
    return await work(client);
  } finally {
    client.close();
  }
}

function memberDocument({ role, id, name, joined, validUntil, revoked, scope, revokedAt, revokedBy }: Member) {
  const out = revokedAt !== "" && { revoked_at: revokedAt, revoked_by: revokedBy };
  return { role, id, name, joined, valid_until: validUntil, revoked, ...out, ...(scope !== "" && { scope }) };
}

function revokedText(member: ReturnType<typeof memberDocument>): string {
  if (!member.revoked) return "no";
  return "revoked_at" in member ? `${member.revoked_at} by ${member.revoked_by}` : "yes";
}

import { Option } from "commander";
import { AccessClient, unary, type ApiKey } from "@scoutsync/protocol";
import { declare, duration, repeatable, type Registration } from "../command.ts";
import { QUICK_DEADLINE_MS, withService } from "../connect.ts";

interface KeyOptions {
  role: string;
  scope?: string[];
  expires?: number;
}

/** `scoutsync keys`: for programs that use the coordinator over HTTP or gRPC. */
export const registerKeys: Registration = (program, surroundings) => {
  const keys = program.command("keys").description("API keys of the coordinator, for programs");

  declare<KeyOptions>(keys, surroundings, {
    usage: "create <name>",
    summary: "make a key and print it, once; send it as `authorization: Bearer KEY`",
    usesCoordinator: true,
    options: [
      new Option("--role <role>", "what it may do").choices(["viewer", "operator", "superadmin"]).default("viewer"),
      repeatable("--scope <scope>", "limit it to fleet, sync, jobs, review, logs, config, data, metrics or access; repeat for more"),
      duration("--expires <time>", "how long it works (default 90d)"),
    ],
    examples: ["scoutsync keys create reports", "scoutsync keys create prometheus --scope metrics --expires 365d"],
    run: async (options, invocation, name = "") => {
      const request = {
        name,
        role: options.role,
        scopes: options.scope ?? [],
        validForS: BigInt(Math.round((options.expires ?? 0) / 1_000)),
      };
      const { key, entry } = await withService(AccessClient, invocation, (client) =>
        unary(client, "createKey", request, { deadlineMs: QUICK_DEADLINE_MS }),
      );
      const document = { key, ...(entry ? keyDocument(entry) : { name }) };
      invocation.out.result(document, () => {
        // Alone on stdout, so that $(scoutsync keys create …) is the key.
        invocation.out.line(key);
        invocation.out.note(`scoutsync: this key is not shown again; it works until ${entry?.expires ?? ""}`);
      });
    },
  });

  declare(keys, surroundings, {
    usage: "list",
    summary: "every key there is or was, without the keys themselves",
    usesCoordinator: true,
    examples: ["scoutsync keys list", "scoutsync keys list --json"],
    run: async (_options, invocation) => {
      const answer = await withService(AccessClient, invocation, (client) =>
        unary(client, "listKeys", {}, { deadlineMs: QUICK_DEADLINE_MS }),
      );
      const document = answer.keys.map(keyDocument);
      invocation.out.result(document, () =>
        invocation.out.table(
          ["name", "role", "scopes", "expires", "last used", "revoked"],
          document.map((key) => [
            key.name,
            key.role,
            key.scopes.join(" ") || "all",
            key.expires,
            key.last_used ?? "never",
            key.revoked ?? "no",
          ]),
        ),
      );
    },
  });

  declare(keys, surroundings, {
    usage: "revoke <name>",
    summary: "a key works no more, from this moment on",
    usesCoordinator: true,
    examples: ["scoutsync keys revoke reports"],
    run: async (_options, invocation, name = "") => {
      await withService(AccessClient, invocation, (client) => unary(client, "revokeKey", { name }, { deadlineMs: QUICK_DEADLINE_MS }));
      invocation.out.result({ revoked: name }, () => invocation.out.line(`The key ${name} works no more.`));
    },
  });
};

function keyDocument({ name, role, scopes, created, expires, lastUsed, revoked }: ApiKey) {
  return { name, role, scopes, created, expires, last_used: lastUsed || null, revoked: revoked || null };
}

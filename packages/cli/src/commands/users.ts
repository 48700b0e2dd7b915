import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { Option } from "commander";
import { AccessClient, unary } from "@scoutsync/protocol";
import { declare, type Registration } from "../command.ts";
import { QUICK_DEADLINE_MS, withService } from "../connect.ts";
import { usageError } from "../exit.ts";

const GENERATED_BYTES = 15;

interface UserOptions {
  role: string;
  passwordFile?: string;
}

/** `scoutsync users`: people who may log in to the dashboard. */
export const registerUsers: Registration = (program, surroundings) => {
  const users = program.command("users").description("people who may log in to the coordinator's dashboard");

  declare<UserOptions>(users, surroundings, {
    usage: "add <name>",
    summary: "add a person, or give one a new password or role; open sessions of that name end",
    usesCoordinator: true,
    options: [
      new Option("--role <role>", "what they may do").choices(["viewer", "operator", "superadmin"]).default("viewer"),
      new Option(
        "--password-file <file>",
        "the password is the file's first line (default: SCOUTSYNC_PASSWORD, else one is made and printed)",
      ),
    ],
    examples: ["scoutsync users add ada --role operator", "scoutsync users add ada --role superadmin --password-file ./password"],
    run: async (options, invocation, name = "") => {
      const { env, cwd } = invocation.surroundings;
      const given = options.passwordFile === undefined ? env["SCOUTSYNC_PASSWORD"] : firstLine(resolve(cwd, options.passwordFile));
      const password = given || randomBytes(GENERATED_BYTES).toString("base64url");
      const { user } = await withService(AccessClient, invocation, (client) =>
        unary(client, "setUser", { name, role: options.role, password }, { deadlineMs: QUICK_DEADLINE_MS }),
      );
      const document = { name, role: user?.role ?? options.role, ...(given ? {} : { password }) };
      invocation.out.result(document, () => {
        invocation.out.line(`${name} may log in as ${document.role}.`);
        if (!given) invocation.out.line(`The password, which is not shown again: ${password}`);
      });
    },
  });

  declare(users, surroundings, {
    usage: "list",
    summary: "everyone who may log in",
    usesCoordinator: true,
    examples: ["scoutsync users list"],
    run: async (_options, invocation) => {
      const answer = await withService(AccessClient, invocation, (client) =>
        unary(client, "listUsers", {}, { deadlineMs: QUICK_DEADLINE_MS }),
      );
      const document = answer.users.map(({ name, role, created }) => ({ name, role, created }));
      invocation.out.result(document, () =>
        invocation.out.table(
          ["name", "role", "created"],
          document.map((user) => [user.name, user.role, user.created]),
        ),
      );
    },
  });

  declare(users, surroundings, {
    usage: "remove <name>",
    summary: "a person may log in no more; open sessions of that name end",
    usesCoordinator: true,
    examples: ["scoutsync users remove ada"],
    run: async (_options, invocation, name = "") => {
      await withService(AccessClient, invocation, (client) => unary(client, "removeUser", { name }, { deadlineMs: QUICK_DEADLINE_MS }));
      invocation.out.result({ removed: name }, () => invocation.out.line(`${name} may log in no more.`));
    },
  });
};

function firstLine(path: string): string {
  try {
    return readFileSync(path, "utf8").split(/\r?\n/, 1)[0] ?? "";
  } catch (error) {
    throw usageError(`the password file ${path} cannot be read: ${(error as Error).message}`, "Check the path given with --password-file.");
  }
}

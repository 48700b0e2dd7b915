import type { Operation } from "@scoutsync/coordinator";
import { declare, type Invocation, type Registration } from "../command.ts";
import { usageError } from "../exit.ts";
import { askCoordinator } from "../fleet/fleet-command.ts";

/** `scoutsync api`: whatever is in the coordinator's table of operations, by its name there. */
export const registerApi: Registration = (program, surroundings) => {
  declare(program, surroundings, {
    usage: "api [operation] [fields...]",
    summary: "anything the coordinator can be asked, by the operationId of its OpenAPI document; without one, the list of them",
    usesCoordinator: true,
    examples: [
      "scoutsync api",
      "scoutsync api getNode id=pits",
      "scoutsync api listLogs status=failed page=2 page_size=20",
      "scoutsync api getFileChecksums server_id=pits path=uploads --json",
      'scoutsync api resolveReview node=pits id=3f9a0c21 \'set:={"notes":"both were right"}\'',
    ],
    run: async (_options, invocation, id, ...fields) => {
      const { OPERATIONS, rpcName } = await import("@scoutsync/coordinator");
      if (id === undefined) return list(OPERATIONS, rpcName, invocation);
      const one = OPERATIONS.find((operation) => operation.id === id);
      if (one === undefined) throw usageError(`there is no operation "${id}"`, "See `scoutsync api`.");
      const input = Object.fromEntries(fields.map(parseField));
      const answer = await askCoordinator(invocation, id, input, { takesLong: true });
      invocation.out.result(answer, () => invocation.out.line(answer === null ? "Done." : JSON.stringify(answer, null, 2)));
    },
  });
};

function list(operations: readonly Operation[], rpcName: (one: Operation) => string, { out }: Invocation): void {
  const document = operations.map((one) => {
    const { id, summary, method, path, command, need } = one;
    return {
      operation: id,
      summary,
      http: `${method} ${path}`,
      grpc: rpcName(one),
      command,
      role: need.role,
    };
  });
  out.result(document, () =>
    out.table(
      ["operation", "http", "grpc", "command", "what it does"],
      document.map((one) => [one.operation, one.http, one.grpc, one.command, one.summary]),
    ),
  );
}

/** `NAME=TEXT` or `NAME:=JSON`. */
function parseField(text: string): [string, unknown] {
  const match = /^([A-Za-z_]\w*)(:?=)(.*)$/s.exec(text);
  const [, name = "", sign, value = ""] = match ?? [];
  const wrong = () => usageError(`"${text}" is not NAME=TEXT or NAME:=JSON`, "Write for example status=failed, or dry_run:=true.");
  if (!match) throw wrong();
  if (sign === "=") return [name, value];
  try {
    return [name, JSON.parse(value) as unknown];
  } catch {
    throw wrong();
  }
}

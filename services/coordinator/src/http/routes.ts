import type { FastifyInstance, FastifyReply } from "fastify";
import { actingFor } from "@scoutsync/trust";
import type { Core } from "../core.ts";
import type { Operation } from "../operations/operation.ts";
import type { Upkeep } from "../upkeep.ts";

/** Makes a route of each operation: input is checked by its schemas, the answer is what it returns. */
export function addRoutes(
  server: FastifyInstance,
  operations: readonly Operation[],
  { core, upkeep, stopped }: { core: Core; upkeep: Upkeep; stopped: AbortSignal },
): void {
  for (const one of operations) {
    server.route({
      method: one.method,
      config: { need: one.need },
      url: one.path.replaceAll(/\{(\w+)\}/g, ":$1"),
      ...(one.bodyLimitBytes === undefined ? {} : { bodyLimit: one.bodyLimitBytes }),
      handler: async (request, reply) => {
        const input = {
          params: one.params.parse(request.params),
          query: one.query.parse(request.query),
          body: one.body.parse(request.body ?? {}),
        };
        const scene = { core, upkeep, signal: goneSignal(reply, stopped) };
        const work = () => one.run(scene, input);
        const answer = await (request.actor ? actingFor(request.actor, work) : work());
        return one.answer === null ? reply.code(one.status).send() : reply.code(one.status).send(answer);
      },
    });
  }
}

/** Aborts when the client has gone away before it got its answer, or the service stops. */
function goneSignal(reply: FastifyReply, stopped: AbortSignal): AbortSignal {
  const gone = new AbortController();
  reply.raw.once("close", () => gone.abort());
  return AbortSignal.any([gone.signal, stopped]);
}

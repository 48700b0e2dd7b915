import type { AddressInfo } from "node:net";
import { SyncError, toPlainError, type ErrorCode } from "@scoutsync/core";
import { formatAddress, parseAddress } from "@scoutsync/runtime";
import { fastify, type FastifyReply } from "fastify";
import { z } from "zod";
import type { Core } from "../core.ts";
import { findServer } from "../registry/enrolment.ts";
import type { Upkeep } from "../upkeep.ts";
import { coordinatorMetrics } from "./metrics.ts";
import { statusPage } from "./page.ts";
import { catchUpStatus, scanResult, syncResult } from "./shapes.ts";

const HTTP_STATUS: Partial<Record<ErrorCode, number>> = {
  INVALID_ARGUMENT: 400,
  NOT_FOUND: 404,
  BUSY: 409,
  REDIS_UNREACHABLE: 503,
  SHUTTING_DOWN: 503,
};

const ServerParams = z.object({ server_id: z.string() });

/** Serves the JSON routes, the metrics and the status page. Throws PORT_TAKEN or INVALID_ARGUMENT. */
export async function startHttp({
  listen,
  core,
  upkeep,
}: {
  listen: string;
  core: Core;
  upkeep: Upkeep;
}): Promise<{ listen: string; stop(): Promise<void> }> {
  const address = parseAddress(listen);
  if (address === null) throw notAnAddress(listen);
  const metrics = coordinatorMetrics(core);
  const server = fastify({ forceCloseConnections: true });
  const stopped = new AbortController();

  server.setErrorHandler((error, _request, reply) => {
    // Fastify's own refusals (no such body, wrong content type) carry their status.
    const own = (error as { statusCode?: number }).statusCode;
    if (!(error instanceof SyncError) && own !== undefined && own < 500) {
      return reply.code(own).send({ error: (error as Error).message, code: "INVALID_ARGUMENT" });
    }
    const { code, message, action } = toPlainError(error);
    if (code === "INTERNAL") core.logger.error({ error: message }, "a request failed");
    return reply.code(HTTP_STATUS[code] ?? 500).send({ success: false, error: message, code, action });
  });

  server.get("/healthz", () => ({ status: "ok", redis: core.link.ready ? "ok" : core.link.problem }));
  server.get("/metrics", async (_request, reply) => reply.type(metrics.contentType).send(await metrics.text()));
  server.get("/", async (_request, reply) => {
    await upkeep.fresh();
    return reply.type("text/html; charset=utf-8").send(statusPage(core));
  });
  server.get("/api/sync/catchup/status", async () => {
    await upkeep.fresh();
    return catchUpStatus(core);
  });
  server.post("/api/sync/catchup/scan", async (_request, reply) => {
    const { message, results } = await core.catchUps.scan({ wait: true, signal: goneSignal(reply, stopped.signal) });
    return {
      message,
      servers_processed: results.length,
      results: results.map(scanResult),
      timestamp: new Date().toISOString(),
    };
  });
  server.post("/api/sync/sqlite3/sync/:server_id", async (request, reply) => {
    const { id } = findServer(core.registry, ServerParams.parse(request.params).server_id);
    return syncResult(await core.catchUps.catchUp(id, goneSignal(reply, stopped.signal)));
  });

  // Existing screens post without a body, some of them with a JSON content type.
  server.addContentTypeParser("application/json", { parseAs: "string" }, (_request, body, done) => {
    try {
      done(null, body === "" ? {} : JSON.parse(body as string));
    } catch {
      done(new SyncError({ code: "INVALID_ARGUMENT", message: "The body is not JSON", action: "Send JSON or nothing." }));
    }
  });

  try {
    await server.listen({ host: address.host, port: address.port });
  } catch (error) {
    metrics.stop();
    if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw notAnAddress(listen, error);
    throw new SyncError({
      code: "PORT_TAKEN",
      message: `${formatAddress(address)} is taken by another program`,
      action: "Give another address with --http, or port 0 for any free one.",
      cause: error,
    });
  }
  const { port } = server.server.address() as AddressInfo;
  return {
    listen: formatAddress({ host: address.host, port }),
    async stop() {
      stopped.abort();
      metrics.stop();
      await server.close();
    },
  };
}

/** Aborts when the client has gone away before it got its answer, or the service stops. */
function goneSignal(reply: FastifyReply, stopped: AbortSignal): AbortSignal {
  const gone = new AbortController();
  reply.raw.once("close", () => gone.abort());
  return AbortSignal.any([gone.signal, stopped]);
}

function notAnAddress(listen: string, cause?: unknown): SyncError {
  return new SyncError({
    code: "INVALID_ARGUMENT",
    message: `"${listen}" cannot be listened on`,
    action: "Give host:port with --http.",
    cause,
  });
}

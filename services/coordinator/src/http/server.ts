import { readFileSync } from "node:fs";
import type { Server as SecureServer } from "node:https";
import type { AddressInfo } from "node:net";
import { SyncError } from "@scoutsync/core";
import { formatAddress, parseAddress } from "@scoutsync/runtime";
import { fastify, type FastifyInstance, type FastifyServerOptions } from "fastify";
import type { Core } from "../core.ts";
import { registerDashboard } from "../dashboard/index.ts";
import { OPERATIONS } from "../operations/table.ts";
import type { Upkeep } from "../upkeep.ts";
import { EventStream } from "./event-stream.ts";
import { noteActs, noteOpenActs } from "./acts.ts";
import { addGate, LOOK } from "./gate.ts";
import { coordinatorMetrics } from "./metrics.ts";
import { openApiDocument } from "./openapi.ts";
import { noSuchRoute, problemOf } from "./problems.ts";
import { addRoutes } from "./routes.ts";

/** Whoever opens more leaves the other ports of this process their sockets. */
const MOST_CONNECTIONS = 1_000;
const PROBLEM_TYPE = "application/problem+json; charset=utf-8";

/** Serves the JSON routes, the events, the metrics and the pages. Throws PORT_TAKEN or INVALID_ARGUMENT. */
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
  const events = new EventStream(core);
  const { membership } = core;
  const server = fastify({ forceCloseConnections: true, ...membership?.https() } as FastifyServerOptions);
  server.server.maxConnections = MOST_CONNECTIONS;
  const stopped = new AbortController();

  server.setErrorHandler((error, _request, reply) => {
    const problem = problemOf(error);
    if (problem.status === 500) core.logger.error({ error: error instanceof Error ? error.stack : String(error) }, "a request failed");
    return reply.code(problem.status).type(PROBLEM_TYPE).send(JSON.stringify(problem));
  });
  server.setNotFoundHandler((request, reply) =>
    reply
      .code(404)
      .type(PROBLEM_TYPE)
      .send(JSON.stringify(noSuchRoute(request.method, request.url))),
  );
  acceptEmptyBodies(server);
  noteActs(server, core.audit);
  if (membership) {
    await addGate(server, membership);
    membership.trust.on("renewed", () => (server.server as Partial<SecureServer>).setSecureContext?.(membership.https().https));
  } else noteOpenActs(server, core.audit);

  server.get("/healthz", () => ({
    status: "ok",
    // Where nobody has to be known, nothing is said of what is inside.
    ...(membership ? {} : { redis: core.link.ready ? "ok" : core.link.problem }),
  }));
  server.get("/metrics", { config: { need: { role: "viewer", scope: "metrics" } } }, async (_request, reply) =>
    reply.type(metrics.contentType).send(await metrics.text()),
  );
  await registerDashboard(server);
  const document = openApiDocument(OPERATIONS, programVersion());
  server.get("/api/openapi.json", { config: { need: LOOK } }, () => document);
  events.register(server);
  addRoutes(server, OPERATIONS, { core, upkeep, stopped: stopped.signal });

  const release = () => {
    metrics.stop();
    events.stop();
  };
  try {
    await server.listen({ host: address.host, port: address.port });
  } catch (error) {
    release();
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
      release();
      await server.close();
    },
  };
}

/** Existing screens post without a body, some of them with a JSON content type, some as a form. */
function acceptEmptyBodies(server: FastifyInstance): void {
  server.addContentTypeParser("application/json", { parseAs: "string" }, (_request, body, done) => {
    try {
      done(null, body === "" ? {} : JSON.parse(body as string));
    } catch {
      done(new SyncError({ code: "INVALID_ARGUMENT", message: "The body is not JSON", action: "Send JSON or nothing." }));
    }
  });
  server.addContentTypeParser("application/x-www-form-urlencoded", { parseAs: "string" }, (_request, body, done) => {
    done(null, Object.fromEntries(new URLSearchParams(body as string)));
  });
}

function programVersion(): string {
  return (JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string }).version;
}

function notAnAddress(listen: string, cause?: unknown): SyncError {
  return new SyncError({
    code: "INVALID_ARGUMENT",
    message: `"${listen}" cannot be listened on`,
    action: "Give host:port with --http.",
    cause,
  });
}

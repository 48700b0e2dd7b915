import type { AuditLog } from "@scoutsync/trust";
import type { FastifyInstance, FastifyRequest } from "fastify";

const SAFE_METHODS = new Set(["GET", "HEAD", "OPTIONS"]);
const LONGEST_PATH = 200;

declare module "fastify" {
  interface FastifyRequest {
    /** Who asked for something that is written down as theirs; null where nothing is. */
    actor: string | null;
    /** Whether whoever asked would still be let in, for answers that last; null where nobody has to be known. */
    mayStill: (() => boolean) | null;
  }
}

/** Whether a request may change something. */
export function isAct({ method }: FastifyRequest): boolean {
  return !SAFE_METHODS.has(method);
}

/** A request as the audit log names it: a query may hold anything. */
export function nameOf({ method, url }: FastifyRequest): string {
  return `${method} ${(url.split("?", 1)[0] ?? "").slice(0, LONGEST_PATH)}`;
}

/** Writes an act down, before it is done. */
export function noteRequest(request: FastifyRequest, audit: AuditLog, who: string): void {
  audit.write({ who, what: nameOf(request), outcome: "done" });
  request.actor = who;
}

/** Adds a line for each act that came to nothing. Has to be added before the routes. */
export function noteActs(server: FastifyInstance, audit: AuditLog): void {
  server.decorateRequest("actor", null);
  server.decorateRequest("mayStill", null);
  server.addHook("onResponse", (request, reply, done) => {
    const { actor: who } = request;
    if (who !== null && reply.statusCode >= 400) {
      audit.write({ who, what: nameOf(request), outcome: "failed", details: String(reply.statusCode) });
    }
    done();
  });
}

/** Where nobody has to be known, acts are noted by the address that they come from. */
export function noteOpenActs(server: FastifyInstance, audit: AuditLog): void {
  server.addHook("onRequest", (request, _reply, done) => {
    if (isAct(request) && request.routeOptions.url !== undefined) noteRequest(request, audit, request.ip);
    done();
  });
}
